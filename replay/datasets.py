"""Reads a file of reviews or of product metadata line by line; what can't be used is told, and the rest goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TextIO, TypeVar

from replay.lines import Lines
from replay.records import Record, parse_record
from shared.errors import BadEvent

# Why a line is left out, fit for a metric's label.
REASONS = (
    "too_long", "not_utf8", "nul_bytes", "not_json", "not_object", "no_user", "no_product", "no_time",
    "bad_id", "bad_time", "bad_rating", "bad_votes", "bad_text", "nothing_said",
)  # fmt: skip

EXAMPLES = 5
_LOOK_LINES = 500

MessageT = TypeVar("MessageT")


@dataclass(slots=True)
class Account:
    """What became of the lines of one file."""

    lines: int = 0
    accepted: int = 0
    repeats: int = 0  # accepted lines that are exact copies of an earlier one, left out
    rejected: Counter[str] = field(default_factory=Counter)  # reason → lines
    examples: list[str] = field(default_factory=list)  # the first few, for people
    broken: str = ""  # why the file could not be read to its end


class RejectedFile:
    """Writes the lines left out, one a line: file, line number, reason, message; `most` at most."""

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
    lines: Lines,
    convert: Callable[[Record], MessageT],
    account: Account,
    *,
    reject: Callable[[int, BadEvent], None],
    look: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, bytes, MessageT]]:
    """Each usable line: its number, its bytes, what `convert` made of it; blank lines count for nothing.

    Args:
        account: kept while reading.
        reject: told every line left out.
        look: called every so many lines.
    """
    for n, line in lines:
        if n % _LOOK_LINES == 0:
            look()
        if line is not None and not line.strip():
            continue
        account.lines += 1
        try:
            if line is None:
                raise BadEvent("too_long", "is longer than FRESHET_REPLAY_MOST_LINE_BYTES")  # noqa: TRY301
            message = convert(parse_record(line))
        except BadEvent as error:
            account.rejected[error.reason] += 1
            if len(account.examples) < EXAMPLES:
                account.examples.append(f"line {n}: {error}")
            reject(n, error)
            continue
        account.accepted += 1
        yield n, line, message
    account.broken = lines.broken
