"""The lines of a file, plain or gzip, and the rows of a CSV, in bounded memory and as far as the file can be read.

In a CSV a quote opens a field only at its beginning: `5" pipe` is a field as it is. A quote that is never closed would
swallow the rest of the file, so only its line is left out, and the lines after it are read again.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from replay.reading.records import too_long
from shared.process.errors import BadEvent, Unusable

# No text has so many; at most so much is read again after a quote that is never closed.
MOST_RECORD_LINES = 1_000
_SAID = {"unexpected end of data": "a quote opens in it that is not closed"}
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 2**20
_LOOK_LINES = 500
Line = tuple[int, bytes | None]
CsvRow = tuple[int, bytes, list[str] | BadEvent]


class Lines:
    """Iterates once over (number from 1, line without its end); a line that is too long is None.

    A gzip file that breaks off gives what can be read; `broken` then says why, and where.
    """

    def __init__(self, path: Path, most_bytes: int, look: Callable[[], None] = lambda: None) -> None:
        """`look` is called every few hundred lines."""
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


def require_readable(path: Path) -> None:
    """Check that a path can be a dataset.

    Raises:
        Unusable: it does not exist, is no file, may not be read, or is empty.
    """
    try:
        if not path.exists():
            raise Unusable(f"no such file: {path}; check the name")
        if not path.is_file():
            raise Unusable(f"{path} is not a file; name the file itself")
        if not os.access(path, os.R_OK):
            raise Unusable(f"{path} may not be read; check its permissions")
        if not path.stat().st_size:
            raise Unusable(f"{path} is empty; download it again")
    except OSError as error:  # a folder on the way may not be entered
        raise Unusable(f"{path} can't be reached: {error.strerror}") from error


def sha256_of(path: Path, tend: Callable[[], None]) -> str:
    """The hash of a file in hexadecimal; `tend` is called after every block.

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


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file's lines become fields."""

    delimiter: str = ","
    encoding: str = "utf-8"


def rows(lines: Iterable[Line], dialect: Dialect, most_bytes: int) -> Iterator[CsvRow]:
    """Each record: the line it begins at, its bytes, its fields or why it has none. Blank lines are no records.

    Args:
        lines: each with its number; None where it is too long.
        most_bytes: what a record may have, over all of its lines.
    """
    if csv.field_size_limit() < most_bytes:
        csv.field_size_limit(most_bytes)  # the module's own, for all: records are bounded here
    feed = _Feed(lines, dialect.encoding, most_bytes)
    while not feed.ended:
        reader = csv.reader(feed.lines(), delimiter=dialect.delimiter, strict=True)
        try:
            for fields in reader:
                n, content = feed.taken()
                if len(fields) <= 1 and not content.strip():
                    continue
                error = _damage(content, dialect.encoding) if feed.damaged or b"\x00" in content else None
                yield n, content, error or fields
        except csv.Error as error:
            yield *feed.given_up(), BadEvent("bad_csv", f"is no row of a CSV: {_SAID.get(str(error), error)}")
        else:
            if (skipped := feed.too_long()) is not None:
                yield skipped, b"", too_long()


class _Feed:
    """Gives the csv module its lines, and remembers those of the record in the making."""

    def __init__(self, lines: Iterable[Line], encoding: str, most_bytes: int) -> None:
        self._rest = iter(lines)
        self._again: deque[Line] = deque()  # lines to be read once more
        self._encoding = encoding
        self._most_bytes = most_bytes
        self._record: list[tuple[int, bytes]] = []
        self._damaged = False
        self.damaged = False  # the record taken last holds bytes that are none of the encoding
        self.ended = False

    def lines(self) -> Iterator[str]:
        """Lines until the file ends, or the record in the making has grown too long."""
        size = 0
        record = self._record
        for n, line in itertools.chain(_drained(self._again), self._rest):
            if line is None:
                self._again.appendleft((n, None))
                return
            if not record:
                size = 0
            elif size + len(line) > self._most_bytes or len(record) >= MOST_RECORD_LINES:
                self._again.appendleft((n, line))
                return
            size += len(line)
            record.append((n, line))
            try:
                text = line.decode(self._encoding)
            except UnicodeDecodeError:
                self._damaged = True
                text = line.decode(self._encoding, "replace")
            yield text + "\n"
        self.ended = True

    def taken(self) -> tuple[int, bytes]:
        """The record that the csv module has read: the line it begins at, and its bytes."""
        record = self._record
        n, content = record[0]
        if len(record) > 1:
            content = b"\n".join([line for _, line in record])
        record.clear()
        self.damaged, self._damaged = self._damaged, False
        return n, content

    def given_up(self) -> tuple[int, bytes]:
        """The first line of a record that is none; the others are to be read again."""
        n, content = self._record[0]
        self._again.extendleft(reversed(self._record[1:]))
        self._record.clear()
        self._damaged = False
        self.ended = self.ended and not self._again
        return n, content

    def too_long(self) -> int | None:
        """The number of the line that is next, where that is too long; it is passed over."""
        if self._again and self._again[0][1] is None:
            return self._again.popleft()[0]
        return None


def _drained(queue: deque[Line]) -> Iterator[Line]:
    while queue:
        yield queue.popleft()


def _damage(content: bytes, encoding: str) -> BadEvent:
    if b"\x00" in content:
        return BadEvent("nul_bytes", "holds NUL bytes: a copy that went wrong, or UTF-16")
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        return BadEvent(
            "not_utf8",
            f"is not {encoding.upper()}: {error.reason} at byte {error.start}; an export of Windows is often cp1252: "
            'say so in a mapping, encoding = "cp1252" under [file]',
        )
    raise AssertionError("called for a record without damage")
