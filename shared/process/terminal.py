"""Output of commands and long tasks: whole lines, and a status line that a terminal rewrites in place.

Where the output is no terminal, the status is written as a line every few seconds.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from typing import TextIO

log = logging.getLogger("replay")

_TERMINAL_SECONDS = 0.2
_BAR_COLUMNS = 20
_TOO_EARLY = 0.01  # a share too small to tell how long the rest will take

STATUS_EVERY_SECONDS = 15.0
PLAIN_COLUMNS = 110
MOST_COLUMNS = 120


class Terminal:
    """Writes to a stream, plainly unless it is a terminal."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._bold = self._live and "NO_COLOR" not in os.environ
        self._shown = ""  # the status line on the screen
        self._written_at = -STATUS_EVERY_SECONDS  # clock seconds of the last status line in plain output

    @property
    def columns(self) -> int:
        """How wide a line may be."""
        return min(shutil.get_terminal_size().columns, MOST_COLUMNS) if self._live else PLAIN_COLUMNS

    @property
    def status_columns(self) -> int:
        """How wide the status line may be: at a line's very end some terminals would begin another."""
        return self.columns - 1 if self._live else self.columns

    def say(self, text: str = "") -> None:
        """Write whole lines."""
        self.clear()
        self._write(text + "\n")

    def heading(self, number: int, title: str) -> None:
        """Begin a part."""
        text = f"{number}. {title}"
        self.say()
        self.say(f"\x1b[1m{text}\x1b[0m" if self._bold else text)
        self.say()

    def status(self, text: str) -> None:
        """Show how it stands: in place on a terminal, else a line every few seconds."""
        if self._live:
            shown = text[: self.status_columns]
            self._write("\r" + shown + " " * (len(self._shown) - len(shown)))
            self._shown = shown
        elif self._clock() - self._written_at >= STATUS_EVERY_SECONDS:
            self._written_at = self._clock()
            self._write(text + "\n")

    def clear(self) -> None:
        """Wipe the status line."""
        if self._shown:
            self._write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Watch:
    """A long task calls this again and again: it shows the progress and ends the task once it is asked to stop."""

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
        self._forecast = Forecast(clock)

    def look(self, progress: Callable[[], str], share: float | None = None) -> None:
        """Show `progress()` when it is time to; with the share of a task that is done, a bar and the time left.

        Raises:
            Stopped: the task shall end.
        """
        if self._stop.is_set():
            raise Stopped
        now = self._clock()
        if now - self._shown < self._every_seconds:
            return
        self._shown = now
        left = "" if share is None else self._forecast.left(share)
        if self._terminal is None:
            log.info("%s%s", progress(), f", {left}" if left else "")
        else:
            line = progress() if share is None else f"{bar(share)} {share:4.0%}  {left:>12}  {progress()}"
            # The cursor stays at the line's start, so that whatever is logged next overwrites it.
            self._terminal.write(f"{line[: shutil.get_terminal_size().columns - 1]}\x1b[K\r")
            self._terminal.flush()

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than until the task shall end."""
        self._stop.wait(seconds)

    def clear(self) -> None:
        """Wipe the line in place."""
        if self._terminal is not None:
            self._terminal.write("\x1b[K")
            self._terminal.flush()


class Stopped(Exception):
    """A long task was asked to end, by SIGTERM or Ctrl-C; raised out of it and caught where its position is saved."""


class Forecast:
    """How long a task will take yet, if it goes on as it went."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, float] | None = None  # (seconds, share)

    def left(self, share: float) -> str:
        """The time that is left, in words; empty as long as too little is done to tell."""
        now = self._clock()
        if self._first is None or share < self._first[1]:
            self._first = (now, share)
        since, before = self._first
        if share - before < _TOO_EARLY:
            return ""
        return f"{duration((now - since) * (1 - share) / (share - before))} left"


def bar(share: float, columns: int = _BAR_COLUMNS) -> str:
    """A bar that is full at 1."""
    full, rest = divmod(round(min(1.0, max(0.0, share)) * columns * 8), 8)
    return ("█" * full + " ▏▎▍▌▋▊▉"[rest] * (rest > 0)).ljust(columns, "·")


def duration(seconds: float) -> str:
    """About how long, in the two units that count."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def cut(text: str, width: int) -> str:
    """The text on one line, in at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"
