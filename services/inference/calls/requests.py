"""Completes requests and checks what the protos' limits can't express: known fields, ranges, partitions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import uuid4

from shared.log.limits import Check, check, check_of, limits_of
from shared.log.records import AHEAD_MS, check_fields
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Event, Product
from shared.process.errors import BadRequest

PRODUCT_FIELDS = tuple(Product.DESCRIPTOR.fields_by_name)
DEFAULT_COUNT = limits_of(pb.Wishes, "count").zero_means
# Checked wishes are kept by their bytes: a shop's pages send the same few again and again.
KEPT_WISHES, KEPT_BYTES = 256, 4096
_check_but_wishes = Check(
    pb.RecommendRequest.DESCRIPTOR, [name for name in pb.RecommendRequest.DESCRIPTOR.fields_by_name if name != "wishes"]
)
_check_events = Check(pb.RecordEventsRequest.DESCRIPTOR, deep=False)  # events are checked once completed


def recommend_wishes(request: pb.RecommendRequest, partitions: int) -> pb.Wishes:
    """The wishes of a request, its deprecated fields included.

    Raises:
        BadRequest: a field is invalid.
    """
    _check_but_wishes(request)
    content = request.wishes.SerializeToString()
    (_check_content if len(content) <= KEPT_BYTES else _check_content.__wrapped__)(content)
    if request.HasField("after_position") and request.after_position.partition >= partitions:
        raise BadRequest("after_position.partition", f"0 to {partitions - 1}, got {request.after_position.partition}")
    if not request.count and not request.exclude_product_ids:
        return request.wishes
    if request.count and request.wishes.count not in (0, request.count):
        raise BadRequest(
            "wishes.count", f"{request.wishes.count}, but count, which is deprecated, says {request.count}; give one"
        )
    wishes = pb.Wishes()
    wishes.CopyFrom(request.wishes)
    wishes.count = wishes.count or request.count
    wishes.exclude_product_ids.extend(request.exclude_product_ids)
    return wishes


@lru_cache(KEPT_WISHES)  # of what is refused nothing is kept
def _check_content(content: bytes) -> None:
    wishes = pb.Wishes.FromString(content)
    check_of(pb.Wishes.DESCRIPTOR)(wishes, "wishes")
    check_wishes(wishes)


def wanted(wishes: pb.Wishes) -> int:
    """The number of products to return."""
    return wishes.count or DEFAULT_COUNT


def check_wishes(wishes: pb.Wishes, path: str = "wishes") -> None:
    """Refuse wishes that are within the limits but can't be met.

    Raises:
        BadRequest: a field is invalid.
    """
    if wishes.HasField("filter"):
        check_filter(wishes.filter, f"{path}.filter")
    for n, boost in enumerate(wishes.boosts):
        check_filter(boost.products, f"{path}.boosts[{n}].products")
    for n, name in enumerate(wishes.product_fields.paths):
        if name not in PRODUCT_FIELDS:
            known = ", ".join(PRODUCT_FIELDS)
            raise BadRequest(f"{path}.product_fields.paths[{n}]", f"Product has {known}, but not {name!r:.80}")


def check_filter(condition: pb.Filter, path: str) -> None:
    """Refuse a filter that is within the limits but can't be met.

    Raises:
        BadRequest: a range ends before it begins.
    """
    kind = condition.WhichOneof("condition")
    assert kind is not None, "the limits ask for one"  # noqa: S101
    path, inner = f"{path}.{kind}", getattr(condition, kind)
    if kind == "not":
        check_filter(inner, path)
    elif kind in ("all_of", "any_of"):
        for n, one in enumerate(inner.filters):
            check_filter(one, f"{path}.filters[{n}]")
    elif kind == "price":
        _check_range(inner, path, "at_least", "at_most")
    elif kind == "age":
        _check_range(inner, path, "at_least_days", "at_most_days")


def _check_range(ends: Any, path: str, least: str, most: str) -> None:
    if ends.HasField(least) and ends.HasField(most) and getattr(ends, most) < getattr(ends, least):
        raise BadRequest(
            f"{path}.{most}",
            f"must not be below {least} ({getattr(ends, least):g}), got {getattr(ends, most):g}",
        )


def trending_wishes(request: pb.TrendingRequest) -> pb.Wishes:
    """The wishes of a request, its category included."""
    if not request.category:
        return request.wishes
    wishes = pb.Wishes()
    wishes.CopyFrom(request.wishes)
    category = pb.Filter(category=pb.Values(values=[request.category]))
    filters = [category, request.wishes.filter] if request.wishes.HasField("filter") else [category]
    wishes.filter.CopyFrom(pb.Filter(all_of=pb.Filters(filters=filters)))
    return wishes


def completed_events(request: pb.RecordEventsRequest, now_ms: int) -> Sequence[Event]:
    """The events of a request, each with an id and a time.

    Raises:
        BadRequest: there are none or too many, or a field is invalid.
    """
    _check_events(request)
    batch = uuid4().hex
    for n, event in enumerate(request.events):
        if event.kind == EVENT_KIND_TICK:
            raise BadRequest(f"events[{n}].kind", "only a replay may write ticks")
        if event.source or event.sequence:
            raise BadRequest(f"events[{n}].{'source' if event.source else 'sequence'}", "only a replay may set it")
        if not event.event_id:
            event.event_id = f"{batch}-{n}"
        if not event.event_time_ms:
            event.event_time_ms = now_ms
        try:
            check_fields(event)
        except BadRequest as error:
            raise error.within(f"events[{n}]") from None
        if event.event_time_ms > now_ms + AHEAD_MS:
            raise BadRequest(
                f"events[{n}].event_time_ms",
                f"at most a day ahead of the service's clock, which says {now_ms}, got {event.event_time_ms}",
            )
    return request.events


def page_size(request: pb.ListProductsRequest | pb.ListUsersRequest) -> int:
    """The number of products or users on a page.

    Raises:
        BadRequest: a field is invalid.
    """
    check(request)
    if isinstance(request, pb.ListProductsRequest) and request.HasField("filter"):
        check_filter(request.filter, "filter")
    return request.page_size or limits_of(type(request), "page_size").zero_means
