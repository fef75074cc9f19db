"""Lines of every edition of SNAP's reviews become events; what is wrong is refused with its reason."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.reading.records import REASONS, parse_record
from replay.reading.snap import to_event
from shared.log.records import check_event
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent
from tests.support.snap import FIRST_SECONDS, review


def event_of(line: bytes | dict[str, Any]) -> pb.Event:
    return to_event(parse_record(line if isinstance(line, bytes) else json.dumps(line).encode()))


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in review().items() if name not in names}


def test_a_review_of_2014() -> None:
    assert event_of(review()) == pb.Event(
        kind=pb.EVENT_KIND_REVIEW,
        user_id="A0",
        product_id="B0",
        event_time_ms=FIRST_SECONDS * 1000,
        text="Good\nIt is number 0.",
        rating=4.0,
        helpful_votes=2,
        total_votes=3,
    )


def test_a_review_of_2018_has_votes_as_a_string_and_no_total() -> None:
    event = event_of(without("helpful") | {"vote": "1,234", "verified": True, "style": {"Size:": " M"}, "image": []})
    assert (event.helpful_votes, event.HasField("total_votes")) == (1234, False)


def test_without_votes_there_are_none() -> None:
    event = event_of(without("helpful"))
    assert not event.HasField("helpful_votes")
    assert not event.HasField("total_votes")


def test_more_helpful_votes_than_votes_are_kept_as_the_source_says() -> None:
    event = event_of(review(helpful=[3, 2]))
    assert (event.helpful_votes, event.total_votes) == (3, 2)


def test_python_literals_are_read() -> None:
    line = b"""{'reviewerID': 'A1', 'asin': 'B1', 'reviewText': "Don't \\d", 'overall': 2.0, 'summary': None,
        'unixReviewTime': 1300060800}""".replace(b"\n", b"")
    event = event_of(line)
    assert (event.user_id, event.text, event.rating) == ("A1", "Don't \\d", 2.0)


def test_stars_without_a_text_are_a_rating() -> None:
    event = event_of(review(reviewText="", summary=" "))
    assert (event.kind, event.text) == (pb.EVENT_KIND_RATING, "")


def test_a_text_without_stars_is_a_review() -> None:
    event = event_of(review(overall=None))
    assert (event.kind, event.HasField("rating")) == (pb.EVENT_KIND_REVIEW, False)


def test_entities_are_resolved_and_half_characters_replaced() -> None:
    event = event_of(review(summary="R&amp;B &#34;best&#34;", reviewText="caf\u00e9 \ud83d"))
    assert event.text == 'R&B "best"\ncaf\u00e9 \ufffd'


def test_numbers_may_be_strings_and_ids_numbers() -> None:
    event = event_of(review(asin=1384719342, overall="5.0", unixReviewTime="1300060800"))
    assert (event.product_id, event.rating, event.event_time_ms) == ("1384719342", 5.0, 1_300_060_800_000)


BAD = [
    ("no_user", without("reviewerID")),
    ("no_user", review(reviewerID=None)),
    ("no_user", review(reviewerID="")),
    ("no_product", without("asin")),
    ("no_time", without("unixReviewTime")),
    ("no_time", review(unixReviewTime=None)),
    ("bad_time", review(unixReviewTime=0)),
    ("bad_time", review(unixReviewTime=-86400)),
    ("bad_time", review(unixReviewTime=FIRST_SECONDS * 1000)),
    ("bad_time", review(unixReviewTime="yesterday")),
    ("bad_time", review(unixReviewTime=float("nan"))),
    ("bad_time", review(unixReviewTime=10**400)),
    ("bad_rating", review(overall=0.0)),
    ("bad_rating", review(overall=5.5)),
    ("bad_rating", review(overall=float("nan"))),
    ("bad_rating", review(overall=float("inf"))),
    ("bad_rating", review(overall=True)),
    ("bad_rating", review(overall=[5])),
    ("bad_votes", review(helpful=[1])),
    ("bad_votes", review(helpful="2 of 3")),
    ("bad_votes", review(helpful=[-1, 3])),
    ("bad_votes", review(helpful=[0.5, 3])),
    ("bad_votes", review(helpful=[10**40, 3])),
    ("bad_votes", without("helpful") | {"vote": "many"}),
    ("bad_id", review(reviewerID="A\n1")),
    ("bad_id", review(asin="B" * 257)),
    ("bad_id", review(asin=1.5)),
    ("bad_id", review(reviewerID="\ud800")),
    ("bad_text", review(reviewText=["a"])),
    ("nothing_said", review(overall=None, reviewText=None, summary="")),
    ("not_json", json.dumps(review()).encode()[:-20]),
    ("not_json", b"reviewerID,asin,overall"),
    ("not_json", b"{'reviewerID': __import__('os').getcwd()}"),
    ("not_json", b"{'a': " + b"-" * 50_000 + b"1}"),
    ("not_json", b"[" * 200_000),
    ("not_json", b"{'a': '" + b"x" * 300_000 + b"'}"),
    ("not_object", b"[1, 2]"),
    ("not_object", b"null"),
    ("not_utf8", '{"reviewerID": "caf\u00e9"}'.encode("latin-1")),
    ("nul_bytes", b'{"reviewerID": "A\x00"}'),
    ("nul_bytes", bytes(100)),
]


@pytest.mark.parametrize(("reason", "line"), BAD, ids=[f"{n}-{reason}" for n, (reason, _) in enumerate(BAD)])
def test_what_is_wrong_is_refused_with_its_reason(reason: str, line: bytes | dict[str, Any]) -> None:
    with pytest.raises(BadEvent) as refused:
        event_of(line)
    assert refused.value.reason == reason
    assert reason in REASONS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["5.0", "1,2", "&lt;", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*review(), "vote"], JSON)))
def test_whatever_the_fields_hold_the_event_is_valid_or_refused(fields: dict[str, Any]) -> None:
    try:
        event = event_of(json.dumps(review() | fields).encode())
    except BadEvent as error:
        assert error.reason in REASONS
        return
    event.source, event.sequence = "set/0", 1
    check_event(event)
    assert pb.Event.FromString(event.SerializeToString()) == event


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_they_are_read_or_refused(line: bytes) -> None:
    try:
        parse_record(line)
    except BadEvent as error:
        assert error.reason in REASONS


def test_numbers_too_long_for_python_are_refused() -> None:
    digits = b"9" * (sys.get_int_max_str_digits() + 1)
    with pytest.raises(BadEvent):
        event_of(b'{"reviewerID": ' + digits + b"}")
