"""Calm output: whole lines, and one status line that a terminal rewrites and a file gets every few seconds."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import TextIO

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
        self._said_at = -STATUS_EVERY_SECONDS  # clock seconds of the last status line in plain output

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
        elif self._clock() - self._said_at >= STATUS_EVERY_SECONDS:
            self._said_at = self._clock()
            self._write(text + "\n")

    def clear(self) -> None:
        """Wipe the status line."""
        if self._shown:
            self._write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def cut(text: str, width: int) -> str:
    """The text on one line, in at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"
