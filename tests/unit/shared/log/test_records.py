"""What makes an event valid."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from shared.log.records import AHEAD_MS, DAY_MS, FUTURE_TIME, REASONS, check_event, check_not_ahead
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent

NAN, INF = float("nan"), float("inf")


def event(**fields: Any) -> pb.Event:
    given_fields = {
        "event_id": "e",
        "kind": pb.EVENT_KIND_REVIEW,
        "user_id": "u",
        "product_id": "p",
        "event_time_ms": 1_000,
    }
    return pb.Event(**(given_fields | fields))


GOOD = [
    event(),
    event(rating=1.0, helpful_votes=0, total_votes=0, price=0.0, quantity=0.5, dwell_seconds=0.0),
    event(rating=5.0, user_id="ü" * 128, product_id="💡 lamp", event_id="x" * 128, request_id="r"),
    event(helpful_votes=5, total_votes=3),  # sources do say so
    event(user_id=""),  # a guest's
    event(event_id="", source="set/0", sequence=1),
    event(event_time_ms=7_258_118_399_999),
    pb.Event(kind=pb.EVENT_KIND_TICK, event_time_ms=1),
    pb.Event(kind=pb.EVENT_KIND_TICK, event_time_ms=1, source="set/0", sequence=9),
]

BAD = [
    ("no_kind", "kind", event(kind=pb.EVENT_KIND_UNSPECIFIED)),
    ("no_kind", "kind", event(kind=77)),
    ("no_product", "product_id", event(product_id="")),
    ("bad_id", "user_id", event(user_id="u" * 257)),
    ("bad_id", "user_id", event(user_id="ü" * 129)),
    ("bad_id", "product_id", event(product_id="a\nb")),
    ("bad_id", "product_id", event(product_id="a\x7f")),
    ("bad_id", "product_id", event(product_id="a\u2028b")),  # str.splitlines ends a line there
    ("bad_id", "product_id", event(product_id="a\x85b")),
    ("bad_id", "event_id", event(event_id="")),
    ("bad_id", "event_id", event(event_id="e" * 129)),
    ("bad_id", "source", event(source="s" * 257, sequence=1)),
    ("bad_id", "sequence", event(source="s")),
    ("bad_id", "request_id", event(request_id="r\x00")),
    ("bad_id", "user_id", pb.Event(kind=pb.EVENT_KIND_TICK, event_time_ms=1, user_id="u")),
    ("bad_id", "product_id", pb.Event(kind=pb.EVENT_KIND_TICK, event_time_ms=1, product_id="p")),
    ("bad_time", "event_time_ms", pb.Event(kind=pb.EVENT_KIND_TICK)),
    ("bad_time", "event_time_ms", event(event_time_ms=0)),
    ("bad_time", "event_time_ms", event(event_time_ms=-1)),
    ("bad_time", "event_time_ms", event(event_time_ms=7_258_118_400_000)),
    *(("bad_rating", "rating", event(rating=value)) for value in (0.0, 0.99, 5.01, NAN, INF)),
    *(("bad_price", "price", event(price=value)) for value in (-0.01, NAN, INF)),
    ("bad_votes", "helpful_votes", event(helpful_votes=-1)),
    ("bad_votes", "total_votes", event(total_votes=-1)),
    *(("bad_quantity", "quantity", event(quantity=value)) for value in (0.0, -1.0, NAN, INF)),
    *(("bad_dwell", "dwell_seconds", event(dwell_seconds=value)) for value in (-1.0, NAN, INF)),
]


@pytest.mark.parametrize("good", GOOD)
def test_a_valid_event_passes(good: pb.Event) -> None:
    check_event(good)


@pytest.mark.parametrize(("reason", "field", "bad"), BAD)
def test_a_wrong_one_is_refused_with_its_reason_and_field(reason: str, field: str, bad: pb.Event) -> None:
    with pytest.raises(BadEvent) as refused:
        check_event(bad)
    assert refused.value.reason == reason
    assert field in str(refused.value).split(":")[0]


def test_the_reasons_are_all_used_and_all_named() -> None:
    # That an event lies ahead is seen beside its record's time alone, see `check_not_ahead`.
    assert {reason for reason, _, _ in BAD} | {FUTURE_TIME} == set(REASONS)


@pytest.mark.parametrize("past", [0, DAY_MS])
def test_an_event_may_lie_a_day_ahead_of_its_record_and_no_further(past: int) -> None:
    clock_ms = 1_700_000_000_000
    check_not_ahead(pb.Event(event_time_ms=clock_ms + AHEAD_MS - past), clock_ms)
    with pytest.raises(BadEvent) as refused:
        check_not_ahead(pb.Event(event_time_ms=clock_ms + AHEAD_MS + 1 + past), clock_ms)
    assert refused.value.reason == FUTURE_TIME


@given(st.binary(max_size=60))
def test_any_event_is_either_valid_or_bad(junk: bytes) -> None:
    any_event = pb.Event()
    try:
        any_event.ParseFromString(junk)
    except DecodeError:  # not an event at all
        return
    try:
        check_event(any_event)
    except BadEvent as error:
        assert error.reason in REASONS


@given(st.text(min_size=1, max_size=300))
def test_valid_ids_take_one_line_each(text: str) -> None:
    try:
        check_event(event(product_id=text))
    except (BadEvent, UnicodeEncodeError):
        return
    assert f"{text}\n".splitlines() == [text]
