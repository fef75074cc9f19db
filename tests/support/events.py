"""What a file is read as: its events, and what is left out with line and reason."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from replay.reading.formats import Format, recognise
from replay.reading.lines import Lines
from replay.reading.mapping import ColumnMapping
from replay.reading.records import Account
from replay.settings import ReplaySettings
from shared.pb.freshet.v1.events_pb2 import Event
from shared.process.errors import BadEvent


class Found(NamedTuple):
    """Everything that reading a file gives."""

    format: Format[Event]
    account: Account
    events: list[Event]
    at: list[int]  # the line each event begins at
    left_out: list[tuple[int, str]]  # line, reason
    messages: list[str]  # of those left out


def events_of(path: Path, content: bytes | None = None, mapping: ColumnMapping | None = None, **settings: int) -> Found:
    """Read a file, written first where `content` is given."""
    if content is not None:
        path.write_bytes(content)
    known = ReplaySettings(**settings)  # type: ignore[arg-type]
    file_format = recognise(path, mapping, known)
    account = Account()
    left_out: list[tuple[int, str]] = []
    messages: list[str] = []

    def reject(n: int, error: BadEvent) -> None:
        left_out.append((n, error.reason))
        messages.append(str(error))

    lines = Lines(path, known.most_line_bytes)
    read = [(n, event) for n, _, event in file_format.read(lines, account, reject=reject)]
    return Found(file_format, account, [event for _, event in read], [n for n, _ in read], left_out, messages)
