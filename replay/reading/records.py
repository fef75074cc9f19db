"""The records of a file, read one by one: each is used, or left out with a reason, and counted (`read`, `Account`).

A record is a line of JSON, a line with a Python literal, as in the looser SNAP files (`parse_record`), or a block of
`name: value` lines with a blank line between blocks, as in finefoods.txt and movies.txt (`parse_block`). A value of a
block may go on in lines that begin with no field's name. Some of SNAP's blocks are UTF-8 and some Latin-1, so a line
that is not UTF-8 is read as Latin-1, which any bytes are.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

from shared.process.errors import BadEvent, Unusable

# Why a record is left out, fit for a metric's label.
REASONS = (
    "too_long", "not_utf8", "nul_bytes", "not_json", "not_object", "bad_csv", "bad_fields", "bad_block",
    "no_user", "no_product", "no_time", "nothing_said", "bad_id", "bad_time", "bad_kind", "bad_rating", "bad_votes",
    "bad_text", "bad_price", "bad_quantity", "bad_dwell",
)  # fmt: skip
EXAMPLES = 5
# Python's parser takes many times a literal's size in memory; no line of the looser files is nearly so long.
MOST_LITERAL_BYTES = 256 * 1024
FIRST = b"product/productId:"  # a block begins here, also where the blank line before it is missing
FIELD = re.compile(rb"(?:product|review)/[A-Za-z]+:")
_decode = json.JSONDecoder(strict=False).decode  # made once: json.loads would make one for every line
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
Record = dict[str, Any]
Block = tuple[int, bytes, bytes | BadEvent]
RecordT = TypeVar("RecordT")
MessageT = TypeVar("MessageT")


def read(
    records: Iterable[tuple[int, bytes, RecordT | BadEvent]],
    convert: Callable[[RecordT], MessageT],
    account: Account,
    *,
    reject: Callable[[int, BadEvent], None],
) -> Iterator[tuple[int, bytes, MessageT]]:
    """Each usable record: the line it begins at, its bytes, what `convert` made of it.

    Args:
        records: the line each begins at, its bytes, and the record itself, or why there is none.
        account: updated while reading.
        reject: called for every record left out.
    """
    for n, content, record in records:
        account.lines += 1
        try:
            if isinstance(record, BadEvent):
                raise record
            message = convert(record)
        except BadEvent as error:
            account.rejected[error.reason] += 1
            if len(account.examples) < EXAMPLES:
                account.examples.append(f"line {n}: {error}")
            reject(n, error)
            continue
        account.accepted += 1
        yield n, content, message


@dataclass(slots=True)
class Account:
    """How the records of one file were read; most records are a line each."""

    lines: int = 0
    accepted: int = 0
    repeats: int = 0  # accepted records that repeat an earlier one exactly, and were left out
    rejected: Counter[str] = field(default_factory=Counter)  # reason → records
    examples: list[str] = field(default_factory=list)  # the first few, for people
    broken: str = ""  # why the file could not be read to its end

    def require_use(self, file: Path, name: str) -> None:
        """Refuse a file without a usable record; `name` is the format it was read as.

        Raises:
            Unusable: nothing was accepted.
        """
        if self.accepted:
            return
        reason = self.broken or "; ".join(self.examples[:3]) or "it holds blank lines only"
        raise Unusable(f"not one line of {file} could be used: {reason}. It was read as {name}")


def account_line(lines: int, accepted: int, rejected: Mapping[str, int], repeats: int = 0) -> str:
    """How some records were read, in one line."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())
    return (
        f"{lines:,} lines, {accepted:,} usable, {sum(rejected.values()):,} left out"
        f"{f' ({reasons})' if reasons else ''}"
        f"{f', {repeats:,} exact copies of an earlier line left out' if repeats else ''}"
    )


class RejectedFile:
    """Writes up to `most` of the records left out, one a line: file, line number, reason, message."""

    def __init__(self, sink: TextIO, most: int) -> None:
        self._sink = sink
        self._left = most
        sink.write("file\tline\treason\tmessage\n")

    def add(self, name: str, line: int, error: BadEvent) -> None:
        """Write one, if there is room."""
        if self._left > 0:
            self._left -= 1
            message = " ".join(str(error).split())
            self._sink.write(f"{name}\t{line}\t{error.reason}\t{message}\n")


def too_long() -> BadEvent:
    """The error of a record that is longer than allowed."""
    return BadEvent("too_long", "is longer than FRESHET_REPLAY_MOST_LINE_BYTES")


def parse_record(line: bytes) -> Record:
    """The fields of a line.

    Raises:
        BadEvent: not_utf8, nul_bytes, not_json or not_object.
    """
    if b"\x00" in line:
        raise BadEvent("nul_bytes", "holds NUL bytes: a copy that went wrong, or UTF-16")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadEvent("not_utf8", f"is not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        value = _decode(text)
    except (ValueError, RecursionError) as error:
        value = _literal(text, error)
    if not isinstance(value, dict):
        raise BadEvent("not_object", f"is a {type(value).__name__}, not an object with fields")
    return value


def _literal(text: str, not_json: Exception) -> Any:
    """The value of a Python literal; no code is run."""
    if not text.lstrip().startswith("{") or len(text) > MOST_LITERAL_BYTES:
        raise BadEvent("not_json", f"is not JSON: {not_json}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as "\d", of which those files are full
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise BadEvent("not_json", f"is neither JSON nor a Python literal: {not_json}") from None


def identifier(record: Record, name: str, missing: str) -> str:
    """A field that names a user or a product.

    Raises:
        BadEvent: `missing` when it is absent or empty, bad_id when it is no name.
    """
    value = record.get(name)
    if value is None or value == "":
        raise BadEvent(missing, f"{name}: missing")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadEvent("bad_id", f"{name}: must be a string, got {_shown(value)}")
    if isinstance(value, str) and _LONE_SURROGATES.search(value):
        raise BadEvent("bad_id", f"{name}: holds half a character, {_shown(value)}")
    return str(value)


def number(record: Record, name: str, reason: str) -> float | None:
    """A field that is a finite number, or says one such as "1,234"; None when it is absent or empty.

    Raises:
        BadEvent: `reason`.
    """
    value = record.get(name)
    if value is None or value == "":
        return None
    return as_number(value, name, reason)


def as_number(value: object, name: str, reason: str) -> float:
    """A finite number, also out of a string such as "1,234".

    Raises:
        BadEvent: `reason`.
    """
    if isinstance(value, str):
        value = value.replace(",", "")
    try:
        parsed = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        parsed = None
    if parsed is None:
        raise BadEvent(reason, f"{name}: must be a number, got {_shown(value)}")
    if not math.isfinite(parsed):
        raise BadEvent(reason, f"{name}: must be finite, got {_shown(value)}")
    return parsed


def clean(text: str) -> str:
    """The text without lone halves of surrogate pairs, which UTF-8 can't hold."""
    return text if text.isascii() else _LONE_SURROGATES.sub("\ufffd", text)


def _shown(value: object) -> str:
    return ascii(value)[:80] if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"


def blocks(lines: Iterable[tuple[int, bytes | None]], most_bytes: int) -> Iterator[Block]:
    """Each block: the line it begins at and its bytes, twice.

    Args:
        lines: each with its number; None where it is too long.
        most_bytes: what a block may have, over all of its lines.
    """
    block: list[bytes] = []
    first = size = 0
    is_too_long = False

    def whole() -> Iterator[Block]:
        nonlocal size, is_too_long
        if is_too_long:
            yield first, b"", too_long()
        elif block:
            content = b"\n".join(block)
            yield first, content, content
        block.clear()
        size, is_too_long = 0, False

    for n, line in lines:
        if line is not None and (not line or line.isspace()):
            yield from whole()
            continue
        if line is not None and line.startswith(FIRST):
            yield from whole()
        if not block and not is_too_long:
            first = n
        size += 0 if line is None else len(line) + 1
        if line is None or size > most_bytes:
            is_too_long = True
            block.clear()
        elif not is_too_long:
            block.append(line)
    yield from whole()


def parse_block(content: bytes) -> Record:
    """The fields of a block.

    Raises:
        BadEvent: nul_bytes or bad_block.
    """
    if b"\x00" in content:
        raise BadEvent("nul_bytes", "holds NUL bytes: a copy that went wrong, or UTF-16")
    record: Record = {}
    name = ""
    for line in content.split(b"\n"):
        text = _text(line)
        if FIELD.match(line):
            name, _, value = text.partition(":")
            record[name] = value.strip()
        elif name:
            record[name] += f"\n{text}"
        else:
            raise BadEvent("bad_block", f"begins with no field such as product/productId: {ascii(text)[:80]}")
    return record


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
