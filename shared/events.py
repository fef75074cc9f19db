"""What makes an event valid, the same wherever one enters: features refuses what `RecordEvents` refuses."""

from __future__ import annotations

from collections import defaultdict

from shared.errors import BadEvent, BadRequest
from shared.log.limits import Check, check_text, limits_of
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Event

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
REASONS = ("no_product", "bad_id", *dict.fromkeys(_REASON_OF.values()))

END_MS = int(limits_of(Event, "event_time_ms").maximum) + 1  # beyond, somebody mixed up the units

_ID = limits_of(Event, "product_id")
_check = Check(Event.DESCRIPTOR)
_check_tick = Check(Event.DESCRIPTOR, ("kind", "event_time_ms"))


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


def check_fields(event: Event, path: str = "") -> None:
    """The same for an event in a request, where it lies at `path`.

    Raises:
        BadRequest: the message names the field.
    """
    at = f"{path}." if path else ""
    is_tick = event.kind == EVENT_KIND_TICK
    (_check_tick if is_tick else _check)(event, path)
    if not event.event_time_ms:
        raise BadRequest(f"{at}event_time_ms", "milliseconds since 1970, above 0, got 0")
    if is_tick:
        if event.user_id or event.product_id:
            raise BadRequest(f"{at}{'user_id' if event.user_id else 'product_id'}", "a tick has none")
    elif not event.source:
        if not event.event_id:  # one of them tells repeats from new events
            raise BadRequest(f"{at}event_id", "must not be empty")
    elif not event.sequence:
        raise BadRequest(f"{at}sequence", "counted from 1 where a source is given, got 0")
