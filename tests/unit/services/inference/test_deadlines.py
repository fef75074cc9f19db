"""A call that can't be answered in time is told so, and nothing is worked out for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from services.inference.calls.admission import AnswerTime, Refusal
from services.inference.calls.servicer import Servicer
from services.inference.knowledge.knowledge import Knowledge
from services.inference.metrics import InferenceMetrics
from services.inference.settings import InferenceSettings
from shared.log.records import DAY_MS
from shared.log.topics import Topics
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.settings import KafkaSettings
from shared.state.histories import Histories
from shared.state.tally import Tally


def test_a_call_is_too_late_when_less_is_left_than_an_answer_takes() -> None:
    pace = AnswerTime()
    assert not pace.too_late(0.001), "nothing is known yet"
    assert pace.too_late(0.0)
    for _ in range(100):
        pace.took(0.010)
    assert not pace.too_late(None)
    assert not pace.too_late(0.011)
    assert pace.too_late(0.009)
    refused = 0
    while pace.too_late(0.005):
        refused += 1
    assert 0 < refused < 20, "a slow moment is forgotten, also when nobody is answered"


@pytest.mark.parametrize(
    ("call", "request_", "expected"),
    [
        ("Recommend", pb.RecommendRequest(user_id="ann"), ["p"]),
        ("Trending", pb.TrendingRequest(), ["p"]),
        ("SimilarProducts", pb.SimilarProductsRequest(product_id="p"), []),
    ],
)
def test_a_call_whose_deadline_has_passed_is_refused(call: str, request_: Any, expected: list[str]) -> None:
    nothing: Any = SimpleNamespace(serving=None)
    knowledge = Knowledge(Histories(3, frozenset()), Tally(DAY_MS), 1)
    knowledge.catalogue.row_of("p")
    metrics = InferenceMetrics(CollectorRegistry())
    servicer = Servicer(InferenceSettings(), Topics.of(KafkaSettings()), knowledge, nothing, nothing, nothing, metrics)
    servicer.ready = True
    before = metrics.recommendations(pb.STRATEGY_TRENDING, pb.FALLBACK_NO_MODEL)._value.get()

    def ask(left_seconds: float | None) -> Any:
        context = SimpleNamespace(time_remaining=lambda: left_seconds)
        return getattr(pb, f"{call}Response").FromString(asyncio.run(getattr(servicer, call)(request_, context)))

    with pytest.raises(Refusal, match=r"deadline: 0\.0 ms are left") as refused:
        ask(0.0)
    assert refused.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert metrics.recommendations(pb.STRATEGY_TRENDING, pb.FALLBACK_NO_MODEL)._value.get() == before
    for left_seconds in (None, 60.0):
        assert [product.product_id for product in ask(left_seconds).products] == expected
