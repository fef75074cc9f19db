"""The one entry to every file that Freshet reads: what it is, told from its content, and its events or products.

    found = recognise(path, mapping, settings)      # mapping: that of --mapping, or None; `load_mapping` reads one
    lines = Lines(path, settings.most_line_bytes, look)
    for line_number, content, event in found.read(lines, account, reject=…):
        …

`found.name` says what it is, for people; `found.mapping` how a CSV is read, what was told from its content filled in
(`mapping_text.as_toml` writes it); `account` counts, `reject(line_number, error)` hears of every record left out, and
`account.broken` says at the end why a file could not be read to its end. Plain or gzip, in bounded memory.
`recognise_products` does the same for what a file says of products.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from replay import blocks, reviews, times
from replay.datasets import Account, read, too_long
from replay.head import Head
from replay.lines import Lines
from replay.mapped import MappedRows
from replay.mapping import Mapping
from replay.products import to_product
from replay.records import parse_record
from replay.rows import Dialect, rows
from replay.settings import ReplaySettings
from replay.shapes import Shape, looks_like_ratings, shape_of_header, shape_of_rows
from shared.errors import BadEvent, Unusable
from shared.pb.freshet.v1.events_pb2 import Event, Product

MessageT = TypeVar("MessageT", Event, Product)
_Convert = Callable[[Any], MessageT]


class ReviewsAsProducts(Unusable):
    """A file of reviews where one of metadata belongs: read so, products would lose their titles and prices."""


@dataclass(frozen=True, slots=True)
class Format(Generic[MessageT]):
    """How one file is read."""

    name: str
    mapping: Mapping | None  # of a CSV, complete
    _records: Callable[[Lines], Iterator[tuple[int, bytes, Any]]]
    _convert: _Convert[MessageT]

    def read(
        self, lines: Lines, account: Account, *, reject: Callable[[int, BadEvent], None]
    ) -> Iterator[tuple[int, bytes, MessageT]]:
        """Each usable record: the line it begins at, its bytes, its event or product.

        Args:
            account: kept while reading.
            reject: told every record left out.
        """
        yield from read(self._records(lines), self._convert, account, reject=reject)
        account.broken = lines.broken

    @property
    def reading(self) -> str:
        """What, beside a file's content, decides on what is read from it."""
        return "" if self.mapping is None else self.mapping.model_dump_json(exclude_none=True)


def recognise(path: Path, mapping: Mapping | None, settings: ReplaySettings) -> Format[Event]:
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
            (reviews.SNAP_2023, "reviews of 2023, JSON lines")
            if head.is_of_2023
            else (reviews.SNAP, "reviews of 2014 or 2018, JSON lines")
        )
        return Format(name, None, _json_lines, lambda line: reviews.to_event(parse_record(line), edition))
    if head.holds_blocks:
        return Format(
            "reviews in blocks, as finefoods.txt",
            None,
            lambda lines: blocks.blocks(lines, lines.most_bytes),
            lambda block: reviews.to_event(blocks.parse_block(block), reviews.BLOCKS),
        )
    shape = _shape(head)
    return _by_mapping(head, shape.name, shape.mapping, MappedRows.to_event, shape.time_formats)


def recognise_products(path: Path, mapping: Mapping | None, settings: ReplaySettings) -> Format[Product]:
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
    found = head.rows(Dialect(head.delimiter("utf-8")))
    names = [name.strip() for name in found[0]] if found else []
    shape = shape_of_header(names) or shape_of_rows(found)
    if shape is not None:
        return shape
    if looks_like_ratings(found):
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
    mapping: Mapping,
    convert: Callable[[MappedRows, list[str]], MessageT],
    time_formats: tuple[str, ...] = (),
) -> Format[MessageT]:
    """A CSV by its mapping, completed from the content."""
    file = mapping.file
    delimiter = file.delimiter or head.delimiter(file.encoding)
    dialect = Dialect(delimiter, file.encoding)
    found = head.rows(dialect)
    if file.header:
        names, found = [field.strip() for field in found[0]] if found else [], found[1:]
    else:
        widths = [len(fields) for fields in found]
        names = [str(n + 1) for n in range(max(set(widths), key=widths.count))] if widths else []
    mapping = mapping.model_copy(update={"file": file.model_copy(update={"delimiter": delimiter})})
    rows_of = MappedRows(mapping, names)
    if mapping.time.format is None and mapping.columns.time is not None:
        time_format = _time_format(head, rows_of.times(found), str(mapping.columns.time), time_formats)
        mapping = mapping.model_copy(update={"time": mapping.time.model_copy(update={"format": time_format})})
        rows_of = MappedRows(mapping, names)

    def records(lines: Lines) -> Iterator[tuple[int, bytes, Any]]:
        return itertools.islice(rows(lines, dialect, lines.most_bytes), int(file.header), None)

    return Format(name, mapping, records, lambda fields: convert(rows_of, fields))


def _time_format(head: Head, values: list[str], column: str, also: tuple[str, ...]) -> str:
    if not values:
        return times.ISO  # no value: no line can be used, whatever the format
    found = times.format_of(values, also)
    if found is None:
        raise Unusable(
            f"{head.path}: how times are written in {column} can't be told; the first is {json.dumps(values[0])}. "
            'Say it in the mapping: format = "%d/%m/%Y %H:%M" or the like, under [time]'
        )
    return found
