"""Shows how far a long task is: in place on a terminal, else as a line in the log every few seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TextIO

from replay.stopped import Stopped

log = logging.getLogger("replay")

_TERMINAL_SECONDS = 0.2


class Watch:
    """What a long task calls again and again: shows its progress and gets it out when it is asked to stop."""

    def __init__(
        self,
        stop: threading.Event,
        terminal: TextIO | None = None,
        *,
        every_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`terminal`: None when there is none; `every_seconds`: between lines in the log."""
        self._stop = stop
        self._terminal = terminal
        self._every_seconds = every_seconds if terminal is None else _TERMINAL_SECONDS
        self._clock = clock
        self._shown = clock()

    def look(self, progress: Callable[[], str]) -> None:
        """Show `progress()` when it is time to.

        Raises:
            Stopped: the task shall end.
        """
        if self._stop.is_set():
            raise Stopped
        now = self._clock()
        if now - self._shown < self._every_seconds:
            return
        self._shown = now
        if self._terminal is None:
            log.info("%s", progress())
        else:
            # The cursor stays at the line's start, so that whatever is logged next overwrites it.
            self._terminal.write(f"{progress()[:110]}\x1b[K\r")
            self._terminal.flush()

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than until the task shall end."""
        self._stop.wait(seconds)

    def clear(self) -> None:
        """Wipe the line in place."""
        if self._terminal is not None:
            self._terminal.write("\x1b[K")
            self._terminal.flush()
