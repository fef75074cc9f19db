"""Sorting more than memory holds: sorted runs on disk, merged as they are read."""

from __future__ import annotations

import heapq
import itertools
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<qqI")  # time, line, size of the rest
_BUFFER_BYTES = 2**17


class Row(NamedTuple):
    """What is sorted: by time, then by line, which no two share."""

    time_ms: int
    line: int
    content: bytes


def write_run(file: Path, rows: Iterable[Row]) -> None:
    """Write rows that are in order already."""
    with file.open("wb", buffering=_BUFFER_BYTES) as sink:
        for time_ms, line, content in rows:
            sink.write(_HEAD.pack(time_ms, line, len(content)))
            sink.write(content)


def read_run(file: Path) -> Iterator[Row]:
    """The rows of a run, in order."""
    with file.open("rb", buffering=_BUFFER_BYTES) as source:
        while head := source.read(_HEAD.size):
            time_ms, line, size = _HEAD.unpack(head)
            yield Row(time_ms, line, source.read(size))


def merged(runs: list[Path], *, most_open: int = 200) -> Iterator[Row]:
    """All rows of all runs in order; the runs are deleted on the way. At most `most_open` files are open at a time."""
    names = itertools.count()
    while len(runs) > most_open:
        some, runs = runs[:most_open], runs[most_open:]
        file = some[0].with_name(f"merged-{next(names)}")
        write_run(file, merged(some))
        runs.append(file)
    yield from heapq.merge(*(read_run(run) for run in runs))
    for run in runs:
        run.unlink()
