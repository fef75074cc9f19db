"""What a request may hold. Pure; every refusal names the field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from uuid import uuid4

from shared.errors import BadEvent
from shared.events import check_event, check_id
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Event, Product

DEFAULT_COUNT = 10
MOST_COUNT = 1000
MOST_BATCH = 10_000
# How far ahead of this machine's clock an event may be: one of a later year would outweigh and outwait all others.
AHEAD_MS = 86_400_000
# Kafka's own default limit of a record is 1 MiB with its headers.
MOST_RECORD_BYTES = 1_000_000


class BadRequest(Exception):
    """The caller must change the request; the message names the field."""


def check_recommend(request: pb.RecommendRequest, partitions: int) -> int:
    """The number of products wanted.

    Raises:
        BadRequest: a field is wrong.
    """
    _check_id("user_id", request.user_id)
    if request.count > MOST_COUNT:
        raise BadRequest(f"count: 0 to {MOST_COUNT}, got {request.count}")
    if len(request.exclude_product_ids) > MOST_BATCH:
        raise BadRequest(f"exclude_product_ids: at most {MOST_BATCH}, got {len(request.exclude_product_ids)}")
    if request.HasField("after_position"):
        position = request.after_position
        if not 0 <= position.partition < partitions:
            raise BadRequest(f"after_position.partition: 0 to {partitions - 1}, got {position.partition}")
        if position.offset < 0:
            raise BadRequest(f"after_position.offset: must not be negative, got {position.offset}")
    return request.count or DEFAULT_COUNT


def completed_events(events: Sequence[Event], now_ms: int) -> Sequence[Event]:
    """The request's own events, each given an id and a time where it has none.

    Raises:
        BadRequest: there are none or too many, or a field of one is wrong.
    """
    _check_batch("events", len(events))
    batch = uuid4().hex
    for n, event in enumerate(events):
        if event.kind == EVENT_KIND_TICK:
            raise BadRequest(f"events[{n}].kind: a tick is a replay's, not a caller's")
        if event.source or event.sequence:
            raise BadRequest(f"events[{n}].{'source' if event.source else 'sequence'}: a replay's, not a caller's")
        if not event.event_id:
            event.event_id = f"{batch}-{n}"
        if not event.event_time_ms:
            event.event_time_ms = now_ms
        try:
            check_event(event)
        except BadEvent as error:
            raise BadRequest(f"events[{n}].{error}") from error
        if event.event_time_ms > now_ms + AHEAD_MS:
            raise BadRequest(
                f"events[{n}].event_time_ms: at most a day ahead of the service's clock, which says {now_ms}, "
                f"got {event.event_time_ms}"
            )
        if event.ByteSize() > MOST_RECORD_BYTES:
            raise BadRequest(f"events[{n}]: at most {MOST_RECORD_BYTES} bytes, got {event.ByteSize()}; cut the text")
    return events


def check_products(products: Sequence[Product]) -> None:
    """Refuse products that can't be known.

    Raises:
        BadRequest: there are none or too many, or a field of one is wrong.
    """
    _check_batch("products", len(products))
    for n, product in enumerate(products):
        _check_id(f"products[{n}].product_id", product.product_id)
        if product.HasField("price") and not 0.0 <= product.price < math.inf:
            raise BadRequest(f"products[{n}].price: a finite number, not negative, got {product.price:g}")
        if product.ByteSize() > MOST_RECORD_BYTES:
            raise BadRequest(f"products[{n}]: at most {MOST_RECORD_BYTES} bytes, got {product.ByteSize()}")


def check_product_ids(product_ids: Sequence[str]) -> None:
    """Refuse what names no product.

    Raises:
        BadRequest: there are none or too many, or one is wrong.
    """
    _check_batch("product_ids", len(product_ids))
    for n, product_id in enumerate(product_ids):
        _check_id(f"product_ids[{n}]", product_id)


def check_user(request: pb.GetUserRequest) -> None:
    """Refuse what names no user.

    Raises:
        BadRequest: it does not.
    """
    _check_id("user_id", request.user_id)


def _check_batch(field: str, size: int) -> None:
    if not 1 <= size <= MOST_BATCH:
        raise BadRequest(f"{field}: 1 to {MOST_BATCH}, got {size}")


def _check_id(field: str, value: str) -> None:
    try:
        check_id(field, value)
    except BadEvent as error:
        raise BadRequest(str(error)) from error
