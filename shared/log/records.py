"""What lies in the topics: which events are valid, and how records of states and products are parsed.

An event is valid or not wherever it enters: features refuses what `RecordEvents` refuses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from google.protobuf.message import DecodeError

from shared.log.limits import Check, check_text, limits_of
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import (
    EVENT_KIND_TICK,
    EVENT_KIND_UNSPECIFIED,
    Event,
    EventKind,
    Product,
    StateVector,
)
from shared.process.errors import BadEvent, BadRequest

DAY_MS = 86_400_000
# How far an event may lie ahead of the clock when it is recorded: a later one would outweigh all others for years.
AHEAD_MS = DAY_MS

# Products with an event of these kinds are never recommended to the user again, unless settings say otherwise.
DEFAULT_MASKED_KINDS = ("review", "rating", "dislike")

# Field that exceeds its limits → the reason that `check_event` gives, fit for a metric's label.
_REASON_OF = defaultdict(
    lambda: "bad_id",
    kind="no_kind",
    event_time_ms="bad_time",
    rating="bad_rating",
    price="bad_price",
    helpful_votes="bad_votes",
    total_votes="bad_votes",
    quantity="bad_quantity",
    dwell_seconds="bad_dwell",
)
FUTURE_TIME = "future_time"
REASONS = ("no_product", "bad_id", *dict.fromkeys(_REASON_OF.values()), FUTURE_TIME)

END_MS = int(limits_of(Event, "event_time_ms").maximum) + 1  # a time beyond it is in another unit

# Field of a state → the least and the most that features writes; a number beyond, or NaN, would spoil what is learned.
BOUNDS = {
    "price_scaled": (0.0, 1.0),
    "helpfulness_scaled": (0.0, 1.0),
    "rating": (0.0, 5.0),
    "sentiment": (-1.0, 1.0),
    "reward": (-1.0, 1.0),
}

_KINDS = frozenset(EventKind.values()) - {EVENT_KIND_UNSPECIFIED}
_ID = limits_of(Event, "product_id")
_check = Check(Event.DESCRIPTOR)
_check_tick = Check(Event.DESCRIPTOR, ("kind", "event_time_ms"))


def check_event(event: Event) -> None:
    """Refuse an event that nothing may be learned from; one without a user is a guest's.

    Raises:
        BadEvent: the reason is one of `REASONS`, the message names the field.
    """
    try:
        check_fields(event)
    except BadRequest as error:
        no_product = error.field == "product_id" and not event.product_id
        raise BadEvent("no_product" if no_product else _REASON_OF[error.field], str(error)) from None


def check_fields(event: Event) -> None:
    """The same for an event in a request.

    Raises:
        BadRequest: the message names the field.
    """
    is_tick = event.kind == EVENT_KIND_TICK
    (_check_tick if is_tick else _check)(event)
    if not event.event_time_ms:
        raise BadRequest("event_time_ms", "milliseconds since 1970, above 0, got 0")
    if is_tick:
        if event.user_id or event.product_id:
            raise BadRequest("user_id" if event.user_id else "product_id", "a tick has none")
    elif not event.source:
        if not event.event_id:  # one of them tells repeats from new events
            raise BadRequest("event_id", "must not be empty")
    elif not event.sequence:
        raise BadRequest("sequence", "counted from 1 where a source is given, got 0")


def check_not_ahead(event: Event, clock_ms: int) -> None:
    """Refuse an event, or a tick, more than a day ahead of what the clock said when it was recorded.

    Raises:
        BadEvent: the reason is `FUTURE_TIME`.
    """
    if event.event_time_ms > clock_ms + AHEAD_MS:
        raise BadEvent(
            FUTURE_TIME,
            f"event_time_ms: at most a day ahead of the clock, which said {clock_ms}, got {event.event_time_ms}",
        )


def check_id(field: str, value: str) -> None:
    """Refuse what can't name a user or a product.

    Raises:
        BadEvent: it is empty, too long or holds control characters; the message names the field.
    """
    try:
        check_text(field, value, _ID)
    except BadRequest as error:
        raise BadEvent("bad_id", str(error)) from None


def key_of(event: Event) -> bytes:
    """What an event's record is keyed by: its user, or its product where a guest did it; empty for a tick.

    All of one user is in one partition; guests have no order to keep, so their events are spread by product.
    """
    return (event.user_id or event.product_id).encode()


def parse_state(value: bytes | None, partitions: int) -> StateVector:
    """The state vector in a record's value.

    Args:
        partitions: that the topic of the events has. Whoever counts by partition makes room for each.

    Raises:
        BadEvent: it is none, or holds what features never writes.
    """
    if not value:
        raise BadEvent("undecodable", "a state without a value")
    try:
        state = StateVector.FromString(value)
    except DecodeError as error:
        raise BadEvent("undecodable", f"not a StateVector: {error}") from error
    if state.kind not in _KINDS:
        raise BadEvent("no_kind", f"kind {state.kind} is unknown")
    if not 0 < state.event_time_ms < END_MS:
        raise BadEvent("bad_time", f"event_time_ms {state.event_time_ms} is not between 1970 and 2200")
    if state.source_offset < 0 or not 0 <= state.source_partition < partitions:
        raise BadEvent("bad_place", f"partition {state.source_partition}, offset {state.source_offset} is no place")
    if state.kind == EVENT_KIND_TICK:
        return state
    if not state.product_id:
        raise BadEvent("no_product", "a state without product_id")
    check_id("product_id", state.product_id)
    if state.user_id:
        check_id("user_id", state.user_id)
    for name, (least, most) in BOUNDS.items():
        if not least <= getattr(state, name) <= most:
            raise BadEvent("bad_number", f"{name}: {least:g} to {most:g}, got {getattr(state, name):g}")
    return state


def parse_product(key: bytes | None, value: bytes | None) -> tuple[str, Product | None]:
    """A record's product_id and its product; None where the product is removed.

    Raises:
        BadEvent: the key names no product, or the value is not the key's product.
    """
    try:
        product_id = (key or b"").decode()
    except UnicodeDecodeError:
        raise BadEvent("bad_id", f"key: not UTF-8, got {key!r:.80}") from None
    check_id("key", product_id)
    if value is None:
        return product_id, None
    try:
        product = Product.FromString(value)
    except DecodeError as error:
        raise BadEvent("undecodable", f"not a Product: {error}") from error
    if product.product_id != product_id:  # compaction goes by the key
        raise BadEvent("bad_id", f"product_id: as the key, {product_id!r}, got {product.product_id[:80]!r}")
    return product_id, product


def kinds_of(names: Collection[str]) -> frozenset[int]:
    """The `EventKind` numbers of names such as `review`.

    Raises:
        ValueError: a name is no kind.
    """
    known = {kind.removeprefix("EVENT_KIND_").lower(): number for kind, number in pb.EventKind.items() if number}
    unknown = [name for name in names if name.strip().lower() not in known]
    if unknown:
        raise ValueError(f"no kind of event is called {unknown[0].strip()!r}; there are {', '.join(known)}")
    return frozenset(known[name.strip().lower()] for name in names)


def masked_kinds_of(names: str) -> frozenset[int]:
    """The `EventKind` numbers of a list such as `review,rating`; an empty one masks nothing.

    Raises:
        ValueError: a name is no kind.
    """
    return kinds_of([name for name in names.split(",") if name.strip()])
