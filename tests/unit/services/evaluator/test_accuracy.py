"""Figures of what was judged, by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.evaluator.accuracy import KS, POLICIES, WINDOWS, Accuracy, EvaluatorMetrics
from shared.evaluation.prequential import Judgement, Outcome, Ranking
from shared.model.single_experts import SINGLE_EXPERTS

INF = float("inf")


def judged(
    learned: float,
    trending: float,
    *,
    top: tuple[Sequence[int], Sequence[int]] = ((), ()),
    bits: tuple[float, float] = (math.nan, math.nan),
    experts: Mapping[str, float] = MappingProxyType({}),
) -> Judgement:
    """Of the two policies; the others miss, and so do experts that have no place."""
    ranked = [
        Ranking(place, np.array(rows, np.int64), own_bits)
        for place, rows, own_bits in zip((learned, trending), top, bits, strict=True)
    ]
    others = [Ranking(INF, np.zeros(0, np.int64), math.nan)] * (len(POLICIES) - 2)
    alone = tuple(experts.get(name, INF) for name in SINGLE_EXPERTS)
    return Judgement(Outcome.JUDGED, (*ranked, *others), alone, has_history=True)


def test_before_anything_was_judged_there_is_no_figure() -> None:
    accuracy = Accuracy(3)
    figures = [accuracy.coverage("learned", 10), accuracy.novelty("trending")]
    for window in WINDOWS:
        figures += [accuracy.hit("learned", window, 10), accuracy.ndcg("trending", window, 5)]
        figures += [accuracy.mrr("learned", window)]
    assert all(math.isnan(figure) for figure in figures)


def test_hit_ndcg_and_reciprocal_rank_of_each_policy() -> None:
    accuracy = Accuracy(10)
    accuracy.note(judged(1.0, 6.0), by_version=True)
    accuracy.note(judged(3.0, INF), by_version=True)
    accuracy.note(judged(INF, 15.0), by_version=True)
    accuracy.note(judged(7.5, 10.0), by_version=True)
    assert [accuracy.hit("learned", "all", k) for k in KS] == [0.5, 0.75, 0.75]
    assert [accuracy.hit("trending", "all", k) for k in KS] == [0.0, 0.5, 0.75]
    assert accuracy.ndcg("learned", "all", 5) == pytest.approx((1 + 1 / 2) / 4)
    assert accuracy.ndcg("learned", "all", 10) == pytest.approx((1 + 1 / 2 + 1 / math.log2(8.5)) / 4)
    assert accuracy.ndcg("trending", "all", 20) == pytest.approx((1 / math.log2(7) + 1 / 4 + 1 / math.log2(11)) / 4)
    assert accuracy.mrr("learned", "all") == pytest.approx((1 + 1 / 3 + 1 / 7.5) / 4)
    assert accuracy.mrr("trending", "all") == pytest.approx((1 / 6 + 1 / 15 + 1 / 10) / 4)


def test_the_windows_hold_what_their_names_say() -> None:
    accuracy = Accuracy(2)
    for place, by_version in ((1.0, False), (99.0, True), (1.0, True), (99.0, True), (1.0, False)):
        accuracy.note(judged(place, 1.0), by_version=by_version)
    assert (accuracy.judged, accuracy.by_version) == (5, 3)
    assert [accuracy.hit("learned", window, 10) for window in WINDOWS] == [3 / 5, 1 / 3, 1 / 2]
    assert [accuracy.hit("trending", window, 10) for window in WINDOWS] == [1.0, 1.0, 1.0]


def test_coverage_and_novelty_of_the_newest_answers() -> None:
    accuracy = Accuracy(2)
    accuracy.note(judged(1.0, 1.0, top=([7, 8, 9], [7]), bits=(20.0, 20.0)), by_version=True)
    accuracy.note(judged(1.0, 1.0, top=([0, 1, 2], [0]), bits=(4.0, 1.0)), by_version=True)
    accuracy.note(judged(1.0, 1.0, top=([2], [0]), bits=(2.0, math.nan)), by_version=True)
    assert (accuracy.coverage("learned", 12), accuracy.coverage("trending", 12)) == (3 / 12, 1 / 12)
    assert (accuracy.novelty("learned"), accuracy.novelty("trending")) == (3.0, 1.0)


@given(st.lists(st.one_of(st.floats(1, 30), st.just(INF)), min_size=1, max_size=30), st.integers(1, 12))
def test_recent_is_the_mean_of_the_newest(places: list[float], recent: int) -> None:
    accuracy = Accuracy(recent)
    for place in places:
        accuracy.note(judged(place, 2 * place), by_version=True)
    for policy, factor in zip(POLICIES[:2], (1, 2), strict=True):
        newest = [factor * place <= 10 for place in places[-recent:]]
        assert accuracy.hit(policy, "recent", 10) == pytest.approx(np.mean(newest))


def test_only_what_was_judged_counts() -> None:
    with pytest.raises(ValueError, match="not judged"):
        Accuracy(3).note(Judgement(Outcome.MASKED), by_version=False)


def test_regret_is_what_the_best_single_expert_is_ahead_of_what_is_served() -> None:
    accuracy = Accuracy(2)
    assert all(math.isnan(accuracy.regret(window)) for window in WINDOWS)
    accuracy.note(judged(INF, 1.0, experts={"next": 1.0, "sessions": 3.0}), by_version=False)
    accuracy.note(judged(1.0, 1.0, experts={"next": INF, "sessions": 3.0}), by_version=True)
    accuracy.note(judged(1.0, 1.0, experts={"itself": 3.0, "next": 11.0}), by_version=True)
    alone = {window: dict(zip(SINGLE_EXPERTS, accuracy.experts(window).tolist(), strict=True)) for window in WINDOWS}
    assert (alone["all"]["next"], alone["all"]["sessions"], alone["all"]["trending"]) == pytest.approx(
        (1 / 3, 1 / 3, 0)
    )
    assert (alone["learned"]["sessions"], alone["learned"]["itself"]) == pytest.approx((1 / 4, 1 / 4))
    assert alone["recent"] == alone["learned"], "the newest two"
    assert accuracy.regret("all") == pytest.approx(1 / 3 - 2 / 3), "trending is no expert of the mixture"
    assert accuracy.regret("recent") == pytest.approx(1 / 4 - 1)
    behind = Accuracy(2)
    behind.note(judged(INF, INF, experts={"together": 1.0}), by_version=True)
    assert behind.regret("recent") == 1.0, "above 0: an expert is ahead"


def test_experts_and_regret_are_shown() -> None:
    registry, accuracy = CollectorRegistry(), Accuracy(2)
    metrics = EvaluatorMetrics(registry)

    def shown(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"freshet_evaluator_{name}_ratio", labels)

    assert math.isnan(shown("regret", window="recent") or 0.0)
    for expert in SINGLE_EXPERTS:
        assert math.isnan(shown("expert_ndcg", expert=expert, window="learned") or 0.0)
    accuracy.note(judged(3.0, 1.0, experts={"next": 1.0}), by_version=True)
    metrics.show(accuracy, 10)
    assert [shown("regret", window=window) for window in WINDOWS] == [0.5] * 3
    assert shown("expert_ndcg", expert="next", window="all") == 1.0
    assert shown("expert_ndcg", expert="popular-6h", window="all") == 0.0
