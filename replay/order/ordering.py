"""Puts a dataset in event-time order, once and out of core; the ordered copy is kept for every later replay.

The order is by event time, then by line, so the same file always gives the same sequence. Left out are records that
can't be used, and exact copies of an earlier record: the 2018 files hold such repeats, and nobody reviews the same
product at the same time in the same words twice. An event without a price gets the price of the metadata.

Memory is bounded: events are written to sorted runs on disk, which are merged as they are read, and products go into
tables of DuckDB (`Staging`).
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import logging
import math
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple

import duckdb
import numpy as np

from replay.metrics import ReplayMetrics
from replay.order.ordered_copy import (
    DATABASE,
    REJECTED,
    SUMMARY,
    FileSummary,
    OrderedCopy,
    Summary,
    room_in,
    tables_summary,
)
from replay.reading.formats import Format, MessageT, recognise, recognise_products
from replay.reading.lines import Lines, sha256_of
from replay.reading.mapping import ColumnMapping
from replay.reading.records import Account, RejectedFile
from replay.settings import ReplaySettings
from shared.log.records import key_of
from shared.pb.freshet.v1.events_pb2 import Event, Product
from shared.process.errors import BadEvent
from shared.process.folders import whole_folder
from shared.process.terminal import Watch

log = logging.getLogger("replay")
VERSION = 3  # of the ordered copy; part of a dataset's fingerprint, so a new version sorts every file again
# How far the work is, roughly, once the metadata was read, and once the events were; the rest is sorting.
_METADATA_SHARE = 0.05
_EVENTS_SHARE = 0.75
_BATCH_ROWS = 10_000
_BATCH_SHARE = 32  # a batch may take this fraction of the memory: DuckDB holds it several times while inserting it
_ROW_GROUP_ROWS = 2_048  # DuckDB's minimum; every size must be a multiple of it
_ROW_GROUP_MB = 64  # memory for each `_ROW_GROUP_ROWS` of a group, which DuckDB holds whole while writing it
_ROW_BYTES = 400  # what an event in memory takes beside its record
_BUFFER_BYTES = 2**17
_HEAD = struct.Struct("<qqI")  # time, line, size of the content
_KEYS = struct.Struct("<16sd")  # digest of the record, point of the user; the event follows
_TABLES = """
    CREATE TABLE staged (line BIGINT, product_id VARCHAR, price DOUBLE, product BLOB);
    CREATE TABLE ordered.events (sequence BIGINT, time_ms BIGINT, user_point DOUBLE, key BLOB, event BLOB);
"""
# Of several lines about one product the last one counts.
_PRODUCTS = """
    CREATE TABLE last_lines AS SELECT max(line) AS line FROM staged GROUP BY product_id;
    CREATE TABLE ordered.products AS
        SELECT row_number() OVER () AS number, product
        FROM (SELECT product FROM staged SEMI JOIN last_lines USING (line) ORDER BY line);
    CREATE TABLE prices AS
        SELECT product_id, price FROM staged SEMI JOIN last_lines USING (line) WHERE NOT isnan(price);
"""
_TIMES = """
    CREATE TABLE ordered.times AS
        SELECT time_ms, min(sequence) AS first, count(*) AS events_then
        FROM ordered.events GROUP BY time_ms ORDER BY time_ms;
    CHECKPOINT ordered;
"""


def ordered_copy(
    file: Path,
    metadata: Path | None,
    settings: ReplaySettings,
    watch: Watch,
    mapping: ColumnMapping | None = None,
    *,
    metrics: ReplayMetrics,
) -> OrderedCopy:
    """The ordered copy of a dataset, made now unless it exists; `mapping` says what the columns of a CSV mean.

    Raises:
        Unusable: a file can't be read, has no usable line, or the disk is full.
        Stopped: by `watch`; nothing half made stays behind.
    """
    events = _SourceFile(file, recognise(file, mapping, settings), _sha256(file, watch))
    goods: _SourceFile[Product] | None = None
    if metadata is not None:
        product_format = recognise_products(metadata, None, settings)
        goods = _SourceFile(metadata, product_format, _sha256(metadata, watch))
    sources: list[_SourceFile[Any]] = [events] if goods is None else [events, goods]
    fingerprint = fingerprint_of(
        [source.sha256 for source in sources],
        settings.most_line_bytes,
        [source.format.reading for source in sources if source.format.reading],
    )
    folder = settings.state_dir / fingerprint
    if folder.exists():
        log.info("%s was put in order before: reading the copy in %s", file, folder)
    else:
        log.info("%s: read as %s", file, events.format.name)
        _make(folder, _Ordering(fingerprint, events, goods, settings, watch, metrics))
    metrics.ordering_progress.set(1)
    copy = OrderedCopy(folder)
    _tell(copy.summary, folder, metrics)
    return copy


def fingerprint_of(sha256s: Sequence[str], most_line_bytes: int, readings: Sequence[str] = ()) -> str:
    """The name of a dataset: a hash of its files, their mappings, and whatever else its order depends on."""
    named = [VERSION, most_line_bytes, *sha256s, *readings]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


def _sha256(path: Path, watch: Watch) -> str:
    return sha256_of(path, lambda: watch.look(lambda: "checking whether the file was read before"))


def _tell(summary: Summary, folder: Path, metrics: ReplayMetrics) -> None:
    """Log and count how many lines were used and rejected."""
    for file in (summary.reviews, summary.metadata):
        if file is None:
            continue
        log.info("%s: %s", file.name, file.line())
        for example in file.examples:
            log.info("%s: left out %s", file.name, example)
        if file.rejected:
            log.info("%s: the lines left out are in %s", file.name, folder / REJECTED)
        if file.broken:
            log.warning("%s; what could be read is used: download the file again for the rest", file.broken)
        for reason, count in file.rejected.items():
            metrics.rejected.labels(reason).inc(count)
    metrics.repeats.set(summary.reviews.repeats)


@dataclass(frozen=True, slots=True)
class _SourceFile(Generic[MessageT]):
    """A file, its format and its hash."""

    path: Path
    format: Format[MessageT]
    sha256: str

    def summary(self, account: Account) -> FileSummary:
        """How its records were read."""
        return FileSummary(
            name=self.path.name,
            format=self.format.name,
            sha256=self.sha256,
            lines=account.lines,
            accepted=account.accepted,
            repeats=account.repeats,
            rejected=dict(account.rejected.most_common()),
            examples=account.examples,
            broken=account.broken,
        )


class _Ordering:
    """Makes the ordered copy of one dataset."""

    def __init__(
        self,
        fingerprint: str,
        events: _SourceFile[Event],
        goods: _SourceFile[Product] | None,
        settings: ReplaySettings,
        watch: Watch,
        metrics: ReplayMetrics,
    ) -> None:
        self._metrics = metrics
        self._fingerprint = fingerprint
        self._events = events
        self._goods = goods
        self._settings = settings
        self._watch = watch

    def write(self, folder: Path) -> None:
        """Write the ordered copy into a folder."""
        work = folder / "work"
        work.mkdir()
        settings = self._settings
        staging = Staging(work, folder / DATABASE, memory_mb=settings.ordering_memory_mb)
        try:
            with (folder / REJECTED).open("w", encoding="utf-8", newline="") as sink:
                rejected = RejectedFile(sink, settings.most_rejected_lines)
                goods = self._read_products(staging, rejected)
                account = self._read_events(staging, rejected)
            account.repeats = account.accepted - staging.write_ordered(self._look_at_sorting(account.accepted))
        finally:
            staging.close()
        shutil.rmtree(work)
        summary = Summary(
            fingerprint=self._fingerprint,
            tables=tables_summary(folder / DATABASE),
            reviews=self._events.summary(account),
            metadata=None if self._goods is None else self._goods.summary(goods),
        )
        (folder / SUMMARY).write_text(summary.model_dump_json(indent=2), encoding="utf-8")

    def _read_products(self, staging: Staging, rejected: RejectedFile) -> Account:
        account = Account()
        if self._goods is not None:
            for n, _, product in self._usable(self._goods, account, rejected, (0.0, _METADATA_SHARE)):
                staging.add_product(n, product)
            account.require_use(self._goods.path, self._goods.format.name)
        staging.end_products()
        return account

    def _read_events(self, staging: Staging, rejected: RejectedFile) -> Account:
        account = Account()
        span = (_METADATA_SHARE if self._goods is not None else 0.0, _EVENTS_SHARE)
        for n, content, event in self._usable(self._events, account, rejected, span):
            staging.add_event(n, content, event)
        account.require_use(self._events.path, self._events.format.name)
        return account

    def _usable(
        self, source: _SourceFile[MessageT], account: Account, rejected: RejectedFile, span: tuple[float, float]
    ) -> Iterator[tuple[int, bytes, MessageT]]:
        """The usable records of a file; reading it takes the work from `span[0]` to `span[1]`."""

        lines: Lines

        def reject(n: int, error: BadEvent) -> None:
            rejected.add(source.path.name, n, error)

        def look() -> None:
            done = span[0] + (span[1] - span[0]) * lines.done_ratio
            self._metrics.ordering_progress.set(done)
            self._watch.look(
                lambda: (
                    f"reading {source.path.name}: {lines.done_ratio:.0%}, {account.lines:,} lines, "
                    f"{account.rejected.total():,} left out"
                ),
                done,
            )

        lines = Lines(source.path, self._settings.most_line_bytes, look)
        return source.format.read(lines, account, reject=reject)

    def _look_at_sorting(self, events: int) -> Callable[[int], None]:
        def look(written: int) -> None:
            done = written / events
            whole = _EVENTS_SHARE + (1 - _EVENTS_SHARE) * done
            self._metrics.ordering_progress.set(whole)
            self._watch.look(lambda: f"putting {events:,} events in the order of their time: {done:.0%}", whole)

        return look


def _make(folder: Path, ordering: _Ordering) -> None:
    """Make the copy in a folder that appears whole, or not at all."""
    with room_in(folder.parent), whole_folder(folder) as unfinished:
        ordering.write(unfinished)


class Staging:
    """Takes products, then events, in any order, and writes them to a database file in event-time order."""

    def __init__(self, folder: Path, ordered: Path, *, memory_mb: int) -> None:
        """`folder`: for temporary files; `ordered`: the database file to write."""
        self._folder = folder
        config: dict[str, Any] = {
            "memory_limit": f"{memory_mb // 2}MiB",
            "threads": 1,
            "temp_directory": str(folder / "spill"),
        }
        self._database = duckdb.connect(str(folder / "staging.duckdb"), config=config)
        quoted = str(ordered).replace("'", "''")
        self._database.execute(f"ATTACH '{quoted}' AS ordered (ROW_GROUP_SIZE {_row_group_rows(memory_mb)})")
        self._database.execute(_TABLES)
        self._batch_bytes = memory_mb * 2**20 // _BATCH_SHARE
        self._products = _TableBatch(self._database, "staged", self._batch_bytes)
        self._events: list[tuple[int, int, bytes, Event]] = []  # (time, line, digest, event)
        self._most_bytes = memory_mb * 2**20 // 2
        self._bytes = 0
        self._runs: list[Path] = []

    def add_product(self, line: int, product: Product) -> None:
        """Add a product."""
        price = product.price if product.HasField("price") else math.nan
        stored = product.SerializeToString()
        self._products.add((line, product.product_id, price, stored), len(stored))

    def end_products(self) -> None:
        """Finish the products, before the first event."""
        self._products.flush()
        self._database.execute(_PRODUCTS)

    def add_event(self, line: int, content: bytes, event: Event) -> None:
        """Add an event; `content` is its record, by which exact copies are recognised."""
        digest = hashlib.blake2b(content, digest_size=16).digest()
        self._events.append((event.event_time_ms, line, digest, event))
        self._bytes += len(content) + _ROW_BYTES
        if self._bytes >= self._most_bytes:
            self._spill()

    def write_ordered(self, look: Callable[[int], None]) -> int:
        """Write all events in order; returns how many there are without exact copies. `look` is called on the way."""
        self._spill()
        events = _TableBatch(self._database, "ordered.events", self._batch_bytes)
        sequence = reached_ms = 0
        seen: set[bytes] = set()  # digests at the time reached: copies of a record share its time
        for n, (time_ms, _, content) in enumerate(merged(self._runs)):
            if n % 1000 == 0:
                look(n)
            digest, point = _KEYS.unpack_from(content)
            if time_ms != reached_ms:
                reached_ms = time_ms
                seen.clear()
            if digest in seen:
                continue
            seen.add(digest)
            sequence += 1
            event = content[_KEYS.size :]
            events.add((sequence, time_ms, point, key_of(Event.FromString(event)), event), len(event))
        events.flush()
        self._database.execute(_TIMES)
        return sequence

    def _spill(self) -> None:
        """Write the events in memory, with their prices, to a new run."""
        prices = self._prices({event.product_id for _, _, _, event in self._events})
        self._events.sort(key=lambda event: event[:2])
        rows = (
            SortedRow(time_ms, line, _KEYS.pack(digest, _point(event, digest)) + _priced(event, prices))
            for time_ms, line, digest, event in self._events
        )
        run = self._folder / f"run-{len(self._runs)}"
        write_run(run, rows)
        self._runs.append(run)
        self._events.clear()
        self._bytes = 0

    def _prices(self, product_ids: set[str]) -> dict[str, float]:
        wanted = np.empty(len(product_ids), object)
        wanted[:] = list(product_ids)
        self._database.register("wanted", {"product_id": wanted})
        result = self._database.execute("SELECT product_id, price FROM prices SEMI JOIN wanted USING (product_id)")
        prices = dict(result.fetchall())
        self._database.unregister("wanted")
        return prices

    def close(self) -> None:
        """Close the files."""
        self._database.close()


class _TableBatch:
    """Rows to be inserted into one table."""

    def __init__(self, database: duckdb.DuckDBPyConnection, table: str, most_bytes: int) -> None:
        self._database = database
        self._table = table
        self._most_bytes = most_bytes
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0

    def add(self, row: tuple[Any, ...], size: int) -> None:
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= _BATCH_ROWS or self._bytes >= self._most_bytes:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        columns = {str(i): _column(values) for i, values in enumerate(zip(*self._rows, strict=True))}
        self._database.register("batch", columns)
        self._database.execute(f"INSERT INTO {self._table} SELECT * FROM batch")  # noqa: S608  # one of our two tables
        self._database.unregister("batch")
        self._rows.clear()
        self._bytes = 0


def _row_group_rows(memory_mb: int) -> int:
    """How many rows DuckDB may hold at a time in so much memory; its default is 60 times the minimum."""
    return _ROW_GROUP_ROWS * min(60, max(1, memory_mb // _ROW_GROUP_MB))


def _column(values: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """An array that DuckDB can read a column from."""
    if isinstance(values[0], int | float):
        return np.array(values)
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _priced(event: Event, prices: dict[str, float]) -> bytes:
    """The event as it is stored, with the price of its product if it has none."""
    if not event.HasField("price") and (price := prices.get(event.product_id)) is not None:
        event.price = price
    return event.SerializeToString()


def user_point(user_id: str) -> float:
    """A fixed point of a user in [0, 1), evenly spread: the users below a share are that share of all users."""
    return _evenly(hashlib.blake2b(user_id.encode(), digest_size=6).digest())


def _point(event: Event, digest: bytes) -> float:
    """The point of an event's user; each event of a guest counts as a user of its own."""
    return user_point(event.user_id) if event.user_id else _evenly(digest[:6])


def _evenly(digest: bytes) -> float:
    return int.from_bytes(digest, "big") / 2**48


class SortedRow(NamedTuple):
    """What is sorted: by time, then by line number, which is unique."""

    time_ms: int
    line: int
    content: bytes


def merged(runs: list[Path], *, most_open: int = 200) -> Iterator[SortedRow]:
    """All rows of all runs in order; deletes the runs. At most `most_open` files are open at a time."""
    names = itertools.count()
    while len(runs) > most_open:
        some, runs = runs[:most_open], runs[most_open:]
        file = some[0].with_name(f"merged-{next(names)}")
        write_run(file, merged(some))
        runs.append(file)
    yield from heapq.merge(*(read_run(run) for run in runs))
    for run in runs:
        run.unlink()


def write_run(file: Path, rows: Iterable[SortedRow]) -> None:
    """Write sorted rows to a file."""
    with file.open("wb", buffering=_BUFFER_BYTES) as sink:
        for time_ms, line, content in rows:
            sink.write(_HEAD.pack(time_ms, line, len(content)))
            sink.write(content)


def read_run(file: Path) -> Iterator[SortedRow]:
    """The rows of a run, in order."""
    with file.open("rb", buffering=_BUFFER_BYTES) as source:
        while head := source.read(_HEAD.size):
            time_ms, line, size = _HEAD.unpack(head)
            yield SortedRow(time_ms, line, source.read(size))
