"""What makes an event valid, the same wherever one enters: features refuses what `RecordEvents` refuses."""

from __future__ import annotations

import math
import re

from shared.errors import BadEvent
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_UNSPECIFIED, Event, EventKind

# Reasons that `check_event` gives, fit for a metric's label.
REASONS = (
    "no_kind",
    "no_product",
    "bad_id",
    "bad_time",
    "bad_rating",
    "bad_price",
    "bad_votes",
    "bad_quantity",
    "bad_dwell",
)

_KINDS = frozenset(EventKind.values()) - {EVENT_KIND_UNSPECIFIED}

MOST_ID_BYTES = 256
MOST_EVENT_ID_BYTES = 128
END_MS = 7_258_118_400_000  # 2200-01-01 UTC: beyond, somebody mixed up the units

# Control characters and all that ends a line: a version keeps its products as one id per line.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_id(field: str, value: str, most_bytes: int = MOST_ID_BYTES) -> None:
    """Refuse what can't name a user, a product or an event.

    Raises:
        BadEvent: it is empty, too long or holds control characters; the message names the field.
    """
    if not value:
        raise BadEvent("bad_id", f"{field}: must not be empty")
    if value.isascii() and value.isprintable() and len(value) <= most_bytes:
        return  # as nearly all are
    size = len(value.encode())
    if size > most_bytes:
        raise BadEvent("bad_id", f"{field}: at most {most_bytes} bytes, got {size}")
    if _UNPRINTABLE.search(value):
        raise BadEvent("bad_id", f"{field}: must not hold control characters or line ends, got {value[:80]!r}")


def key_of(event: Event) -> bytes:
    """What an event's record is keyed by: its user, or its product where a guest did it; empty for a tick.

    All of one user is in one partition; guests have no order to keep, so their events are spread by product.
    """
    return (event.user_id or event.product_id).encode()


def check_event(event: Event) -> None:
    """Refuse an event that nothing may be learned from; one without a user is a guest's.

    Raises:
        BadEvent: the reason is one of `REASONS`, the message names the field.
    """
    if event.kind not in _KINDS:
        raise BadEvent("no_kind", f"kind: must be one of EventKind, got {event.kind}")
    if not 0 < event.event_time_ms < END_MS:
        raise BadEvent(
            "bad_time",
            f"event_time_ms: milliseconds since 1970, above 0 and before the year 2200, got {event.event_time_ms}",
        )
    if event.kind == EVENT_KIND_TICK:
        if event.user_id or event.product_id:
            raise BadEvent("bad_id", "user_id, product_id: a tick has none")
        return
    _check_ids(event)
    _check_numbers(event)


def _check_ids(event: Event) -> None:
    if not event.product_id:
        raise BadEvent("no_product", "product_id: must not be empty")
    if event.user_id:
        check_id("user_id", event.user_id)
    check_id("product_id", event.product_id)
    if event.event_id or not event.source:  # one of them tells repeats from new events
        check_id("event_id", event.event_id, MOST_EVENT_ID_BYTES)
    if event.source:
        check_id("source", event.source)
        if not event.sequence:
            raise BadEvent("bad_id", "sequence: counted from 1 where a source is given, got 0")
    if event.request_id:
        check_id("request_id", event.request_id)


def _check_numbers(event: Event) -> None:
    if event.HasField("rating") and not 1.0 <= event.rating <= 5.0:
        raise BadEvent("bad_rating", f"rating: 1 to 5, got {event.rating:g}")
    if event.HasField("price") and not 0.0 <= event.price < math.inf:
        raise BadEvent("bad_price", f"price: a finite number, not negative, got {event.price:g}")
    for field in ("helpful_votes", "total_votes"):
        if event.HasField(field) and getattr(event, field) < 0:
            raise BadEvent("bad_votes", f"{field}: must not be negative, got {getattr(event, field)}")
    if event.HasField("quantity") and not 0.0 < event.quantity < math.inf:
        raise BadEvent("bad_quantity", f"quantity: a finite number above 0, got {event.quantity:g}")
    if event.HasField("dwell_seconds") and not 0.0 <= event.dwell_seconds < math.inf:
        raise BadEvent("bad_dwell", f"dwell_seconds: a finite number, not negative, got {event.dwell_seconds:g}")
