"""What a request may hold. Pure; every refusal names the field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from uuid import uuid4

from services.inference.bad_request import MOST_BATCH, MOST_COUNT, BadRequest
from services.inference.wishes import check_filter, check_wishes
from shared.errors import BadEvent
from shared.events import END_MS, check_event, check_id
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Availability, Event, Product

DEFAULT_COUNT = 10
DEFAULT_PAGE = 50
MOST_SESSION = 500
MOST_USERS = 100_000  # of one BatchRecommend
MOST_QUERY_BYTES = 256
# How far ahead of this machine's clock an event may be: one of a later year would outweigh and outwait all others.
AHEAD_MS = 86_400_000
# Kafka's own default limit of a record is 1 MiB with its headers.
MOST_RECORD_BYTES = 1_000_000


def check_recommend(request: pb.RecommendRequest, partitions: int) -> int:
    """The number of products wanted.

    Raises:
        BadRequest: a field is wrong.
    """
    if request.user_id:
        check_named("user_id", request.user_id)
    if request.count > MOST_COUNT:
        raise BadRequest(f"count: 0 to {MOST_COUNT}, got {request.count}")
    if len(request.exclude_product_ids) > MOST_BATCH:
        raise BadRequest(f"exclude_product_ids: at most {MOST_BATCH}, got {len(request.exclude_product_ids)}")
    if len(request.session_product_ids) > MOST_SESSION:
        raise BadRequest(f"session_product_ids: at most {MOST_SESSION}, got {len(request.session_product_ids)}")
    if request.HasField("after_position"):
        position = request.after_position
        if not 0 <= position.partition < partitions:
            raise BadRequest(f"after_position.partition: 0 to {partitions - 1}, got {position.partition}")
        if position.offset < 0:
            raise BadRequest(f"after_position.offset: must not be negative, got {position.offset}")
    check_wishes(request.wishes)
    return request.count or wanted(request.wishes)


def wanted(wishes: pb.Wishes) -> int:
    """The number of products that wishes ask for."""
    return wishes.count or DEFAULT_COUNT


def trending_wishes(request: pb.TrendingRequest) -> pb.Wishes:
    """The wishes of a request, the category that it names among them."""
    if not request.category:
        return request.wishes
    wishes = pb.Wishes()
    wishes.CopyFrom(request.wishes)
    category = pb.Filter(category=pb.Values(values=[request.category]))
    filters = [category, request.wishes.filter] if request.wishes.HasField("filter") else [category]
    wishes.filter.CopyFrom(pb.Filter(all_of=pb.Filters(filters=filters)))
    return wishes


def check_batch(request: pb.BatchRecommendRequest) -> None:
    """Refuse what can't be answered user by user.

    Raises:
        BadRequest: there are no users or too many, or a field is wrong.
    """
    if not 1 <= len(request.user_ids) <= MOST_USERS:
        raise BadRequest(f"user_ids: 1 to {MOST_USERS}, got {len(request.user_ids)}")
    for n, user_id in enumerate(request.user_ids):
        check_named(f"user_ids[{n}]", user_id)
    check_wishes(request.wishes)


def check_page(request: pb.ListProductsRequest | pb.ListUsersRequest) -> int:
    """The number of products or users wanted.

    Raises:
        BadRequest: a field is wrong.
    """
    if request.page_size > MOST_COUNT:
        raise BadRequest(f"page_size: 0 to {MOST_COUNT}, got {request.page_size}")
    if isinstance(request, pb.ListProductsRequest):
        if len(request.query.encode()) > MOST_QUERY_BYTES:
            raise BadRequest(f"query: at most {MOST_QUERY_BYTES} bytes, got {len(request.query.encode())}")
        if request.HasField("filter"):
            check_filter(request.filter, "filter")
    return request.page_size or DEFAULT_PAGE


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
        check_named(f"products[{n}].product_id", product.product_id)
        if product.HasField("price") and not 0.0 <= product.price < math.inf:
            raise BadRequest(f"products[{n}].price: a finite number, not negative, got {product.price:g}")
        if product.availability not in Availability.values():
            raise BadRequest(f"products[{n}].availability: must be one of Availability, got {product.availability}")
        if product.HasField("listed_ms") and not 0 < product.listed_ms < END_MS:
            raise BadRequest(
                f"products[{n}].listed_ms: milliseconds since 1970, above 0 and before the year 2200, "
                f"got {product.listed_ms}"
            )
        if product.ByteSize() > MOST_RECORD_BYTES:
            raise BadRequest(f"products[{n}]: at most {MOST_RECORD_BYTES} bytes, got {product.ByteSize()}")


def check_product_ids(product_ids: Sequence[str]) -> None:
    """Refuse what names no product.

    Raises:
        BadRequest: there are none or too many, or one is wrong.
    """
    _check_batch("product_ids", len(product_ids))
    for n, product_id in enumerate(product_ids):
        check_named(f"product_ids[{n}]", product_id)


def _check_batch(field: str, size: int) -> None:
    if not 1 <= size <= MOST_BATCH:
        raise BadRequest(f"{field}: 1 to {MOST_BATCH}, got {size}")


def check_named(field: str, value: str) -> None:
    """Refuse what names no user and no product.

    Raises:
        BadRequest: it does not.
    """
    try:
        check_id(field, value)
    except BadEvent as error:
        raise BadRequest(str(error)) from error
