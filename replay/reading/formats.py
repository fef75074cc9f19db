"""The one way into every file that Freshet reads: its format, recognised by content, then its events or products.

    file_format = recognise(path, mapping, settings)  # mapping: that of --mapping, or None; `load_mapping` reads one
    lines = Lines(path, settings.most_line_bytes, look)
    for line_number, content, event in file_format.read(lines, account, reject=…):
        …

`file_format.name` is for people; `file_format.mapping` is a CSV's mapping, completed from the content
(`mapping.as_toml` writes it). `account` counts, `reject(line_number, error)` is called for every record left out, and
`account.broken` says at the end why the file could not be read to its end. Files may be plain or gzip; memory is
bounded. `recognise_products` does the same for products.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from replay.reading import records, snap
from replay.reading.lines import Dialect, Lines, require_readable, rows
from replay.reading.mapped import MappedRows
from replay.reading.mapping import DELIMITERS, ISO, ColumnMapping, time_format_of
from replay.reading.records import Account, Record, parse_record, read, too_long
from replay.reading.shapes import Shape, looks_like_ratings, shape_of_header, shape_of_rows
from replay.reading.snap import to_product
from replay.settings import ReplaySettings
from shared.pb.freshet.v1.events_pb2 import Event, Product
from shared.process.errors import BadEvent, Unusable

_LINES = 1_000
_BYTES = 2**20
# The share of lines that must look like a format: a text in a CSV may hold a few lines that look like another.
_LEAST_SHARE = 0.3
# Files that are not lines of text, by their first bytes, and what to do.
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
MessageT = TypeVar("MessageT", Event, Product)
_Convert = Callable[[Any], MessageT]


class ReviewsAsProducts(Unusable):
    """Reviews were given as metadata: products would lose their titles and prices."""


@dataclass(frozen=True, slots=True)
class Format(Generic[MessageT]):
    """How one file is read."""

    name: str
    mapping: ColumnMapping | None  # of a CSV, complete
    _records: Callable[[Lines], Iterator[tuple[int, bytes, Any]]]
    _convert: _Convert[MessageT]

    def read(
        self, lines: Lines, account: Account, *, reject: Callable[[int, BadEvent], None]
    ) -> Iterator[tuple[int, bytes, MessageT]]:
        """Each usable record: the line it begins at, its bytes, its event or product.

        Args:
            account: updated while reading.
            reject: called for every record left out.
        """
        yield from read(self._records(lines), self._convert, account, reject=reject)
        account.broken = lines.broken

    @property
    def reading(self) -> str:
        """What, beside a file's content, decides on what is read from it."""
        return "" if self.mapping is None else self.mapping.model_dump_json(exclude_none=True)


def recognise(path: Path, mapping: ColumnMapping | None, settings: ReplaySettings) -> Format[Event]:
    """How the events of a file are read.

    Raises:
        Unusable: nobody can tell, or the mapping does not fit; the message says what to do.
    """
    head = Head(path, settings.most_line_bytes)
    if mapping is not None:
        _require_csv(head)
        return _by_mapping(head, "a CSV by its mapping", mapping, MappedRows.to_event)
    if head.holds_json:
        edition, name = (
            (snap.SNAP_2023, "reviews of 2023, JSON lines")
            if head.is_of_2023
            else (snap.SNAP, "reviews of 2014 or 2018, JSON lines")
        )
        return Format(name, None, _json_lines, lambda line: snap.to_event(parse_record(line), edition))
    if head.holds_blocks:
        return Format(
            "reviews in blocks, as finefoods.txt",
            None,
            lambda lines: records.blocks(lines, lines.most_bytes),
            lambda block: snap.to_event(records.parse_block(block), snap.BLOCKS),
        )
    shape = _shape(head)
    return _by_mapping(head, shape.name, shape.mapping, MappedRows.to_event, shape.time_formats)


def recognise_products(path: Path, mapping: ColumnMapping | None, settings: ReplaySettings) -> Format[Product]:
    """How the products of a file are read: metadata, or a CSV that says what its products are.

    Raises:
        ReviewsAsProducts: it holds reviews.
        Unusable: nobody can tell, or the mapping does not fit; the message says what to do.
    """
    head = Head(path, settings.most_line_bytes)
    if mapping is not None:
        _require_csv(head)
        return _by_mapping(head, "products of a CSV by its mapping", mapping, MappedRows.to_product)
    if head.holds_json:
        if head.holds_reviews:
            raise ReviewsAsProducts(
                f"{path} holds reviews, not what products are called and cost: name the file of metadata; reviews are "
                "sent with python -m replay run"
            )
        return Format("product metadata, JSON lines", None, _json_lines, lambda line: to_product(parse_record(line)))
    shape = _shape(head)
    return _by_mapping(head, f"products of {shape.name}", shape.mapping, MappedRows.to_product, shape.time_formats)


def _json_lines(lines: Lines) -> Iterator[tuple[int, bytes, bytes | BadEvent]]:
    for n, line in lines:
        if line is None:
            yield n, b"", too_long()
        elif line and not line.isspace():
            yield n, line, line


def _require_csv(head: Head) -> None:
    if head.is_no_csv:
        raise Unusable(f"{head.path} is no CSV and needs no mapping: leave --mapping out")


def _shape(head: Head) -> Shape:
    """The shape of a CSV that comes without a mapping."""
    sample = head.rows(Dialect(head.delimiter("utf-8")))
    names = [name.strip() for name in sample[0]] if sample else []
    shape = shape_of_header(names) or shape_of_rows(sample)
    if shape is not None:
        return shape
    if looks_like_ratings(sample):
        raise Unusable(
            f"{head.path} holds ratings, but it can't be told which column is the user and which the product: "
            "say it with --mapping FILE, a file that holds\n[columns]\nuser = 1\nproduct = 2\nrating = 3\ntime = 4\n"
            "[file]\nheader = false"
        )
    first = head.first
    if first is not None and first.lstrip().startswith(b"["):
        raise Unusable(f"{head.path} is one JSON array: write an object a line, as jq -c '.[]' does")
    shown = "a line that is too long" if first is None else ascii(first[:120].decode(errors="replace"))
    raise Unusable(
        f"{head.path} is in no format that is known by its content; it begins with {shown}. Where it is a CSV, "
        "say which column is what with --mapping FILE (python -m replay run --help shows one)"
    )


def _by_mapping(
    head: Head,
    name: str,
    mapping: ColumnMapping,
    convert: Callable[[MappedRows, list[str]], MessageT],
    time_formats: tuple[str, ...] = (),
) -> Format[MessageT]:
    """A CSV by its mapping, completed from the content."""
    file = mapping.file
    delimiter = file.delimiter or head.delimiter(file.encoding)
    dialect = Dialect(delimiter, file.encoding)
    sample = head.rows(dialect)
    if file.header:
        names, sample = [field.strip() for field in sample[0]] if sample else [], sample[1:]
    else:
        widths = [len(fields) for fields in sample]
        names = [str(n + 1) for n in range(max(set(widths), key=widths.count))] if widths else []
    mapping = mapping.model_copy(update={"file": file.model_copy(update={"delimiter": delimiter})})
    rows_of = MappedRows(mapping, names)
    if mapping.time.format is None and mapping.columns.time is not None:
        time_format = _time_format(head, rows_of.times(sample), str(mapping.columns.time), time_formats)
        mapping = mapping.model_copy(update={"time": mapping.time.model_copy(update={"format": time_format})})
        rows_of = MappedRows(mapping, names)

    def records(lines: Lines) -> Iterator[tuple[int, bytes, Any]]:
        return itertools.islice(rows(lines, dialect, lines.most_bytes), int(file.header), None)

    return Format(name, mapping, records, lambda fields: convert(rows_of, fields))


def _time_format(head: Head, values: list[str], column: str, also: tuple[str, ...]) -> str:
    if not values:
        return ISO  # no value: no line can be used, whatever the format
    time_format = time_format_of(values, also)
    if time_format is None:
        raise Unusable(
            f"{head.path}: how times are written in {column} can't be told; the first is {json.dumps(values[0])}. "
            'Say it in the mapping: format = "%d/%m/%Y %H:%M" or the like, under [time]'
        )
    return time_format


class Head:
    """The first lines of a file, and what they look like."""

    def __init__(self, path: Path, most_line_bytes: int) -> None:
        """Read them.

        Raises:
            Unusable: the file can't be read, is no file of lines, or begins with blank ones only.
        """
        require_readable(path)
        with path.open("rb") as source:
            beginning = source.read(8)
        for other, advice in _OTHERS.items():
            if beginning.startswith(other):
                raise Unusable(f"{path} {advice}")
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
            advice = lines.broken or "it begins with blank lines only"
            raise Unusable(f"not one line of {path} could be used: {advice}")

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
        fitting = sum(fits(line) for line in lines)
        return fitting > 0 and fitting >= _LEAST_SHARE * len(lines)

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
    return records.FIELD.match(line) is not None
