"""Figures of what was judged, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.evaluation.contest import KS, Answers, JudgedEvents
from shared.evaluation.figures import (
    Difference,
    Means,
    Questions,
    decile_shares,
    event_metrics,
    figures_of,
    gini,
    holm,
    slices,
    speed_of,
)
from shared.evaluation.prequential import Judgement, Outcome, Ranking
from shared.log.records import DAY_MS
from shared.model.single_experts import SINGLE_EXPERTS
from shared.pb.freshet.v1 import events_pb2 as pb
from tests.support.states import START_MS

INF = math.inf
DAY = START_MS // DAY_MS * DAY_MS  # a whole day


def test_metrics_of_places_by_hand() -> None:
    metrics = event_metrics(np.array([1.0, 3.0, 7.5, 20.0, INF], np.float32))
    assert event_metrics(np.array([100.0, 100.5], np.float32))["hr@100"].tolist() == [1, 0]
    assert metrics["hr@1"].tolist() == [1, 0, 0, 0, 0]
    assert metrics["hr@5"].tolist() == [1, 1, 0, 0, 0]
    assert metrics["hr@10"].tolist() == [1, 1, 1, 0, 0]
    assert metrics["hr@20"].tolist() == [1, 1, 1, 1, 0]
    assert metrics["ndcg@10"] == pytest.approx([1, 1 / 2, 1 / math.log2(8.5), 0, 0])
    assert metrics["ndcg@20"][3] == pytest.approx(1 / math.log2(21))
    assert metrics["mrr"] == pytest.approx([1, 1 / 3, 1 / 7.5, 1 / 20, 0])
    assert metrics["mrr@5"] == pytest.approx([1, 1 / 3, 0, 0, 0])


def test_precision_and_recall_of_a_whole_day_are_those_of_its_set() -> None:
    events = {
        "question": np.array([4, 4, 4, 4, 9], np.int32),
        "again": np.array([False, False, True, False, False]),  # the third came already that day
        "user": np.array([2, 2, 2, 2, 0], np.int32),
    }
    # Of the day's three products two were among the first five of what was answered when it began, one the very first.
    in_set = np.array(
        [
            [True, True, True, True],
            [False, True, True, True],
            [True, True, True, True],
            [False] * 4,
            [False] * 3 + [True],
        ]
    )
    questions = Questions.of_events(events)
    assert questions.users.tolist() == [2, 0]
    by_question = questions.metrics(in_set)
    assert by_question["precision@1"].tolist() == [1.0, 0.0]
    assert by_question["precision@5"].tolist() == [2 / 5, 0.0]
    assert by_question["precision@20"].tolist() == [2 / 20, 1 / 20]
    assert by_question["recall@1"].tolist() == [1 / 3, 0.0]
    assert by_question["recall@10"].tolist() == [2 / 3, 0.0]
    assert by_question["recall@20"].tolist() == [2 / 3, 1.0]


def test_how_unequal_counts_are() -> None:
    assert gini(np.array([3, 3, 3, 3])) == 0.0
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)
    assert gini(np.array([4, 0])) == pytest.approx(1 / 2)
    assert gini(np.array([1, 2, 3])) == pytest.approx(2 / 9)  # mean difference 8/9 over twice the mean
    assert math.isnan(gini(np.zeros(3, np.int64)))


def test_shares_of_each_tenth_by_popularity() -> None:
    popularity = np.arange(20)[::-1]  # row 19 the least popular, row 0 the most
    counts = np.zeros(20, np.int64)
    counts[[19, 18, 0]] = [1, 2, 7]
    assert decile_shares(counts, popularity) == [0.3, *[0.0] * 8, 0.7]


def ranking(place: float, top: list[int], bits: float = 2.0, seconds: float = 0.0) -> Ranking:
    return Ranking(place, np.array(top, np.int64), bits, seconds)


def state(user: str, at: int, sequence: int) -> pb.StateVector:
    return pb.StateVector(user_id=user, product_id="p", kind=pb.EVENT_KIND_VIEW, event_time_ms=at, sequence=sequence)


def recorded() -> JudgedEvents:
    """Two policies; ann asks twice on one day, bob once at noon."""
    record = JudgedEvents(["a", "b"], 9)
    events = [
        (state("ann", DAY, 1), 0, Outcome.JUDGED, [ranking(1, [0, 1]), ranking(3, [1, 2, 0])], 0),
        (state("ann", DAY, 2), 2, Outcome.JUDGED, [ranking(INF, [1, 3]), ranking(2, [1, 2])], 0),
        (state("bob", DAY + DAY_MS // 2, 3), -1, Outcome.UNKNOWN, [ranking(INF, [1]), ranking(INF, [3])], 1),
    ]
    for event, row, outcome, rankings, question in events:
        record.note(event, Judgement(outcome, tuple(rankings), question=question, user_events=2 * question), row)
        record.applied(row if row >= 0 else 4)
    record.note(state("ann", DAY, 4), Judgement(Outcome.MASKED), 0)
    record.applied(0)
    return record


def test_what_is_kept_of_each_event() -> None:
    record = recorded()
    assert (record.size, record.unknown, record.not_judged, record.users) == (3, 1, {"masked": 1}, ["ann", "bob"])
    assert record.events["product"].tolist() == [0, 2, 4], "what was unknown has its row once it was learned"
    assert record.events["user_events"].tolist() == [0, 0, 2]
    assert record.events["product_events"].tolist() == [0, 0, 0]
    assert record.product_events.tolist() == [2, 0, 1, 0, 1]
    answers = record.answers("b")
    assert answers.place.tolist() == [3, 2, INF]
    # Product 2 was the second of what was answered when ann's day began.
    assert [of_event.tolist() for of_event in answers.in_set] == [[False, True, True, True]] * 2 + [[False] * 4]
    assert answers.recommended.tolist() == [1, 2, 2, 1, 0]
    assert answers.covered[0].tolist() == [False, True, False, True, False]
    assert record.answers("a").in_set[1].tolist() == [False] * 4, "3 was answered later, and 2 never"


def test_figures_of_a_run() -> None:
    record = recorded()
    answers = {name: [record.answers(name)] for name in record.policies}
    figures = figures_of(record, answers, baselines=["b"], promoted=[1], seed=3, draws=50)
    assert (figures.judged, figures.questions, figures.best_baseline) == (3, 2, "b")
    assert figures.policies["a"]["ndcg@10"].mean == pytest.approx(1 / 3)
    assert figures.policies["b"]["ndcg@10"].mean == pytest.approx((1 / 2 + 1 / math.log2(3)) / 3)
    assert figures.policies["b"]["recall@10"].mean == pytest.approx((2 / 2 + 0 / 1) / 2)
    assert figures.policies["a"]["novelty"].mean == 2.0
    assert set(figures.differences) == {"a"}
    assert figures.differences["a"].mean == pytest.approx(1 / 3 - (1 / 2 + 1 / math.log2(3)) / 3)
    assert figures.catalogue["b"].coverage["coverage@1"] == pytest.approx(2 / 5)
    assert figures.catalogue["b"].promoted == pytest.approx(2 / 6)
    assert figures.slice_events["cold users"] == 3
    assert "warm users" not in figures.slices
    assert figures.slices["new users"]["a"]["hr@10"].mean == pytest.approx(1 / 2)
    assert figures.slices["lapsed users"]["a"]["hr@10"].mean == 0.0, "bob, who had two events long ago"
    assert sum(figures.consumed) == pytest.approx(1.0)


def test_what_the_network_adds_is_the_policy_beside_itself_without() -> None:
    record = recorded()
    a, b = [record.answers("a")], [record.answers("b")]

    def network(answers: dict[str, list[Answers]]) -> Difference | None:
        return figures_of(record, answers, baselines=["other"], promoted=[], seed=3, draws=50).network

    added = network({"other": a, "mixture": a, "freshet": b})
    assert added is not None
    assert added.mean == pytest.approx((1 / 2 + 1 / math.log2(3)) / 3 - 1 / 3)
    assert added.low <= added.mean <= added.high
    assert network({"other": a, "freshet": b}) is None
    assert network({"mixture": a, "other": b}) is None


def test_the_mean_over_runs_with_other_seeds() -> None:
    first, second = recorded(), recorded()
    one, other = first.answers("a"), second.answers("b")
    figures = figures_of(first, {"a": [one, other]}, baselines=[], promoted=[], seed=3, draws=10)
    assert figures.policies["a"]["hr@1"].mean == pytest.approx((1 / 3 + 0 / 3) / 2)
    assert figures.differences == {}


def test_experts_beside_the_policy_that_mixes_them_and_its_regret() -> None:
    """Twenty events of two users. "next" is right on the first eight and "sessions" on the last ten; the mixture from
    the fifth on.
    """
    record = JudgedEvents(["mix", "other"], 20, mixing="mix")
    for n in range(20):
        alone = tuple(
            1.0 if (name, n < 8) == ("next", True) or (name, n >= 10) == ("sessions", True) else INF
            for name in SINGLE_EXPERTS
        )
        rankings = (ranking(1.0 if n >= 4 else INF, [0]), ranking(INF, [0]))
        judgement = Judgement(Outcome.JUDGED, rankings, alone, question=n)
        record.note(state(("ann", "bob")[n % 2], START_MS + n, n), judgement, 0)
        record.applied(0)
    answers = {name: [record.answers(name)] for name in record.policies}
    figures = figures_of(record, answers, baselines=["other"], promoted=[], seed=3, draws=50)
    experts = figures.experts
    assert experts is not None
    assert (experts.mixing, experts.best) == ("mix", "sessions")
    assert set(experts.estimates) == set(SINGLE_EXPERTS)
    means = {name: estimate.mean for name, estimate in experts.estimates.items() if estimate.mean}
    assert means == {"next": pytest.approx(8 / 20), "sessions": pytest.approx(10 / 20)}
    assert experts.differences["sessions"].mean == pytest.approx(16 / 20 - 10 / 20), "above 0: the mixture is ahead"
    assert experts.differences["sessions"].low <= experts.differences["sessions"].mean
    assert [regret.events for regret in experts.regrets] == list(range(2, 21, 2))
    assert [regret.best for regret in experts.regrets] == ["next"] * 9 + ["sessions"]
    regrets = [regret.regret for regret in experts.regrets]
    assert regrets[0] == 1.0, "above 0: an expert is ahead"
    assert regrets[4] == pytest.approx(8 / 10 - 6 / 10)
    assert regrets[5] == pytest.approx(8 / 12 - 8 / 12)
    assert regrets[-1] == pytest.approx(10 / 20 - 16 / 20)


def test_experts_stand_beside_no_policy_that_does_not_mix_them() -> None:
    record = recorded()
    assert record.experts.shape == (0, len(SINGLE_EXPERTS))
    figures = figures_of(record, {"a": [record.answers("a")]}, baselines=[], promoted=[], seed=3, draws=10)
    assert figures.experts is None


def test_slices_by_what_was_known_before() -> None:
    events = {
        "user_events": np.array([0, 4, 5]),
        "product_events": np.array([5, 0, 9]),
        "user_class": np.array([0, 1, 3], np.uint8),
    }
    parts = {name: part.tolist() for name, part in slices(events).items()}
    assert parts["cold users"] == [True, True, False]
    assert parts["warm products"] == [True, False, True]
    assert parts["lapsed users"] == [False, False, True]
    assert parts["0-event products"] == [False, True, False]


def test_speed_is_told_in_quantiles_and_events_a_second() -> None:
    record = JudgedEvents(["a"], 4)
    for seconds in (0.001, 0.002, 0.003):
        judgement = Judgement(Outcome.JUDGED, (ranking(1, [0], seconds=seconds),), question=0)
        record.note(state("u", START_MS, 1), judgement, 0)
    speed = speed_of([record.answers("a")], updates=10, seconds=4.0)
    assert speed.rank_p50_ms == pytest.approx(2.0)
    assert speed.updates_per_second == 2.5


def test_an_interval_is_as_wide_as_theory_has_it() -> None:
    """Of 400 users with one event each: mean ± 1.96 deviations over the root of n, to the accuracy of so many draws."""
    rng = np.random.default_rng(1)
    values = rng.normal(5.0, 2.0, (400, 1))
    interval = Means(np.arange(400, dtype=np.int32), values, rng, draws=4000).estimate(0)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        interval = Means(np.arange(60, dtype=np.int32), rng.normal(size=(60, 1)), rng, draws=300).estimate(0)
        held += interval.low <= 0.0 <= interval.high
    assert 0.88 <= held / 200 <= 0.99


def test_events_of_one_user_are_one_piece_of_evidence() -> None:
    """The same event a hundred times makes nobody surer."""
    users, values = np.arange(50, dtype=np.int32), np.random.default_rng(3).normal(size=(50, 1))
    once = Means(users, values, np.random.default_rng(4), draws=500).estimate(0)
    often = Means(np.repeat(users, 100), np.repeat(values, 100, axis=0), np.random.default_rng(4), draws=500).estimate(
        0
    )
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_two_policies_are_compared_user_by_user() -> None:
    rng = np.random.default_rng(5)
    hard = rng.normal(0.0, 10.0, 300)  # how hard a user is to please matters far more than the policy
    values = np.stack([hard, hard + 0.5, hard], axis=1)
    means = Means(np.arange(300, dtype=np.int32), values, rng, draws=1000)
    above = means.difference(1, 0)
    assert (above.mean, above.low, above.high) == pytest.approx((0.5, 0.5, 0.5))
    assert above.p == pytest.approx(2 / 1001)
    assert means.estimate(0).high - means.estimate(0).low > 1.0, "which would hide it, were draws not paired"
    same = means.difference(2, 0)
    assert (same.mean, same.p) == (0.0, 1.0)


def test_several_comparisons_are_corrected_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_of_nothing_there_is_no_figure() -> None:
    interval = Means(np.zeros(0, np.int32), np.zeros((0, 1)), np.random.default_rng(0), draws=10).estimate(0)
    assert all(math.isnan(value) for value in (interval.mean, interval.low, interval.high))


def test_the_ks_are_those_that_are_reported() -> None:
    assert KS == (1, 5, 10, 20)
