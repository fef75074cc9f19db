"""Reads the records of a file one by one; what can't be used is told, and the rest goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, TypeVar

from shared.errors import BadEvent, Unusable

# Why a record is left out, fit for a metric's label.
REASONS = (
    "too_long", "not_utf8", "nul_bytes", "not_json", "not_object", "bad_csv", "bad_fields", "bad_block",
    "no_user", "no_product", "no_time", "nothing_said", "bad_id", "bad_time", "bad_kind", "bad_rating", "bad_votes",
    "bad_text", "bad_price", "bad_quantity", "bad_dwell",
)  # fmt: skip

EXAMPLES = 5

RecordT = TypeVar("RecordT")
MessageT = TypeVar("MessageT")


@dataclass(slots=True)
class Account:
    """What became of the records of one file; most are a line each."""

    lines: int = 0
    accepted: int = 0
    repeats: int = 0  # accepted ones that are exact copies of an earlier one, left out
    rejected: Counter[str] = field(default_factory=Counter)  # reason → records
    examples: list[str] = field(default_factory=list)  # the first few, for people
    broken: str = ""  # why the file could not be read to its end

    def require_use(self, file: Path, name: str) -> None:
        """Refuse a file of which nothing could be used; `name` is what it was read as.

        Raises:
            Unusable: nothing was accepted.
        """
        if self.accepted:
            return
        said = self.broken or "; ".join(self.examples[:3]) or "it holds blank lines only"
        raise Unusable(f"not one line of {file} could be used: {said}. It was read as {name}")


def told(lines: int, accepted: int, rejected: Mapping[str, int], repeats: int = 0) -> str:
    """What became of some records, in one line."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())
    return (
        f"{lines:,} lines, {accepted:,} usable, {sum(rejected.values()):,} left out"
        f"{f' ({reasons})' if reasons else ''}"
        f"{f', {repeats:,} exact copies of an earlier line left out' if repeats else ''}"
    )


class RejectedFile:
    """Writes the records left out, one a line: file, line number, reason, message; `most` at most."""

    def __init__(self, sink: TextIO, most: int) -> None:
        self._sink = sink
        self._left = most
        sink.write("file\tline\treason\tmessage\n")

    def add(self, name: str, line: int, error: BadEvent) -> None:
        """Write one, while there is room."""
        if self._left > 0:
            self._left -= 1
            message = " ".join(str(error).split())
            self._sink.write(f"{name}\t{line}\t{error.reason}\t{message}\n")


def read(
    records: Iterable[tuple[int, bytes, RecordT | BadEvent]],
    convert: Callable[[RecordT], MessageT],
    account: Account,
    *,
    reject: Callable[[int, BadEvent], None],
) -> Iterator[tuple[int, bytes, MessageT]]:
    """Each usable record: the line it begins at, its bytes, what `convert` made of it.

    Args:
        records: each with the line it begins at and its bytes; an error where it could not be told from others.
        account: kept while reading.
        reject: told every record left out.
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


def too_long() -> BadEvent:
    """The error of a record that is longer than allowed."""
    return BadEvent("too_long", "is longer than FRESHET_REPLAY_MOST_LINE_BYTES")
