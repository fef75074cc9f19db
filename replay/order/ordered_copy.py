"""The ordered copy of a dataset: a folder that appears whole, and that every later replay of the same file reads.

ordered.duckdb   events (in event-time order, numbered from 1), times, products
summary.json     how many lines were used and rejected, and why
rejected.tsv     the rejected lines
position.json    how far the last replay got (each replay writes it; it is not part of the copy)
"""

from __future__ import annotations

import argparse
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
from pydantic import BaseModel, ConfigDict, ValidationError

from replay.options import moment
from replay.reading.records import account_line
from shared.pb.freshet.v1.events_pb2 import Event, Product
from shared.process.errors import Unusable

DATABASE = "ordered.duckdb"
SUMMARY = "summary.json"
REJECTED = "rejected.tsv"
_BATCH = 2_000  # events read at a time
_FOR_EVER_MS = 2**62
_SELECTED = "time_ms >= $from AND time_ms < $until AND user_point < $share"


class OrderedCopy:
    """An ordered copy, open for reading; it is read in batches."""

    def __init__(self, folder: Path) -> None:
        """Open the copy in a folder.

        Raises:
            Unusable: it is damaged.
        """
        self.folder = folder
        try:
            self.summary = Summary.model_validate_json((folder / SUMMARY).read_bytes())
            self._database = duckdb.connect(
                str(folder / DATABASE), read_only=True, config={"threads": 1, "memory_limit": "64MB"}
            )
        except (OSError, ValidationError, duckdb.Error) as error:
            raise Unusable(
                f"the ordered copy {folder} is damaged ({error}); delete it, and the next replay makes it again"
            ) from error

    def extent(self, selection: Selection) -> Extent:
        """How many events the selection holds, and their range.

        Raises:
            Unusable: it holds none.
        """
        query = f"""
            SELECT count(*), min(sequence), max(sequence), min(time_ms), max(time_ms) FROM events WHERE {_SELECTED}
        """  # noqa: S608  # nothing in it comes from outside
        row = self._database.execute(query, _parameters(selection)).fetchone()
        if row is None or not row[0]:
            tables = self.summary.tables
            raise Unusable(
                f"--from, --until and --users-sample leave no event of {tables.events:,}; "
                f"the dataset spans {moment(tables.first_ms)} to {moment(tables.last_ms)}"
            )
        return Extent(*row)

    def count_up_to(self, selection: Selection, sequence: int) -> int:
        """How many selected events have this sequence or a lower one."""
        query = f"SELECT count(*) FROM events WHERE {_SELECTED} AND sequence <= $sequence"  # noqa: S608
        row = self._database.execute(query, _parameters(selection) | {"sequence": sequence}).fetchone()
        return int(row[0]) if row else 0

    def newest_ms(self, selection: Selection, most_ms: int) -> int:
        """The latest event time selected that is no later than `most_ms`; 0 where there is none."""
        query = f"SELECT max(time_ms) FROM events WHERE {_SELECTED} AND time_ms <= $most"  # noqa: S608
        row = self._database.execute(query, _parameters(selection) | {"most": most_ms}).fetchone()
        return int(row[0]) if row and row[0] else 0

    def later_than(self, selection: Selection, most_ms: int) -> Later | None:
        """How many selected events are later than `most_ms`, and the time of the first; None where none is."""
        query = f"SELECT count(*), min(time_ms) FROM events WHERE {_SELECTED} AND time_ms > $most"  # noqa: S608
        row = self._database.execute(query, _parameters(selection) | {"most": most_ms}).fetchone()
        return Later(*row) if row and row[0] else None

    def events(self, selection: Selection, extent: Extent, after: int = 0) -> Iterator[Ordered]:
        """The selected events above sequence `after`, in order."""
        resolution_ms = self.summary.tables.resolution_ms
        query = f"""
            SELECT sequence, time_ms, key, event, time_ms + $resolution * (sequence - first) / events_then
            FROM events JOIN times USING (time_ms)
            WHERE sequence >= $start AND sequence < $stop AND {_SELECTED}
            ORDER BY sequence
        """  # noqa: S608
        for start in range(max(after + 1, extent.first_sequence), extent.last_sequence + 1, _BATCH):
            parameters = _parameters(selection) | {
                "start": start, "stop": start + _BATCH, "resolution": resolution_ms,
            }  # fmt: skip
            yield from map(Ordered._make, self._database.execute(query, parameters).fetchall())

    def products(self) -> Iterator[Product]:
        """The products of the metadata, each once."""
        return stored_products(self._database)

    def close(self) -> None:
        """Close the files."""
        self._database.close()


class Ordered(NamedTuple):
    """One event in its place, as it is stored.

    `spread_ms` is its event time moved into its day, or second, so that the events which share it lie evenly in it.
    """

    sequence: int
    time_ms: int  # its event time
    key: bytes  # as `shared.log.records.key_of`
    stored: bytes  # an `Event` without source and sequence
    spread_ms: float

    @property
    def event(self) -> Event:
        """The event itself."""
        return Event.FromString(self.stored)


class Extent(NamedTuple):
    """What a selection holds. Sequences are those of the whole dataset."""

    events: int
    first_sequence: int
    last_sequence: int
    first_ms: int
    last_ms: int


class Later(NamedTuple):
    """The events after some time."""

    events: int
    first_ms: int


class Selection(BaseModel):
    """Which events of a dataset are sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_ms: int = 0  # event time, included
    until_ms: int = _FOR_EVER_MS  # event time, excluded
    users_share: float = 1.0  # users, by a hash of their id

    def as_options(self) -> str:
        """The selection as options of the command line."""
        options = [
            f"--from {moment(self.from_ms)}" if self.from_ms else "",
            f"--until {moment(self.until_ms)}" if self.until_ms < _FOR_EVER_MS else "",
            f"--users-sample {self.users_share:g}" if self.users_share < 1 else "",
        ]
        return " ".join(part for part in options if part) or "everything"


def selection_of(arguments: argparse.Namespace) -> Selection:
    """What the arguments of `replay.options.add_selection` say."""
    until_ms = _FOR_EVER_MS if arguments.until is None else arguments.until
    return Selection(from_ms=arguments.from_ or 0, until_ms=until_ms, users_share=arguments.users_sample)


class Summary(BaseModel):
    """`summary.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    tables: TablesSummary
    reviews: FileSummary
    metadata: FileSummary | None


class TablesSummary(BaseModel):
    """What the tables hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: int
    products: int
    first_ms: int
    last_ms: int
    resolution_ms: int  # what event times are counted in: a day where all are whole days, else a second, else 1


class FileSummary(BaseModel):
    """How the records of one file were read; most records are a line each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    format: str  # for people
    sha256: str
    lines: int  # without blank ones
    accepted: int
    repeats: int  # accepted lines that repeat an earlier one exactly, and were left out
    rejected: dict[str, int]  # reason → records
    examples: list[str]  # the first rejected records, for people
    broken: str  # why the file could not be read to its end; empty if it could

    def line(self) -> str:
        """What became of the records, in one line."""
        return account_line(self.lines, self.accepted, self.rejected, self.repeats)


def tables_summary(file: Path) -> TablesSummary:
    """What the tables of a finished database hold."""
    with duckdb.connect(str(file), read_only=True) as database:
        rows = database.execute("""
            SELECT count(*), (SELECT count(*) FROM products), min(time_ms), max(time_ms),
                CASE WHEN bool_and(time_ms % 86400000 = 0) THEN 86400000
                     WHEN bool_and(time_ms % 1000 = 0) THEN 1000 ELSE 1 END
            FROM events
        """).fetchall()
    events, products, first_ms, last_ms, resolution_ms = rows[0]
    return TablesSummary(
        events=events, products=products, first_ms=first_ms, last_ms=last_ms, resolution_ms=resolution_ms
    )


def stored_products(database: duckdb.DuckDBPyConnection) -> Iterator[Product]:
    """The products of a database, each once, a batch at a time."""
    last = 0
    while True:
        query = "SELECT number, product FROM products WHERE number > $last ORDER BY number LIMIT $most"
        rows = database.execute(query, {"last": last, "most": _BATCH}).fetchall()
        if not rows:
            return
        for last, stored in rows:  # noqa: B007  # used by the next query
            yield Product.FromString(stored)


@contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """Lock the state folder for this process; the lock ends with the process, however that ends.

    Raises:
        Unusable: it can't be written to, or another process holds it.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = (state_dir / "lock").open("w")
    except OSError as error:
        raise Unusable(
            f"can't write to {state_dir} ({error.strerror}); choose another folder with FRESHET_REPLAY_STATE_DIR"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unusable(
                f"another replay uses {state_dir}; stop it, or choose another folder with FRESHET_REPLAY_STATE_DIR"
            ) from error
        yield


@contextmanager
def room_in(state_dir: Path) -> Iterator[None]:
    """Turn errors of the disk and of DuckDB, while a dataset is sorted in `state_dir`, into advice.

    Raises:
        Unusable: the disk is full or fails, or the memory limit is too low.
    """
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise Unusable(
            f"the dataset can't be put in order in {state_dir}: {str(error).splitlines()[0]}. Sorting takes about "
            "three times the size of the unpacked file: free some disk, or choose another folder with "
            "FRESHET_REPLAY_STATE_DIR; if memory ran out, raise FRESHET_REPLAY_ORDERING_MEMORY_MB"
        ) from error


def _parameters(selection: Selection) -> dict[str, float]:
    return {"from": selection.from_ms, "until": selection.until_ms, "share": selection.users_share}
