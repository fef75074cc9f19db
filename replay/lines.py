"""The lines of a file, plain or gzip, in bounded memory, as far as the file can be read."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.errors import Unusable

_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 2**20
_LOOK_LINES = 500


def require_readable(path: Path) -> None:
    """Refuse what can't be a dataset.

    Raises:
        Unusable: no such file, not a file, no permission, or empty.
    """
    try:
        if not path.exists():
            raise Unusable(f"no such file: {path}; check the name")
        if not path.is_file():
            raise Unusable(f"{path} is not a file; name the file of reviews itself")
        if not os.access(path, os.R_OK):
            raise Unusable(f"{path} may not be read; check its permissions")
        if not path.stat().st_size:
            raise Unusable(f"{path} is empty; download it again")
    except OSError as error:  # a folder on the way may not be entered
        raise Unusable(f"{path} can't be reached: {error.strerror}") from error


def sha256_of(path: Path, tend: Callable[[], None]) -> str:
    """The hash of a file's bytes, hex; `tend` is called after every block.

    Raises:
        Unusable: the disk fails while it is read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as source:
            while block := source.read(_BLOCK_BYTES):
                digest.update(block)
                tend()
    except OSError as error:
        raise Unusable(f"{path} can't be read: {error.strerror}") from error
    return digest.hexdigest()


class Lines:
    """Iterates once over (number from 1, line without its end); the line is None where it is longer than allowed.

    A gzip file that breaks off gives what can be read of it; `broken` says then why and how far that was.
    """

    def __init__(self, path: Path, most_bytes: int, look: Callable[[], None] = lambda: None) -> None:
        """`look`: called every so many lines."""
        self._path = path
        self.most_bytes = most_bytes
        self._look = look
        self._size = max(1, path.stat().st_size)
        self._raw: io.BufferedReader | None = None
        self.count = 0
        self.broken = ""

    @property
    def done_ratio(self) -> float:
        """The share of the file's bytes that has been read."""
        return min(1.0, self._raw.tell() / self._size) if self._raw is not None and not self._raw.closed else 1.0

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        with self._path.open("rb") as self._raw:
            is_gzip = self._raw.peek(2)[:2] == _GZIP
            source = gzip.GzipFile(fileobj=self._raw) if is_gzip else self._raw
            try:
                while (line := self._next(source)) != b"":
                    self.count += 1
                    if self.count == 1 and line is not None:
                        line = line.removeprefix(_BOM)
                    if self.count % _LOOK_LINES == 0:
                        self._look()
                    yield self.count, None if line is None else line.rstrip(b"\r\n")
            except (EOFError, OSError, zlib.error) as error:
                self.broken = (
                    f"{self._path} breaks off after line {self.count:,} "
                    f"(byte {self._raw.tell():,} of {self._size:,}): {error}"
                )

    def _next(self, source: gzip.GzipFile | io.BufferedReader) -> bytes | None:
        """The next line with its end, empty after the last one; None: it was too long and was skipped."""
        line = source.readline(self.most_bytes + 1)
        if len(line) <= self.most_bytes:
            return line
        while line and not line.endswith(b"\n"):
            line = source.readline(_BLOCK_BYTES)
        return None
