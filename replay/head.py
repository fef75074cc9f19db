"""The beginning of a file, from which is told what it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from replay import blocks
from replay.lines import Lines, require_readable
from replay.mapping import DELIMITERS
from replay.records import Record, parse_record
from replay.rows import Dialect, rows
from shared.errors import BadEvent, Unusable

_LINES = 1_000
_BYTES = 2**20

# Of the lines that aren't blank, for a format to be told by them: a text in a CSV may hold some that look like another.
_LEAST_SHARE = 0.3

# What is no file of lines, by its first bytes, and what to do.
_OTHERS = {
    b"PK\x03\x04": "is a ZIP archive or an Excel workbook: unpack it, or save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook: save it as CSV UTF-8",
    b"BZh": "is packed by bzip2: unpack it with bunzip2",
    b"\xfd7zXZ": "is packed by xz: unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "is packed by zstd: unpack it with unzstd",
    b"PAR1": "is a Parquet file: export it as CSV",
    b"\xff\xfe": "is UTF-16: convert it with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "is UTF-16: convert it with iconv -f UTF-16 -t UTF-8",
}


class Head:
    """The first lines of a file."""

    def __init__(self, path: Path, most_line_bytes: int) -> None:
        """Read them.

        Raises:
            Unusable: the file can't be read, is no file of lines, or begins with blank ones only.
        """
        require_readable(path)
        with path.open("rb") as source:
            beginning = source.read(8)
        for other, said in _OTHERS.items():
            if beginning.startswith(other):
                raise Unusable(f"{path} {said}")
        self.path = path
        self.most_line_bytes = most_line_bytes
        lines = Lines(path, most_line_bytes)
        self.lines: list[tuple[int, bytes | None]] = []
        size = 0
        for n, line in itertools.islice(lines, _LINES):
            self.lines.append((n, line))
            size += len(line or b"")
            if size > _BYTES:
                break
        if not any(line is None or line.strip() for _, line in self.lines):
            said = lines.broken or "it begins with blank lines only"
            raise Unusable(f"not one line of {path} could be used: {said}")

    @property
    def holds_json(self) -> bool:
        """Whether lines are objects with fields, as strict JSON or as Python literals."""
        return self._are(_is_object)

    @property
    def holds_blocks(self) -> bool:
        """Whether lines are fields of the block format."""
        return self._are(_is_field)

    @property
    def is_no_csv(self) -> bool:
        """Whether the first line is one of another format."""
        return self.first is not None and (_is_object(self.first) or _is_field(self.first))

    def _are(self, fits: Callable[[bytes], bool]) -> bool:
        lines = [line for _, line in self.lines if line is not None and line.strip()]
        found = sum(fits(line) for line in lines)
        return found > 0 and found >= _LEAST_SHARE * len(lines)

    @property
    def is_of_2023(self) -> bool:
        """Whether the first object that names a user or a product does so in the names of 2023."""
        for record in self._objects():
            if "reviewerID" in record:
                return False
            if "user_id" in record or "parent_asin" in record:
                return True
        return False

    @property
    def holds_reviews(self) -> bool:
        """Whether the first object that names a product names a user, too; what is said of products names none."""
        for record in self._objects():
            if "asin" in record or "parent_asin" in record:
                return "reviewerID" in record or "user_id" in record
        return False

    def _objects(self) -> Iterator[Record]:
        """The lines that are objects with fields."""
        for _, line in self.lines:
            try:
                record = parse_record(line or b"")
            except BadEvent:
                continue
            yield record

    @property
    def first(self) -> bytes | None:
        """The first line that is not blank; None where it is too long."""
        return next(line for _, line in self.lines if line is None or line.strip())

    def rows(self, dialect: Dialect) -> list[list[str]]:
        """The rows of a CSV, without those that are none."""
        return [fields for _, _, fields in rows(self.lines, dialect, self.most_line_bytes) if isinstance(fields, list)]

    def delimiter(self, encoding: str) -> str:
        """The delimiter under which the rows agree best on how many fields they have."""

        def agreement(delimiter: str) -> tuple[float, int]:
            widths = [len(fields) for fields in self.rows(Dialect(delimiter, encoding))]
            usual = max(set(widths), key=widths.count) if widths else 1
            return (widths.count(usual) / len(widths), usual) if usual > 1 else (0.0, 1)

        return max(DELIMITERS, key=agreement)


def _is_object(line: bytes) -> bool:
    return line.lstrip().startswith(b"{")


def _is_field(line: bytes) -> bool:
    return blocks.FIELD.match(line) is not None
