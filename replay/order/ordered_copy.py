"""The ordered copy of a dataset: a folder that appears whole, read again by every replay of the same file.

ordered.duckdb   events (in event-time order, numbered from 1), times, products
summary.json     what became of the dataset's lines
rejected.tsv     the lines left out
position.json    how far the last replay of it came (written by replays, not part of the copy)
"""

from __future__ import annotations

import argparse
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
from pydantic import BaseModel, ConfigDict, ValidationError

from replay.reading.records import told
from shared.pb.freshet.v1.events_pb2 import Event, Product
from shared.process.errors import Unusable

DATABASE = "ordered.duckdb"
SUMMARY = "summary.json"
REJECTED = "rejected.tsv"
_BATCH = 2_000  # events read at a time
_FOR_EVER_MS = 2**62
_SELECTED = "time_ms >= $from AND time_ms < $until AND user_point < $share"


class OrderedCopy:
    """Reads an ordered copy, a batch at a time."""

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
            raise Unusable(f"the ordered copy {folder} is damaged ({error}); delete it to have it made anew") from error

    def extent(self, selection: Selection) -> Extent:
        """What the selection holds.

        Raises:
            Unusable: nothing.
        """
        query = f"""
            SELECT count(*), min(sequence), max(sequence), min(time_ms), max(time_ms) FROM events WHERE {_SELECTED}
        """  # noqa: S608  # nothing in it comes from outside
        found = self._database.execute(query, _parameters(selection)).fetchone()
        if found is None or not found[0]:
            tables = self.summary.tables
            raise Unusable(
                f"--from, --until and --users-sample leave no event of {tables.events:,}; "
                f"the dataset spans {_moment(tables.first_ms)} to {_moment(tables.last_ms)}"
            )
        return Extent(*found)

    def count_up_to(self, selection: Selection, sequence: int) -> int:
        """The selected events up to and including a sequence."""
        query = f"SELECT count(*) FROM events WHERE {_SELECTED} AND sequence <= $sequence"  # noqa: S608
        found = self._database.execute(query, _parameters(selection) | {"sequence": sequence}).fetchone()
        return int(found[0]) if found else 0

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


class Selection(BaseModel):
    """Which events of a dataset are sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_ms: int = 0  # event time, included
    until_ms: int = _FOR_EVER_MS  # event time, excluded
    users_share: float = 1.0  # users, by a hash of their id

    def told(self) -> str:
        """The selection as the command line has it."""
        said = [
            f"--from {_moment(self.from_ms)}" if self.from_ms else "",
            f"--until {_moment(self.until_ms)}" if self.until_ms < _FOR_EVER_MS else "",
            f"--users-sample {self.users_share:g}" if self.users_share < 1 else "",
        ]
        return " ".join(part for part in said if part) or "everything"


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
    """What became of the records of one file; most are a line each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    format: str  # what it is, for people
    sha256: str
    lines: int  # but blank ones
    accepted: int
    repeats: int  # accepted lines that are exact copies of an earlier one: not in the copy
    rejected: dict[str, int]  # reason → records
    examples: list[str]  # the first of them, for people
    broken: str  # why the file could not be read to its end; empty: it could

    def told(self) -> str:
        """The account in one line."""
        return told(self.lines, self.accepted, self.rejected, self.repeats)


def tables_summary(file: Path) -> TablesSummary:
    """What the tables of a finished database hold."""
    with duckdb.connect(str(file), read_only=True) as database:
        found = database.execute("""
            SELECT count(*), (SELECT count(*) FROM products), min(time_ms), max(time_ms),
                CASE WHEN bool_and(time_ms % 86400000 = 0) THEN 86400000
                     WHEN bool_and(time_ms % 1000 = 0) THEN 1000 ELSE 1 END
            FROM events
        """).fetchall()
    events, products, first_ms, last_ms, resolution_ms = found[0]
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
    """Hold the state folder for this process; the lock goes with the process, however it ends.

    Raises:
        Unusable: it can't be written to, or another process holds it.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = (state_dir / "lock").open("w")
    except OSError as error:
        raise Unusable(
            f"can't write to {state_dir} ({error.strerror}); name another folder with FRESHET_REPLAY_STATE_DIR"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unusable(
                f"another replay uses {state_dir}; stop it, or name another folder with FRESHET_REPLAY_STATE_DIR"
            ) from error
        yield


@contextmanager
def room_in(state_dir: Path) -> Iterator[None]:
    """Translate what goes wrong where a dataset is put in order in a state folder.

    Raises:
        Unusable: the disk is full or fails, or the memory allowed is too little.
    """
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise Unusable(
            f"the dataset can't be put in order in {state_dir}: {str(error).splitlines()[0]}. It takes about three "
            "times the size of the unpacked file for a while: free some disk, or name a folder elsewhere with "
            "FRESHET_REPLAY_STATE_DIR; where memory is short, set FRESHET_REPLAY_ORDERING_MEMORY_MB higher"
        ) from error


def _parameters(selection: Selection) -> dict[str, float]:
    return {"from": selection.from_ms, "until": selection.until_ms, "share": selection.users_share}


def _moment(time_ms: int) -> str:
    """A day, with the time where it isn't midnight."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().removesuffix("+00:00").removesuffix("T00:00:00")
