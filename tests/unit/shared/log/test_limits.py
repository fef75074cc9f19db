"""Each option of the protos' limits is held, at its very bound, and a refusal names the path of the field."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from shared.log.limits import Check, bounds, check, field_limits, limits_of, message_limits
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import limits_pb2
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.errors import BadRequest

CHEAP = pb.Filter(price=pb.PriceRange(at_most=5.0))
NAN, INF = math.nan, math.inf


def nested(deep: int) -> pb.Filter:
    return CHEAP if deep == 1 else pb.Filter(all_of=pb.Filters(filters=[nested(deep - 1)]))


def wide(filters: int) -> pb.Filter:
    """So many filters in all, more than 902."""
    sizes = [99] * 9 + [filters - 902]
    return pb.Filter(
        any_of=pb.Filters(filters=[pb.Filter(any_of=pb.Filters(filters=[CHEAP] * size)) for size in sizes])
    )


def product(**fields: Any) -> ev.Product:
    return ev.Product(**({"product_id": "p"} | fields))


def refusal(message: Message, path: str = "") -> tuple[str, str]:
    """The field that is refused, and in what words."""
    with pytest.raises(BadRequest) as refused:
        check(message, path)
    return refused.value.field, str(refused.value)


@pytest.mark.parametrize(
    "message",
    [
        pb.RecommendRequest(),
        pb.Wishes(count=1000, diversity=1.0, minimum_score=-1e308),
        pb.ListProductsRequest(query="\x00" * 256),  # nothing says that it is printable
        pb.BatchRecommendRequest(user_ids=["u"] * 100_000),
        pb.BatchRecommendRequest(user_ids=["ü" * 128, "x" * 256, " "]),
        product(price=0.0, listed_ms=7_258_118_399_999),
        pb.UpsertProductsRequest(products=[product(title="x" * 999_993)]),
        pb.Boost(products=CHEAP, factor=5e-324),
        pb.Boost(products=CHEAP, factor=1e6),
        pb.Wishes(filter=nested(10), boosts=[pb.Boost(products=nested(10), factor=1.0)] * 2),
        pb.Wishes(filter=wide(1000), boosts=[pb.Boost(products=wide(1000), factor=1.0)] * 2),
        pb.PriceRange(at_least=0.0),
        pb.Availabilities(values=[0, 1, 2, 3]),
        ev.LogPosition(),
    ],
)
def test_what_is_within_the_limits_passes(message: Message) -> None:
    check(message)


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        (pb.GetUserRequest(), "user_id: must not be empty"),
        (pb.GetUserRequest(user_id="u" * 257), "user_id: at most 256 bytes, got 257"),
        (pb.GetUserRequest(user_id="ü" * 129), "user_id: at most 256 bytes, got 258"),
        (
            pb.GetUserRequest(user_id="a\u2028"),
            "user_id: must not hold control characters or line ends, got 'a\\u2028'",
        ),
        (pb.BatchRecommendRequest(), "user_ids: 1 to 100000, got 0"),
        (pb.BatchRecommendRequest(user_ids=["u"] * 100_001), "user_ids: 1 to 100000, got 100001"),
        (pb.BatchRecommendRequest(user_ids=["u", ""]), "user_ids[1]: must not be empty"),
        (pb.BatchRecommendRequest(user_ids=["u", "x" * 257]), "user_ids[1]: at most 256 bytes, got 257"),
        (pb.RecommendRequest(session_product_ids=["p"] * 501), "session_product_ids: at most 500, got 501"),
        (
            pb.RecommendRequest(after_position=ev.LogPosition(offset=-1)),
            "after_position.offset: must not be negative, got -1",
        ),
        (pb.Wishes(count=1001), "count: 0 to 1000, got 1001"),
        (pb.Wishes(diversity=NAN), "diversity: 0 to 1, got nan"),
        (pb.Wishes(diversity=1.01), "diversity: 0 to 1, got 1.01"),
        (pb.Wishes(minimum_score=INF), "minimum_score: a finite number, got inf"),
        (pb.Wishes(boosts=[pb.Boost(factor=1.0)]), "boosts[0].products: must be given"),
        (pb.Boost(products=CHEAP), "factor: above 0, at most 1,000,000, got 0"),
        (pb.Boost(products=CHEAP, factor=1e6 + 1), "factor: above 0, at most 1,000,000, got 1e+06"),
        (product(price=INF), "price: a finite number, not negative, got inf"),
        (product(availability=4), "availability: must be one of Availability, got 4"),
        (
            product(listed_ms=7_258_118_400_000),
            "listed_ms: milliseconds since 1970, above 0 and before the year 2200, got 7258118400000",
        ),
        (product(listed_ms=0), "listed_ms: milliseconds since 1970, above 0 and before the year 2200, got 0"),
        (
            pb.UpsertProductsRequest(products=[product(), product(title="x" * 999_994)]),
            "products[1]: at most 1000000 bytes, got 1000001",
        ),
        (ev.Event(product_id="p"), "kind: must be one of EventKind, got 0"),
        (
            ev.Event(kind=ev.EVENT_KIND_CART, product_id="p", quantity=0.0),
            "quantity: a finite number above 0, got 0",
        ),
        (pb.Availabilities(values=[1, 9]), "values[1]: must be one of Availability, got 9"),
        (pb.Wishes(filter=pb.Filter(age=pb.AgeRange())), "filter.age: give at_least_days, at_most_days or both"),
        (pb.Wishes(filter=nested(11)), f"filter{'.all_of.filters[0]' * 10}: a filter nests at most 10 deep"),
        (
            pb.Wishes(filter=wide(1001)),
            "filter.any_of.filters[9].any_of.filters[98]: a filter has at most 1000 filters in all, itself counted",
        ),
    ],
)
def test_what_exceeds_one_is_refused_by_its_path(message: Message, refused: str) -> None:
    field, words = refusal(message)
    assert words == refused
    assert field == refused.partition(": ")[0]
    assert refusal(message, "outer[3]")[0] == f"outer[3].{field}"


def test_a_check_may_be_of_some_fields_or_leave_out_the_messages_inside() -> None:
    Check(ev.Event.DESCRIPTOR, ["event_time_ms"])(ev.Event(kind=ev.EVENT_KIND_TICK, event_time_ms=1))
    shallow = Check(pb.RecordEventsRequest.DESCRIPTOR, deep=False)
    shallow(pb.RecordEventsRequest(events=[ev.Event()]))
    for wrong in ([], [ev.Event()] * 10_001, [ev.Event(text="x" * 1_000_001)]):
        with pytest.raises(BadRequest):
            shallow(pb.RecordEventsRequest(events=wrong))


def every_message() -> list[Descriptor]:
    return [kind for file in (ev, pb) for kind in file.DESCRIPTOR.message_types_by_name.values()]


def test_options_stand_only_where_they_mean_something() -> None:
    for kind in every_message():
        for field in kind.fields:
            limits = field_limits(field)
            of_text = field.type == field.TYPE_STRING
            of_message = field.message_type is not None
            of_number = not of_text and not of_message and field.enum_type is None
            set_here = {option.name for option, _ in limits.ListFields()}
            allowed = {"required"}
            allowed |= {"min_items", "max_items"} if field.is_repeated else set()
            allowed |= {"max_bytes", "printable"} if of_text else {"max_bytes"} if of_message else set()
            allowed |= {"minimum", "above", "maximum", "zero_means"} if of_number else set()
            assert set_here <= allowed, field.full_name
            assert limits.min_items <= (limits.max_items or math.inf), field.full_name
            if of_number and limits.required:
                least, most = bounds(field)
                assert not least <= 0 <= most, f"{field.full_name}: 0 is what it is when it is not given"
        if message_limits(kind).max_depth:
            assert message_limits(kind).max_messages, f"{kind.full_name}: deep and yet without end"


def test_whoever_has_only_the_protos_can_read_them() -> None:
    field = pb.Wishes.DESCRIPTOR.fields_by_name["count"]
    assert field.GetOptions().Extensions[limits_pb2.limits] == limits_of(pb.Wishes, "count")
    assert limits_of(pb.Wishes, "count") == limits_pb2.Limits(minimum=1, maximum=1000, zero_means=10)
    assert limits_of(pb.Wishes, "explain") == limits_pb2.Limits()


def test_the_deprecated_fields_have_the_limits_of_those_that_replace_them() -> None:
    for name in ("count", "exclude_product_ids"):
        old, new = limits_of(pb.RecommendRequest, name), limits_of(pb.Wishes, name)
        assert (old.maximum, old.max_items) == (new.maximum, new.max_items)
        assert pb.RecommendRequest.DESCRIPTOR.fields_by_name[name].GetOptions().deprecated
