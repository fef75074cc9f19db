"""From event to state vector, by values worked out by hand and for any event."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.features.core import (
    MOST_TEXT_BYTES,
    SourceRecord,
    describe,
    helpfulness_scaled,
    parse_event,
    price_scaled,
    reward,
    scored_text,
)
from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from services.features.stream import FeaturesMetrics, clock_when
from shared.log.records import AHEAD_MS, FUTURE_TIME, REASONS, parse_state
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent
from shared.process.settings import load

SENTIMENT = Sentiment()
METRICS = FeaturesMetrics(CollectorRegistry())
SETTINGS = load(FeaturesSettings, {})
ORIGIN = SourceRecord("freshet.events", 3, 41, 1_700_000_000_123)
ACTED = [kind for kind in pb.EventKind.values() if kind not in (pb.EVENT_KIND_UNSPECIFIED, pb.EVENT_KIND_TICK)]


def event(**fields: Any) -> pb.Event:
    given_fields = {
        "event_id": "e1",
        "kind": pb.EVENT_KIND_REVIEW,
        "user_id": "u",
        "product_id": "p",
        "event_time_ms": 1_300_000_000_000,
    }
    return pb.Event(**(given_fields | fields))


def described(settings: FeaturesSettings = SETTINGS, **fields: Any) -> pb.StateVector:
    return describe(event(**fields), ORIGIN, settings, SENTIMENT)


def test_a_review_with_everything_imputes_nothing() -> None:
    state = described(
        text="good", rating=4.0, price=9.0, helpful_votes=3, total_votes=4, source="set/0", sequence=7, request_id="r"
    )
    assert state == pb.StateVector(
        user_id="u",
        product_id="p",
        kind=pb.EVENT_KIND_REVIEW,
        event_time_ms=1_300_000_000_000,
        price_scaled=math.log(10) / math.log(1001),
        helpfulness_scaled=0.75,
        rating=4.0,
        sentiment=0.4404,
        reward=0.7 * 0.5 + 0.3 * 0.4404,
        imputed=[],
        event_id="e1",
        source="set/0",
        sequence=7,
        request_id="r",
        source_topic="freshet.events",
        source_partition=3,
        source_offset=41,
        recorded_ms=1_700_000_000_123,
    )


def test_what_is_missing_is_imputed_and_flagged() -> None:
    settings = load(
        FeaturesSettings,
        {
            "FRESHET_FEATURES_DEFAULT_PRICE_SCALED": "0.2",
            "FRESHET_FEATURES_DEFAULT_HELPFULNESS_SCALED": "0.3",
            "FRESHET_FEATURES_DEFAULT_RATING": "3.5",
        },
    )
    state = described(settings)
    assert (state.price_scaled, state.helpfulness_scaled, state.rating, state.sentiment) == (0.2, 0.3, 3.5, 0.0)
    assert list(state.imputed) == [
        pb.IMPUTED_PRICE,
        pb.IMPUTED_HELPFULNESS,
        pb.IMPUTED_RATING,
        pb.IMPUTED_SENTIMENT,
    ]
    assert state.reward == 0.0, "an imputed rating is no opinion"


def test_a_given_zero_is_not_missing() -> None:
    state = described(price=0.0, helpful_votes=0, total_votes=2, rating=1.0, text="x")
    assert (state.price_scaled, state.helpfulness_scaled) == (0.0, 0.0)
    assert list(state.imputed) == []


@pytest.mark.parametrize(
    ("price", "scaled"), [(0.0, 0.0), (9.0, math.log(10) / math.log(1001)), (1000.0, 1.0), (1e300, 1.0)]
)
def test_prices_scale_by_their_logarithm_up_to_the_maximum(price: float, scaled: float) -> None:
    assert price_scaled(event(price=price), SETTINGS) == pytest.approx(scaled, rel=1e-15)


@pytest.mark.parametrize(
    ("votes", "scaled"),
    [
        ({}, None),
        ({"total_votes": 5}, None),
        ({"helpful_votes": 0, "total_votes": 0}, None),
        ({"helpful_votes": 2, "total_votes": 8}, 0.25),
        ({"helpful_votes": 5, "total_votes": 3}, 1.0),
        ({"helpful_votes": 0}, 0.0),
        ({"helpful_votes": 9}, math.log(10) / math.log(101)),
        ({"helpful_votes": 2**62}, 1.0),
    ],
)
def test_helpfulness_is_a_share_or_else_a_logarithm(votes: dict[str, int], scaled: float | None) -> None:
    result = helpfulness_scaled(event(**votes), SETTINGS)
    assert result == (scaled if scaled is None else pytest.approx(scaled, rel=1e-15))


@pytest.mark.parametrize(
    ("kind", "rating", "compound", "expected"),
    [
        ("REVIEW", 5.0, 1.0, 1.0),
        ("REVIEW", 1.0, -1.0, -1.0),
        ("REVIEW", 5.0, -1.0, 0.7 - 0.3),
        ("REVIEW", 4.0, None, 0.5),  # only over what was given
        ("REVIEW", None, -0.6, -0.6),
        ("REVIEW", None, None, 0.0),
        ("RATING", 2.0, None, -0.5),
        ("VIEW", None, None, 0.05),
        ("CLICK", None, None, 0.1),
        ("FAVOURITE", None, None, 0.3),
        ("CART", None, None, 0.3),
        ("PURCHASE", None, None, 0.7),
        ("RETURN", None, None, -0.7),
        ("DISLIKE", None, None, -1.0),
        ("PURCHASE", 5.0, None, 1.0),  # 1.7, clipped
        ("DISLIKE", 1.0, None, -1.0),
        ("RETURN", 4.0, None, -0.7 + 0.5),
    ],
)
def test_the_reward_by_hand(kind: str, rating: float | None, compound: float | None, expected: float) -> None:
    result = reward(pb.EventKind.Value(f"EVENT_KIND_{kind}"), rating, compound, SETTINGS)
    assert result == pytest.approx(expected, abs=1e-12)


def test_the_weights_of_the_reward_are_settings() -> None:
    settings = load(
        FeaturesSettings,
        {
            "FRESHET_FEATURES_RATING_WEIGHT": "1",
            "FRESHET_FEATURES_SENTIMENT_WEIGHT": "3",
            "FRESHET_FEATURES_REWARD_REVIEW": "0.1",
        },
    )
    assert reward(pb.EVENT_KIND_REVIEW, 5.0, -0.2, settings) == pytest.approx(0.1 + (1.0 - 0.6) / 4)
    no_opinions = settings.model_copy(update={"rating_weight": 0.0, "sentiment_weight": 0.0})
    assert reward(pb.EVENT_KIND_REVIEW, 5.0, 1.0, no_opinions) == 0.1


def test_of_two_reviews_with_equal_stars_the_gladder_text_is_rewarded_more() -> None:
    glad, sad = described(text="wonderful sound, I love it", rating=4.0), described(text="awful, I hate it", rating=4.0)
    assert glad.reward > sad.reward + 0.3


def test_every_kind_has_a_reward_of_its_own() -> None:
    for kind in ACTED:
        assert -1.0 <= reward(kind, None, None, SETTINGS) <= 1.0
        assert kind in METRICS.events


def test_a_tick_passes_through_with_nothing_but_its_time_and_origin() -> None:
    tick = pb.Event(kind=pb.EVENT_KIND_TICK, event_time_ms=5, source="set/0", sequence=9)
    assert describe(tick, ORIGIN, SETTINGS, SENTIMENT) == pb.StateVector(
        kind=pb.EVENT_KIND_TICK,
        event_time_ms=5,
        source="set/0",
        sequence=9,
        source_topic="freshet.events",
        source_partition=3,
        source_offset=41,
        recorded_ms=1_700_000_000_123,
    )


@pytest.mark.parametrize("blank", ["", " ", "\n", "\t \u3000"])
def test_a_blank_text_is_no_text(blank: str) -> None:
    assert scored_text(blank) == ("", False)
    assert pb.IMPUTED_SENTIMENT in described(text=blank).imputed


@pytest.mark.parametrize(
    ("text", "kept", "cut"),
    [
        ("a" * MOST_TEXT_BYTES, MOST_TEXT_BYTES, False),
        ("a" * (MOST_TEXT_BYTES + 1), MOST_TEXT_BYTES, True),
        ("é" * 32_768, 32_768, False),
        ("é" * 32_769, 32_768, True),
        ("a" + "😁" * 20_000, 1 + 16_383, True),  # the cut would fall inside a character: it goes whole
    ],
)
def test_a_text_is_cut_after_64_kib_at_a_whole_character(text: str, kept: int, cut: bool) -> None:
    assert scored_text(text) == (text[:kept], cut)


def test_a_cut_text_is_flagged_and_scored_by_its_beginning() -> None:
    state = described(text="good " + "x" * MOST_TEXT_BYTES + " awful awful", rating=3.0, price=1.0, helpful_votes=1)
    assert list(state.imputed) == [pb.IMPUTED_TEXT_CUT]
    assert state.sentiment == 0.4404


@pytest.mark.parametrize("junk", [None, b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"not a message"])
def test_what_is_no_event_is_undecodable(junk: bytes | None) -> None:
    with pytest.raises(BadEvent) as refused:
        parse_event(junk, ORIGIN.recorded_ms)
    assert refused.value.reason == "undecodable"


def test_an_event_that_nothing_may_be_learned_from_keeps_its_reason() -> None:
    for reason, wrong in (("bad_rating", event(rating=9.0)), ("no_kind", event(kind=77)), ("no_kind", pb.Event())):
        with pytest.raises(BadEvent) as refused:
            parse_event(wrong.SerializeToString(), ORIGIN.recorded_ms)
        assert refused.value.reason == reason


NOW_MS = ORIGIN.recorded_ms
IN_2099_MS = 4_084_000_000_000


@pytest.mark.parametrize("kind", ["VIEW", "TICK"])
@pytest.mark.parametrize(
    ("event_time_ms", "is_future"),
    [
        (1, False),
        (NOW_MS, False),
        (NOW_MS + AHEAD_MS, False),
        (NOW_MS + AHEAD_MS + 1, True),
        (NOW_MS + 2 * AHEAD_MS, True),
        (IN_2099_MS, True),
    ],
)
def test_an_event_or_a_tick_may_lie_a_day_ahead_of_its_record_and_no_more(
    kind: str, event_time_ms: int, is_future: bool
) -> None:
    sent = event(kind=pb.EventKind.Value(f"EVENT_KIND_{kind}"), event_time_ms=event_time_ms)
    if kind == "TICK":
        sent.user_id = sent.product_id = ""
    if not is_future:
        assert parse_event(sent.SerializeToString(), NOW_MS) == sent
        return
    with pytest.raises(BadEvent, match=f"at most a day ahead of the clock.*got {event_time_ms}") as refused:
        parse_event(sent.SerializeToString(), NOW_MS)
    assert refused.value.reason == FUTURE_TIME


@pytest.mark.parametrize(
    ("recorded_ms", "clock_ms"),
    [
        (NOW_MS - 5, NOW_MS - 5),
        (1, 1),
        (-1, NOW_MS),  # the record has no timestamp
        (0, NOW_MS),
        (IN_2099_MS, NOW_MS),  # stamped with the time of the event in it
    ],
)
def test_an_event_is_judged_by_its_records_timestamp_where_that_can_be(recorded_ms: int, clock_ms: int) -> None:
    assert clock_when(recorded_ms, NOW_MS) == clock_ms


FINITE = st.floats(0, allow_infinity=False, allow_nan=False)
VOTES = st.integers(0, 2**63 - 1)
ANY_EVENTS = st.builds(
    event,
    kind=st.sampled_from(ACTED),
    text=st.text(max_size=200),
    rating=st.none() | st.floats(1, 5),
    price=st.none() | FINITE,
    helpful_votes=st.none() | VOTES,
    total_votes=st.none() | VOTES,
    quantity=st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
)


@given(ANY_EVENTS)
def test_any_event_gives_a_state_in_range(any_event: pb.Event) -> None:
    state = describe(parse_event(any_event.SerializeToString(), ORIGIN.recorded_ms), ORIGIN, SETTINGS, SENTIMENT)
    assert parse_state(state.SerializeToString(), ORIGIN.partition + 1) == state
    assert 0.0 <= state.price_scaled <= 1.0
    assert 0.0 <= state.helpfulness_scaled <= 1.0
    assert 1.0 <= state.rating <= 5.0
    assert -1.0 <= state.sentiment <= 1.0
    assert -1.0 <= state.reward <= 1.0
    assert list(state.imputed) == sorted(set(state.imputed))
    assert describe(any_event, ORIGIN, SETTINGS, SENTIMENT) == state, "the same event gives the same state"


@given(st.binary(max_size=80))
def test_any_bytes_are_an_event_or_have_a_reason_that_is_counted(junk: bytes) -> None:
    try:
        any_event = parse_event(junk, ORIGIN.recorded_ms)
    except BadEvent as error:
        assert error.reason in METRICS.dead_letters
        return
    parse_state(describe(any_event, ORIGIN, SETTINGS, SENTIMENT).SerializeToString(), ORIGIN.partition + 1)


def test_every_label_value_is_known_before_the_first_event() -> None:
    assert set(METRICS.dead_letters) == {"undecodable", *REASONS}
    assert set(METRICS.imputed) == set(pb.Imputed.values()) - {pb.IMPUTED_UNSPECIFIED}
    assert set(METRICS.events) == set(pb.EventKind.values()) - {pb.EVENT_KIND_UNSPECIFIED}


@pytest.mark.parametrize(
    ("compound", "sign"), [(0.05, "positive"), (0.0499, "neutral"), (-0.0499, "neutral"), (-0.05, "negative")]
)
def test_texts_are_counted_by_the_sign_of_their_sentiment(compound: float, sign: str) -> None:
    metrics = FeaturesMetrics(CollectorRegistry())
    metrics.count(pb.StateVector(kind=pb.EVENT_KIND_REVIEW, sentiment=compound))
    metrics.count(pb.StateVector(kind=pb.EVENT_KIND_VIEW, imputed=[pb.IMPUTED_SENTIMENT]))
    metrics.count(pb.StateVector(kind=pb.EVENT_KIND_TICK))
    grown = {name for name, counter in metrics.reviews.items() if counter._value.get()}
    assert grown == {sign}


def test_rewards_and_sentiments_are_told_by_their_ranges_and_ticks_are_not() -> None:
    registry = CollectorRegistry()
    metrics = FeaturesMetrics(registry)

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"freshet_features_{name}", labels) or 0.0

    def figures() -> list[float]:
        return [
            value("rewards_total", sign="positive"),
            value("rewards_total", sign="negative"),
            value("reward_bucket", le="-0.5"),
            value("reward_bucket", le="+Inf"),
            value("sentiment_bucket", le="-0.25"),
            value("sentiment_bucket", le="+Inf"),
        ]

    metrics.count(pb.StateVector(kind=pb.EVENT_KIND_REVIEW, reward=-0.75, sentiment=-0.3))
    metrics.count(pb.StateVector(kind=pb.EVENT_KIND_VIEW, reward=0.25, imputed=[pb.IMPUTED_SENTIMENT]))
    metrics.count(pb.StateVector(kind=pb.EVENT_KIND_TICK))
    assert figures() == [0.25, 0.75, 1.0, 2.0, 1.0, 1.0]
