"""What a file holds, counted in one pass and in bounded memory: of each record a row of numbers goes to the disk."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from replay.datasets import Account
from replay.findings import Findings, scales, spread
from replay.formats import Format, ReviewsAsProducts, recognise_products
from replay.lines import Lines
from replay.mapping import Mapping
from replay.settings import ReplaySettings
from replay.tally import Tally
from shared.errors import BadEvent
from shared.pb.freshet.v1.events_pb2 import (
    EVENT_KIND_DISLIKE,
    EVENT_KIND_RATING,
    EVENT_KIND_REVIEW,
    Event,
    EventKind,
    Product,
)

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


Look = Callable[[float, int], None]  # the share that is done, the lines read


class _NoEvents(Exception):
    """Nothing at the beginning of a file is an event."""


def inspect(
    path: Path, found: Format[Event], mapping: Mapping | None, settings: ReplaySettings, look: Look
) -> Findings:
    """Read a file once and say what it holds: events or, where there are none, products.

    Args:
        found: how its events are read.
        mapping: the one given, None without.
        look: hears how far it is.

    Raises:
        Unusable: not one line could be used.
    """
    account = Account()
    try:
        return _events(path, found, account, settings, look)
    except _NoEvents:
        goods = Account()
        try:
            return _products(path, recognise_products(path, mapping, settings), goods, settings, look)
        except (_NoEvents, ReviewsAsProducts):
            account.require_use(path, found.name)
            raise AssertionError("a file of events without events") from None


def _events(path: Path, found: Format[Event], account: Account, settings: ReplaySettings, look: Look) -> Findings:
    if found.mapping is not None and found.mapping.columns.time is None:
        raise _NoEvents
    rejections = _Rejections(account)
    missing = dict.fromkeys(FIELDS, 0)
    optional = [(name, field) for name, field in FIELDS.items() if field != "text"]
    with Tally(settings.ordering_memory_mb, _TYPES) as tally:
        lines = Lines(path, settings.most_line_bytes, lambda: look(lines.done_ratio, account.lines))
        for _, content, event in found.read(lines, account, reject=rejections.add):
            missing["text"] += not event.text
            for name, field in optional:
                missing[name] += not event.HasField(field)  # type: ignore[arg-type]  # one of the optional ones
            helpful = event.HasField("helpful_votes")
            tally.add(
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
        return _told(path, found, account, rejections, missing, tally)


def _told(
    path: Path, found: Format[Event], account: Account, rejections: _Rejections, missing: dict[str, int], tally: Tally
) -> Findings:
    once = tally.without_copies()
    users, guests, products, first_ms, last_ms, whole_days = tally.one(
        "SELECT count(DISTINCT user) FILTER (is_guest = 0), sum(is_guest), count(DISTINCT product), min(time_ms), "
        "max(time_ms), bool_and(time_ms % 86400000 = 0) FROM once"
    )
    (one_event_users,) = tally.one(
        "SELECT count(*) FROM (SELECT user FROM once WHERE is_guest = 0 GROUP BY user HAVING count(*) = 1)"
    )
    masked = ", ".join(map(str, _MASKED))
    (seen_again,) = tally.one(
        "SELECT coalesce(sum(times - 1), 0) FROM (SELECT count(*) AS times FROM once "  # noqa: S608  # kinds' numbers
        f"WHERE is_guest = 0 AND kind IN ({masked}) GROUP BY user, product)"
    )
    kinds = {
        EventKind.Name(kind).removeprefix("EVENT_KIND_").lower(): count
        for kind, count in tally.all("SELECT kind, count(*) FROM once GROUP BY kind ORDER BY count(*) DESC")
    }
    stars = tally.all("SELECT rating, count(*) FROM once WHERE NOT isnan(rating) GROUP BY 1 ORDER BY 2 DESC LIMIT 10")
    sample = tally.sample()
    price = spread(sample.loc[sample.price > 0, "price"])
    helpful = spread(sample.loc[(sample.is_helpful_alone == 1) & (sample.helpful > 0), "helpful"])
    return Findings(
        file=str(path),
        bytes=path.stat().st_size,
        holds="events",
        format=found.name,
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
        whole_days=whole_days,
        kinds=kinds,
        stars={f"{value:g}": count for value, count in sorted(stars)},
        helpful=helpful,
        scales=scales(price, helpful),
    )


def _products(path: Path, found: Format[Product], account: Account, settings: ReplaySettings, look: Look) -> Findings:
    rejections = _Rejections(account)
    missing = dict.fromkeys(PRODUCT_FIELDS, 0)
    with Tally(settings.ordering_memory_mb, "digest BIGINT, product BIGINT, price DOUBLE") as tally:
        lines = Lines(path, settings.most_line_bytes, lambda: look(lines.done_ratio, account.lines))
        for _, content, product in found.read(lines, account, reject=rejections.add):
            missing["title"] += not product.title
            missing["category"] += not product.categories
            missing["brand"] += not product.brand
            missing["price"] += not product.HasField("price")
            price = product.price if product.HasField("price") else math.nan
            tally.add((_number_of(content), _number_of(product.product_id.encode()), price))
        if not account.accepted or all(count == account.accepted for count in missing.values()):
            raise _NoEvents
        once = tally.without_copies()
        (products,) = tally.one("SELECT count(DISTINCT product) FROM once")
        sample = tally.sample()
        prices = spread(sample.loc[sample.price > 0, "price"])
        return Findings(
            file=str(path),
            bytes=path.stat().st_size,
            holds="products",
            format=found.name,
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
