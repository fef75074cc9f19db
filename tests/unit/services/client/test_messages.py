"""What the client's values become, and that importing it brings nothing else."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from google.protobuf import json_format

import freshet
from freshet import answers, batches, filters, messages
from freshet.messages import Wishes
from services.inference.calls.requests import completed_events
from shared.log.limits import limits_of
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1 import recommender_pb2 as calls

AT = datetime(2024, 5, 6, 7, 8, 9, 123_456, tzinfo=timezone(timedelta(hours=2)))
AT_MS = 1_714_972_089_123


def test_an_event_says_all_that_was_told_and_nothing_else() -> None:
    event = freshet.review(
        "ann", "p1", text="good", rating=4, helpful_votes=2, total_votes=3, at=AT, request_id="r1", event_id="e1"
    )
    assert messages.event_message(event) == pb.Event(
        event_id="e1", kind=pb.EVENT_KIND_REVIEW, user_id="ann", product_id="p1", event_time_ms=AT_MS, text="good",
        rating=4.0, helpful_votes=2, total_votes=3, request_id="r1",
    )  # fmt: skip
    bought = messages.event_message(freshet.purchase("ann", "p1", price=0.0, quantity=2, at=AT, event_id="e2"))
    assert bought == pb.Event(
        event_id="e2", kind=pb.EVENT_KIND_PURCHASE, user_id="ann", product_id="p1", event_time_ms=AT_MS, price=0.0,
        quantity=2.0,
    )  # fmt: skip
    assert bought.HasField("price")
    assert not bought.HasField("rating")


EVERY = [
    freshet.review("ann", "p", text="good"),
    freshet.rating("ann", "p", 5),
    freshet.view("ann", "p", dwell_seconds=3),
    freshet.click("ann", "p"),
    freshet.cart("ann", "p", quantity=2),
    freshet.purchase("ann", "p", price=3.5),
    freshet.returned("ann", "p"),
    freshet.dislike("ann", "p"),
    freshet.favourite(None, "p"),
]


def test_every_kind_can_be_told_and_the_service_takes_each() -> None:
    assert {event.kind for event in EVERY} == set(freshet.Kind)
    assert {f"EVENT_KIND_{kind.name}" for kind in freshet.Kind} == set(pb.EventKind.keys()) - {
        "EVENT_KIND_UNSPECIFIED", "EVENT_KIND_TICK",
    }  # fmt: skip
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    request = calls.RecordEventsRequest(events=[messages.event_message(event) for event in EVERY])
    taken = completed_events(request, now_ms)
    assert [event.event_id for event in taken] == [event.event_id for event in EVERY], "ids are the client's"
    assert all(abs(event.event_time_ms - now_ms) < 3_600_000 for event in taken)
    assert len({event.event_id for event in taken}) == len(EVERY)


def test_a_guest_has_no_name() -> None:
    assert messages.event_message(freshet.view(None, "p")).user_id == ""
    assert messages.event_message(freshet.view("", "p")).user_id == ""
    for user in (None, ""):
        assert messages.recommend_request(user, ["p1"], None, {}).user_id == ""


def test_events_that_cannot_be_told_apart_or_placed_in_time_are_refused_where_they_are_made() -> None:
    with pytest.raises(ValueError, match="time zone"):
        freshet.view("ann", "p", at=datetime(2024, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="event_id"):
        freshet.view("ann", "p", event_id="")


def test_a_product_is_sent_whole() -> None:
    product = freshet.Product("p1", title="A lamp", categories=("Home", "Lamps"), brand="L", price=9.5, available=False)
    assert messages.product_message(product) == pb.Product(
        product_id="p1", title="A lamp", categories=["Home", "Lamps"], brand="L", price=9.5, unavailable=True
    )
    bare = messages.product_message(freshet.Product("p1"))
    assert not bare.HasField("price")
    assert not bare.unavailable


def test_a_question_says_what_was_asked() -> None:
    lamps, cheap = filters.category("Lamps"), filters.price(at_most=30)
    wished = messages.recommend_request(
        "ann",
        ["p2"],
        answers.Position(1, 0),
        {
            "count": 5, "exclude": ["p1"], "filter": lamps & ~cheap | filters.age(at_least_days=2),
            "boosts": {filters.availability(freshet.Availability.IN_STOCK): 2.0}, "diversity": 0.5,
            "minimum_score": 0.0, "fields": ["title", "price"], "explain": True,
        },
    )  # fmt: skip
    assert json_format.MessageToDict(wished, preserving_proto_field_name=True) == {
        "user_id": "ann",
        "after_position": {"partition": 1},
        "session_product_ids": ["p2"],
        "wishes": {
            "count": 5,
            "exclude_product_ids": ["p1"],
            "filter": {
                "any_of": {
                    "filters": [
                        {
                            "all_of": {
                                "filters": [{"category": {"values": ["Lamps"]}}, {"not": {"price": {"at_most": 30.0}}}]
                            }
                        },
                        {"age": {"at_least_days": 2.0}},
                    ]
                }
            },
            "boosts": [{"products": {"availability": {"values": ["AVAILABILITY_IN_STOCK"]}}, "factor": 2.0}],
            "diversity": 0.5,
            "minimum_score": 0.0,
            "product_fields": "title,price",
            "explain": True,
        },
    }
    bare = messages.recommend_request("ann", [], None, {})
    assert not bare.HasField("after_position")
    assert bare.wishes == calls.Wishes()


def test_a_wish_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match=r"no argument 'colour'; there are count, exclude"):
        messages.recommend_request("ann", [], None, {"colour": "red"})  # type: ignore[typeddict-unknown-key]


def test_a_count_that_cant_be_sent_is_refused_by_name() -> None:
    with pytest.raises(freshet.InvalidRequest, match="must not be negative, got -1") as refused:
        messages.recommend_request("ann", [], None, {"count": -1})
    assert (refused.value.field, refused.value.code) == ("wishes.count", None)


def test_products_and_reasons_are_told_beside_what_is_recommended() -> None:
    lamp = freshet.Product(
        "p1", title="A lamp", categories=("Home",), price=0.0, availability=freshet.Availability.PRE_ORDER,
        listed=datetime(2024, 1, 2, tzinfo=UTC), description="Bright.",
    )  # fmt: skip
    past = calls.PastEvent(product_id="p0", kind=pb.EVENT_KIND_VIEW, score=0.25)
    reasons = [calls.Reason(part=calls.PART_Q, score=1.5), calls.Reason(part=calls.PART_SENTIMENT, events=[past])]
    reasons.append(calls.Reason(part=calls.PART_ITSELF, score=0.5, events=[past], times=7))
    value = calls.RecommendedProduct(product_id="p1", product=messages.product_message(lamp), reasons=reasons)
    (given,) = messages.recommended([value])
    assert given.product == lamp
    assert given.reasons == (
        freshet.Reason(freshet.Part.Q, 1.5, ()),
        freshet.Reason(freshet.Part.SENTIMENT, 0.0, (freshet.PastShare("p0", freshet.Kind.VIEW, None, 0.25),)),
        freshet.Reason(freshet.Part.ITSELF, 0.5, (freshet.PastShare("p0", freshet.Kind.VIEW, None, 0.25),), times=7),
    )
    assert {part.name for part in freshet.Part} - {"UNKNOWN"} == {
        name.removeprefix("PART_") for name in set(calls.Part.keys()) if name != "PART_UNSPECIFIED"
    }


def test_an_answer_is_told_in_the_client_s_words() -> None:
    answer = messages.recommendation(
        calls.RecommendResponse(
            products=[calls.RecommendedProduct(product_id="p1", score=0.5, explored=True, propensity=0.25)],
            model_version="v1",
            strategy=calls.STRATEGY_LEARNED,
            position=pb.LogPosition(partition=2, offset=0),
            request_id="r1",
        )
    )
    assert answer == answers.Recommendation(
        products=(answers.Recommended("p1", 0.5, 0.25, True),),
        model_version="v1",
        strategy=answers.Strategy.LEARNED,
        fallback=None,
        position=answers.Position(2, 0),
        request_id="r1",
    )
    assert (list(answer), len(answer), answer.product_ids) == (list(answer.products), 1, ["p1"])
    trending = messages.recommendation(
        calls.RecommendResponse(strategy=calls.STRATEGY_TRENDING, fallback=calls.FALLBACK_UNKNOWN_USER)
    )
    assert (trending.strategy, trending.fallback, trending.position) == ("trending", "unknown_user", None)


def test_every_word_of_the_protocol_has_one_here_and_a_newer_one_is_no_error() -> None:
    for strategy in calls.Strategy.values()[1:]:
        assert messages.recommendation(calls.RecommendResponse(strategy=strategy)).strategy != "unknown"
    for fallback in calls.Fallback.values()[1:]:
        assert messages.recommendation(calls.RecommendResponse(fallback=fallback)).fallback not in (None, "unknown")
    for user_class in calls.UserClass.values()[1:]:
        assert messages.user(calls.GetUserResponse(user_class=user_class)).user_class != "unknown"
    newer = calls.RecommendResponse.FromString(b"\x18\x63\x20\x63")  # strategy 99, fallback 99
    given = messages.recommendation(newer)
    assert (given.strategy, given.fallback) == ("unknown", "unknown")
    assert messages.user(calls.GetUserResponse.FromString(b"\x30\x63")).user_class == "unknown"  # 99


def test_a_user_and_the_models_are_told_in_times_and_words() -> None:
    user = messages.user(
        calls.GetUserResponse(
            user_id="ann",
            history=[
                calls.HistoryEvent(product_id="p1", kind=pb.EVENT_KIND_VIEW, event_time_ms=AT_MS, reward=0.05),
                calls.HistoryEvent(product_id="p2", kind=pb.EVENT_KIND_REVIEW, rating=4, sentiment=0.5),
            ],
            events=7,
            masked_products=1,
            user_class=calls.USER_CLASS_OCCASIONAL,
        )
    )
    assert user.history[0] == answers.Past("p1", freshet.Kind.VIEW, AT.replace(microsecond=123_000), None, 0.0, 0.05)
    assert (user.history[1].rating, user.history[1].at) == (4.0, datetime(1970, 1, 1, tzinfo=UTC))
    assert (user.events, user.masked_products, user.position) == (7, 1, None)
    assert user.user_class is freshet.UserClass.OCCASIONAL
    version = pb.ModelVersion(
        version_id="v1", policy="dqn", created_ms=AT_MS, applied_events=9, products=3, metrics={"ndcg": 0.25}
    )
    models = messages.models(calls.ListModelsResponse(versions=[version], serving_version="v1", pinned_version="v0"))
    assert (models.serving, models.pinned) == ("v1", "v0")
    assert models.versions[0] == answers.ModelVersion(
        "v1", "dqn", AT.replace(microsecond=123_000), 9, 3, {"ndcg": 0.25}
    )


def test_importing_the_client_imports_nothing_but_grpc_and_protobuf(tmp_path: Path) -> None:
    names = "import sys, freshet; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    message = subprocess.run(
        [sys.executable, "-c", names], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    # gRPC itself looks for grpc_health and its like, and goes on without.
    brought = {
        n for n in message.stdout.split() if n not in sys.stdlib_module_names and not n.startswith(("_", "grpc"))
    }
    assert brought <= {"freshet", "shared", "google", "typing_extensions", "cython_runtime", "sitecustomize"}


def test_the_limits_that_the_client_states_are_those_of_the_protos() -> None:
    wishes, batching = inspect.getsource(Wishes), inspect.getsource(batches)
    count, diversity = limits_of(calls.Wishes, "count"), limits_of(calls.Wishes, "diversity")
    assert f"wanted, {count.minimum:g} to {count.maximum:,.0f} (default: {count.zero_means})" in wishes
    assert f"those above them, {diversity.minimum:g} to {diversity.maximum:g}" in wishes
    assert limits_of(calls.Boost, "factor").above == 0
    events = limits_of(calls.RecordEventsRequest, "events")
    assert f"the service accepts {events.max_items:,};" in batching
    users = limits_of(calls.BatchRecommendRequest, "user_ids")
    removed = limits_of(calls.RemoveProductsRequest, "product_ids")
    assert events.max_items >= batches.MOST_EVENTS
    assert min(users.max_items, removed.max_items) >= batches.MOST_IDS
