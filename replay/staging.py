"""Where a dataset is put in order: events in sorted runs on disk, products in tables, all in bounded memory."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from replay.runs import Row, merged, write_run
from shared.events import key_of
from shared.pb.freshet.v1.events_pb2 import Event, Product

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

_BATCH_ROWS = 10_000
_BATCH_SHARE = 32  # of the memory, a batch may be this part: DuckDB holds it several times over while it takes it in
_ROW_GROUP_ROWS = 2_048  # DuckDB's least, and what all numbers of it are multiples of
_ROW_GROUP_MB = 64  # of memory, for each so many rows of a group: it is held whole, texts and all, while it is written
_ROW_BYTES = 400  # what one in memory takes beside its event

_KEYS = struct.Struct("<16sd")  # digest of the line, the user's point; the event follows


class Staging:
    """Takes products, then events, in any order of time; writes them to a database file in order."""

    def __init__(self, folder: Path, ordered: Path, *, memory_mb: int) -> None:
        """`folder`: for what is in the making; `ordered`: the database file to write."""
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
        self._products = _Batch(self._database, "staged", self._batch_bytes)
        self._events: list[tuple[int, int, bytes, Event]] = []  # (time, line, digest, event)
        self._most_bytes = memory_mb * 2**20 // 2
        self._bytes = 0
        self._runs: list[Path] = []

    def add_product(self, line: int, product: Product) -> None:
        """Take a product."""
        price = product.price if product.HasField("price") else math.nan
        stored = product.SerializeToString()
        self._products.add((line, product.product_id, price, stored), len(stored))

    def end_products(self) -> None:
        """All products were added: events may come."""
        self._products.flush()
        self._database.execute(_PRODUCTS)

    def add_event(self, line: int, content: bytes, event: Event) -> None:
        """Take an event; `content` is its record itself, by which copies are recognised."""
        digest = hashlib.blake2b(content, digest_size=16).digest()
        self._events.append((event.event_time_ms, line, digest, event))
        self._bytes += len(content) + _ROW_BYTES
        if self._bytes >= self._most_bytes:
            self._spill()

    def write_ordered(self, look: Callable[[int], None]) -> int:
        """Write all events in order; how many there are without exact copies. `look` hears how many are written."""
        self._spill()
        events = _Batch(self._database, "ordered.events", self._batch_bytes)
        sequence = reached_ms = 0
        seen: set[bytes] = set()  # digests of the time reached: copies of a line have its time
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
        """Write the events in memory to a run of their own, with their prices."""
        prices = self._prices({event.product_id for _, _, _, event in self._events})
        self._events.sort(key=lambda event: event[:2])
        rows = (
            Row(time_ms, line, _KEYS.pack(digest, _point(event, digest)) + _priced(event, prices))
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
        found = self._database.execute("SELECT product_id, price FROM prices SEMI JOIN wanted USING (product_id)")
        prices = dict(found.fetchall())
        self._database.unregister("wanted")
        return prices

    def close(self) -> None:
        """Close the files."""
        self._database.close()


class _Batch:
    """Rows on their way into one table."""

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
    """How many rows DuckDB may hold at a time, from what it has for them; its default is 60 times the least."""
    return _ROW_GROUP_ROWS * min(60, max(1, memory_mb // _ROW_GROUP_MB))


def _column(values: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """The array DuckDB reads a column from."""
    if isinstance(values[0], int | float):
        return np.array(values)
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _priced(event: Event, prices: dict[str, float]) -> bytes:
    """The event as it is kept, with the price of its product where it has none of its own."""
    if not event.HasField("price") and (price := prices.get(event.product_id)) is not None:
        event.price = price
    return event.SerializeToString()


def user_point(user_id: str) -> float:
    """Where a user lies in [0, 1), evenly spread and always the same: those below a share are that share of users."""
    return _evenly(hashlib.blake2b(user_id.encode(), digest_size=6).digest())


def _point(event: Event, digest: bytes) -> float:
    """Where an event lies among all users; a guest is a user of one event, known by its record."""
    return user_point(event.user_id) if event.user_id else _evenly(digest[:6])


def _evenly(digest: bytes) -> float:
    return int.from_bytes(digest, "big") / 2**48
