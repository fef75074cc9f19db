"""What a file holds, counted in one pass and in bounded memory.

Each record becomes a row of numbers in a database on disk (`NumberTable`), from which `inspect` takes its `Findings`,
and from those good values for the settings of the features service (`scales`).
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from pydantic import BaseModel, ConfigDict

from replay.reading.formats import Format, ReviewsAsProducts, recognise_products
from replay.reading.lines import Lines
from replay.reading.mapping import ColumnMapping
from replay.reading.records import Account
from replay.settings import ReplaySettings
from shared.log.records import AHEAD_MS
from shared.pb.freshet.v1.events_pb2 import (
    EVENT_KIND_DISLIKE,
    EVENT_KIND_RATING,
    EVENT_KIND_REVIEW,
    Event,
    EventKind,
    Product,
)
from shared.process.errors import BadEvent, Unusable

if TYPE_CHECKING:
    import pandas as pd


EXAMPLES = 3  # per reason
# Optional fields of an event, as people call them.
FIELDS = {
    "stars": "rating",
    "text": "text",
    "price": "price",
    "quantity": "quantity",
    "helpful votes": "helpful_votes",
    "all votes": "total_votes",
    "dwell time": "dwell_seconds",
}
PRODUCT_FIELDS = {"title": "title", "category": "categories", "brand": "brand", "price": "price"}
_MASKED = (EVENT_KIND_REVIEW, EVENT_KIND_RATING, EVENT_KIND_DISLIKE)  # as every service masks by default
_TELLING_LINES = 1_000  # without one usable event: it holds none
_TYPES = "digest BIGINT, user BIGINT, product BIGINT, time_ms BIGINT, kind BIGINT, is_guest BIGINT, "
_TYPES += "price DOUBLE, rating DOUBLE, helpful DOUBLE, is_helpful_alone BIGINT"
_SCALE_QUANTILE = 0.99
_SAMPLE_ROWS = 100_000  # from which quantiles are taken
_BATCH_ROWS = 10_000
Look = Callable[[float, int], None]  # the share that is done, the lines read


def inspect(
    path: Path,
    event_format: Format[Event],
    mapping: ColumnMapping | None,
    settings: ReplaySettings,
    look: Look,
    now_ms: int,
) -> Findings:
    """Read a file once and say what it holds: events or, where there are none, products.

    Args:
        found: how its events are read.
        mapping: the one given, None without.
        look: hears how far it is.
        now_ms: what the clock says; events more than a day later are counted.

    Raises:
        Unusable: not one line could be used.
    """
    account = Account()
    try:
        return _events(path, event_format, account, settings, look, now_ms)
    except _NoEvents:
        goods = Account()
        try:
            return _products(path, recognise_products(path, mapping, settings), goods, settings, look)
        except (_NoEvents, ReviewsAsProducts):
            account.require_use(path, event_format.name)
            raise AssertionError("a file of events without events") from None


def _events(
    path: Path, event_format: Format[Event], account: Account, settings: ReplaySettings, look: Look, now_ms: int
) -> Findings:
    if event_format.mapping is not None and event_format.mapping.columns.time is None:
        raise _NoEvents
    rejections = _Rejections(account)
    missing = dict.fromkeys(FIELDS, 0)
    ahead = Ahead()
    optional = [(name, field) for name, field in FIELDS.items() if field != "text"]
    with NumberTable(settings.ordering_memory_mb, _TYPES) as table:
        lines = Lines(path, settings.most_line_bytes, lambda: look(lines.done_ratio, account.lines))
        for n, content, event in event_format.read(lines, account, reject=rejections.add):
            missing["text"] += not event.text
            if event.event_time_ms > now_ms + AHEAD_MS:
                ahead = ahead.with_line(n, event.event_time_ms)
            for name, field in optional:
                missing[name] += not event.HasField(field)  # type: ignore[arg-type]  # one of the optional ones
            helpful = event.HasField("helpful_votes")
            table.add(
                (
                    _number_of(content),
                    _number_of(event.user_id.encode()),
                    _number_of(event.product_id.encode()),
                    event.event_time_ms,
                    int(event.kind),
                    int(not event.user_id),
                    event.price if event.HasField("price") else math.nan,
                    event.rating if event.HasField("rating") else math.nan,
                    float(event.helpful_votes) if helpful else math.nan,
                    int(helpful and not event.HasField("total_votes")),
                )
            )
        if not account.accepted:
            raise _NoEvents
        return _findings(path, event_format, account, rejections, missing, ahead, table)


def _findings(
    path: Path,
    event_format: Format[Event],
    account: Account,
    rejections: _Rejections,
    missing: dict[str, int],
    ahead: Ahead,
    table: NumberTable,
) -> Findings:
    once = table.without_copies()
    users, guests, products, first_ms, last_ms, whole_days = table.one(
        "SELECT count(DISTINCT user) FILTER (is_guest = 0), sum(is_guest), count(DISTINCT product), min(time_ms), "
        "max(time_ms), bool_and(time_ms % 86400000 = 0) FROM once"
    )
    (one_event_users,) = table.one(
        "SELECT count(*) FROM (SELECT user FROM once WHERE is_guest = 0 GROUP BY user HAVING count(*) = 1)"
    )
    masked = ", ".join(map(str, _MASKED))
    (seen_again,) = table.one(
        "SELECT coalesce(sum(times - 1), 0) FROM (SELECT count(*) AS times FROM once "  # noqa: S608  # kinds' numbers
        f"WHERE is_guest = 0 AND kind IN ({masked}) GROUP BY user, product)"
    )
    kinds = {
        EventKind.Name(kind).removeprefix("EVENT_KIND_").lower(): count
        for kind, count in table.all("SELECT kind, count(*) FROM once GROUP BY kind ORDER BY count(*) DESC")
    }
    stars = table.all("SELECT rating, count(*) FROM once WHERE NOT isnan(rating) GROUP BY 1 ORDER BY 2 DESC LIMIT 10")
    sample = table.sample()
    price = spread(sample.loc[sample.price > 0, "price"])
    helpful = spread(sample.loc[(sample.is_helpful_alone == 1) & (sample.helpful > 0), "helpful"])
    return Findings(
        file=str(path),
        bytes=path.stat().st_size,
        holds="events",
        format=event_format.name,
        lines=account.lines,
        usable=account.accepted,
        repeats=account.accepted - once,
        rejected=dict(account.rejected.most_common()),
        examples=rejections.examples,
        broken=account.broken,
        products=products,
        missing=_shares(missing, account.accepted),
        price=price,
        users=users,
        guests=int(guests),
        one_event_users=one_event_users,
        seen_again=int(seen_again),
        first_ms=first_ms,
        last_ms=last_ms,
        ahead=ahead if ahead.lines else None,
        whole_days=whole_days,
        kinds=kinds,
        stars={f"{value:g}": count for value, count in sorted(stars)},
        helpful=helpful,
        scales=scales(price, helpful),
    )


def _products(
    path: Path, product_format: Format[Product], account: Account, settings: ReplaySettings, look: Look
) -> Findings:
    rejections = _Rejections(account)
    missing = dict.fromkeys(PRODUCT_FIELDS, 0)
    with NumberTable(settings.ordering_memory_mb, "digest BIGINT, product BIGINT, price DOUBLE") as table:
        lines = Lines(path, settings.most_line_bytes, lambda: look(lines.done_ratio, account.lines))
        for _, content, product in product_format.read(lines, account, reject=rejections.add):
            missing["title"] += not product.title
            missing["category"] += not product.categories
            missing["brand"] += not product.brand
            missing["price"] += not product.HasField("price")
            price = product.price if product.HasField("price") else math.nan
            table.add((_number_of(content), _number_of(product.product_id.encode()), price))
        if not account.accepted or all(count == account.accepted for count in missing.values()):
            raise _NoEvents
        once = table.without_copies()
        (products,) = table.one("SELECT count(DISTINCT product) FROM once")
        sample = table.sample()
        prices = spread(sample.loc[sample.price > 0, "price"])
        return Findings(
            file=str(path),
            bytes=path.stat().st_size,
            holds="products",
            format=product_format.name,
            lines=account.lines,
            usable=account.accepted,
            repeats=account.accepted - once,
            rejected=dict(account.rejected.most_common()),
            examples=rejections.examples,
            broken=account.broken,
            products=products,
            missing=_shares(missing, account.accepted),
            price=prices,
            scales=scales(prices, None),
        )


def _shares(missing: dict[str, int], total: int) -> dict[str, float]:
    return {name: count / total for name, count in missing.items()}


def _number_of(content: bytes) -> int:
    """A number by which equal contents are recognised; two others share it once in about 2^64 pairs."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


class _NoEvents(Exception):
    """Nothing at the beginning of a file is an event."""


class _Rejections:
    """Keeps the first few lines of each reason, and ends a reading that finds nothing."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._seen: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, line: int, error: BadEvent) -> None:
        if not self._account.accepted and self._account.lines >= _TELLING_LINES:
            raise _NoEvents
        self._seen[error.reason] += 1
        if self._seen[error.reason] <= EXAMPLES:
            self.examples.setdefault(error.reason, []).append(f"line {line}: {error}")


class Findings(BaseModel):
    """What was found in a file."""

    model_config = ConfigDict(frozen=True)

    file: str
    bytes: int
    holds: str  # events or products
    format: str
    lines: int  # but blank ones
    usable: int
    repeats: int  # exact copies of an earlier line, left out of what follows
    rejected: dict[str, int]  # reason → lines
    examples: dict[str, list[str]]  # reason → the first few
    broken: str
    products: int
    missing: dict[str, float]  # field → share of the usable records without it
    price: Spread | None
    users: int = 0
    guests: int = 0  # events without a user
    one_event_users: int = 0
    seen_again: int = 0  # events of the masked kinds on a product that the user had reviewed or rated before
    first_ms: int = 0
    last_ms: int = 0
    ahead: Ahead | None = None  # the usable lines more than a day ahead of the clock
    whole_days: bool = False
    kinds: dict[str, int] = {}
    stars: dict[str, int] = {}
    helpful: Spread | None = None  # where the file does not say how many voted in all
    scales: dict[str, float] = {}  # variable → a good value


class Ahead(BaseModel):
    """Lines of events that the services refuse, since they lie more than a day ahead of the clock."""

    model_config = ConfigDict(frozen=True)

    lines: int = 0
    first_line: int = 0
    first_line_ms: int = 0  # its event time
    earliest_ms: int = 0  # the earliest event time among them

    def with_line(self, line: int, event_time_ms: int) -> Ahead:
        """One more line."""
        if not self.lines:
            return Ahead(lines=1, first_line=line, first_line_ms=event_time_ms, earliest_ms=event_time_ms)
        earliest_ms = min(self.earliest_ms, event_time_ms)
        return self.model_copy(update={"lines": self.lines + 1, "earliest_ms": earliest_ms})


class Spread(BaseModel):
    """How the values of a number lie, from a sample where there are many."""

    model_config = ConfigDict(frozen=True)

    least: float
    median: float
    p99: float
    most: float


def spread(values: pd.Series[float]) -> Spread | None:
    """How some values lie, None where there are none."""
    if values.empty:
        return None
    least, median, p99, most = values.quantile([0.0, 0.5, _SCALE_QUANTILE, 1.0])
    return Spread(least=least, median=median, p99=p99, most=most)


def scales(price: Spread | None, helpful: Spread | None) -> dict[str, float]:
    """Good values of the features service's scales: what 99 in 100 stay below, in round figures."""
    values = {}
    if price is not None:
        values["FRESHET_FEATURES_PRICE_MAXIMUM"] = round_up(price.p99)
    if helpful is not None:
        values["FRESHET_FEATURES_HELPFUL_MAXIMUM"] = max(2.0, round_up(helpful.p99))
    return values


def round_up(value: float) -> float:
    """The next number with two digits that count."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / unit, 6)) * unit:.6g}")


class NumberTable:
    """Rows of numbers in a database on the disk, for the length of a block.

    Args:
        memory_mb: the most that the database holds in memory.
        types: name and SQL type of each number of a row, with commas.
    """

    def __init__(self, memory_mb: int, types: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="freshet-inspect-")
        config: dict[str, Any] = {
            "memory_limit": f"{memory_mb}MiB",
            "threads": 1,
            "temp_directory": str(Path(self._folder.name) / "spill"),
        }
        self._database = duckdb.connect(str(Path(self._folder.name) / "tally.duckdb"), config=config)
        self._database.execute(f"CREATE TABLE seen ({types})")
        self._rows: list[tuple[float, ...]] = []

    def __enter__(self) -> NumberTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()
        self._folder.cleanup()

    def add(self, row: tuple[float, ...]) -> None:
        """Take a row.

        Raises:
            Unusable: the disk has no room for it.
        """
        self._rows.append(row)
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def without_copies(self) -> int:
        """Make the table `once` of the rows, each kept once; how many it has.

        Raises:
            Unusable: the disk has no room for the last rows taken.
        """
        self._flush()
        self._database.execute("CREATE TABLE once AS SELECT DISTINCT * FROM seen; DROP TABLE seen")
        (count,) = self.one("SELECT count(*) FROM once")
        return int(count)

    def one(self, query: str) -> tuple[Any, ...]:
        """The one row of a query."""
        (row,) = self.all(query)
        return row

    def all(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self._database.execute(query).fetchall()

    def sample(self) -> pd.DataFrame:
        """So many rows, at random, always the same."""
        return self._database.execute(
            f"SELECT * FROM once USING SAMPLE reservoir({_SAMPLE_ROWS} ROWS) REPEATABLE (7)"  # noqa: S608  # a number
        ).df()

    def _flush(self) -> None:
        if not self._rows:
            return
        batch = {str(place): np.array(values) for place, values in enumerate(zip(*self._rows, strict=True))}
        self._database.register("batch", batch)
        try:
            self._database.execute("INSERT INTO seen SELECT * FROM batch")
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise Unusable(
                f"what was read can't be kept in {self._folder.name}: {str(error).splitlines()[0]}. Name a folder "
                "with more room with TMPDIR"
            ) from error
        self._database.unregister("batch")
        self._rows.clear()
