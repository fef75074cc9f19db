"""Protocols on streams small enough to know the answer, and for every policy what none may do."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lab.runs import one_thread
from shared.evaluation import protocols
from shared.evaluation.contest import SOURCE, Contest, campaign, session_ndcg
from shared.evaluation.prequential import top_at_random
from shared.evaluation.protocols import REFITS, leave_one_out, moment_at, prequential, refit_points, split, temporal
from shared.log.records import DAY_MS
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.policies.contract import Progress
from shared.policies.freshet.settings import FreshetSettings
from shared.policies.networks.sequences import Passes
from shared.policies.registry import POLICIES
from shared.process.errors import Unusable
from shared.state.shop import StreamSettings
from shared.state.stream import Seen
from tests.support.states import START_MS, review, shoppers

SETTINGS = StreamSettings(history_length=8, masked_kinds="")
ENDLESS = StreamSettings(history_length=8, trending_half_life_days=1e9)
# Enough to have learned something of a hundred events.
ONE_PASS = Passes(most=1)
OPTIONS: dict[str, dict[str, Any]] = {
    "freshet": {"settings": FreshetSettings(hidden=8, batch=16, warmup_transitions=20, holdout_every=4)},
    "gru4rec": {"dimension": 8, "refit": ONE_PASS},
    "sasrec": {"dimension": 8, "refit": ONE_PASS},
    "markov-sasrec": {"refit": ONE_PASS, "whole": ONE_PASS},
}
INF = float("inf")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def numbered(states: Sequence[pb.StateVector]) -> list[pb.StateVector]:
    for sequence, state in enumerate(states, start=1):
        state.sequence = sequence
    return list(states)


def shopping(count: int, **more: int) -> list[pb.StateVector]:
    return numbered(list(shoppers(count, **more)))


def contest(names: Sequence[str], states: Sequence[pb.StateVector], **more: Any) -> Contest:
    return Contest(names, more.pop("settings", SETTINGS), more.pop("seed", 7), len(states), options=OPTIONS, **more)


@pytest.mark.parametrize("name", POLICIES)
def test_altering_an_event_leaves_its_own_ranking_unchanged(name: str) -> None:
    """No future in the state: what event t says is known only after t."""
    states = shopping(160, users=12, products=9)
    altered = copy.deepcopy(states)
    t = 130
    altered[t].rating, altered[t].sentiment, altered[t].reward = 1.0, -1.0, -1.0
    altered[t].price_scaled, altered[t].helpfulness_scaled = 0.9, 0.1
    altered[t].imputed.extend([pb.IMPUTED_PRICE, pb.IMPUTED_SENTIMENT])
    places = []
    for stream in (states, altered):
        run = contest([name], stream)
        for place, state in enumerate(stream[: t + 1]):
            if place in (60, 120):
                run.refit()
            if place == t:
                judgement = run.prequential.judge(state, list(run.policies.values()))
                places.append(
                    (judgement.rankings[0].place, judgement.rankings[0].top.tolist(), judgement.rankings[0].bits)
                )
            run.learn(state)
        assert not run.failures
    assert places[0] == places[1]
    assert places[0][0] < INF


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_stream_and_seed_give_the_same_places_bit_for_bit(name: str) -> None:
    def places() -> bytes:
        states = shopping(120, users=12, products=9)
        run = contest([name], states)
        for place, state in enumerate(states):
            if place in (50, 100):
                run.refit()
            run.judge(state)
            run.learn(state)
        answers = run.record.answers(name)
        assert np.isfinite(answers.place).any()
        return answers.place.tobytes() + answers.bits.tobytes() + answers.in_set.tobytes()

    assert places() == places()


def test_prequential_judges_each_event_before_it_is_learned_by_hand() -> None:
    # Popularity does not decay. What follows p0 is p1, as markov knows once it has seen it.
    bought = [("a", "p0"), ("a", "p1"), ("b", "p1"), ("b", "p0"), ("c", "p0"), ("c", "p1"), ("c", "p0")]
    states = numbered([review(user, product, day) for day, (user, product) in enumerate(bought)])
    run = contest(["trending", "markov"], states, settings=ENDLESS)
    prequential(run, states)
    # p0 and p1 unknown; p1 among p0 and p1, which tie, for the newcomer b; p0, once p1 is masked; p0 and p1 tie for
    # c; p1, with p0 masked; the last is masked itself.
    assert run.record.answers("trending").place.tolist() == [INF, INF, 1.5, 1.0, 1.5, 1.0]
    assert run.record.answers("markov").place.tolist() == [INF, INF, 1.5, 1.0, 1.5, 1.0]
    assert (run.record.unknown, run.record.not_judged, run.updates) == (2, {"masked": 1}, 7)


def test_markov_learns_what_follows_what_and_trending_does_not() -> None:
    states = shopping(600)
    run = contest(["trending", "markov"], states)
    prequential(run, states)
    hits = {name: (run.record.answers(name).place <= 5).mean() for name in run.policies}
    assert hits["markov"] > 0.5 > 0.3 > hits["trending"]


class Counting:
    """A policy that counts its calls."""

    name, fitted, popularity_weight, fit_sequences = "counting", "at fixed points", 1.0, None
    mixture = None
    ranker = None

    def __init__(self, fails_at: int = -1) -> None:
        self.learned = 0
        self.refits: list[int] = []  # events learned by then
        self.ranked: list[int] = []  # events learned at each ranking
        self.fails_at = fails_at

    def related(self, window: object) -> np.ndarray[Any, np.dtype[np.float32]]:  # noqa: ARG002
        self.ranked.append(self.learned)
        return np.zeros(0, np.float32)

    scores = related

    def learn(self, seen: Seen) -> None:  # noqa: ARG002
        self.learned += 1

    def refit(self) -> None:
        self.refits.append(self.learned)
        if self.learned == self.fails_at:
            raise Unusable("memory: too many products")


def with_policy(policy: Counting, states: Sequence[pb.StateVector]) -> Contest:
    run = contest(["trending", "repeat"], states)
    run.policies["repeat"] = policy  # type: ignore[assignment]
    return run


def test_batch_policies_are_fitted_at_20_fixed_points() -> None:
    states, policy = shopping(210), Counting()
    prequential(with_policy(policy, states), states)
    assert policy.refits == [10 * n for n in range(1, 21)]
    assert len(refit_points(50_000)) == REFITS
    assert 0 not in refit_points(5)


def test_a_policy_that_can_not_be_fitted_has_no_figures_and_stops_nobody() -> None:
    states, policy = shopping(210), Counting(fails_at=100)
    run = with_policy(policy, states)
    prequential(run, states)
    assert run.failures == {"repeat": "memory: too many products"}
    assert (policy.learned, max(policy.ranked)) == (100, 99)
    assert run.record.size == 210


def test_what_a_policy_does_before_an_event_is_applied_takes_time_and_may_fail_like_learning() -> None:
    seconds = iter(range(1_000_000))
    states = shopping(40)
    run = contest(["trending", "freshet"], states, clock=lambda: float(next(seconds)))
    for state in states[:20]:
        run.learn(state)
    assert run.learn_seconds == {"trending": 20.0, "freshet": 40.0}, "it looks at an event, then learns from it"
    policy = run.policies["freshet"]

    def fail(*_: object) -> None:
        raise Unusable("memory: too many products")

    policy.weights.note = fail  # type: ignore[attr-defined]
    for state in states[20:]:
        run.learn(state)
    assert run.failures == {"freshet": "memory: too many products"}
    assert run.updates == 40


def test_temporal_learns_before_the_moment_and_nothing_after_it() -> None:
    states, policy = shopping(200, products=30), Counting()
    run = with_policy(policy, states)
    moment_ms = moment_at(states, protocols.LEARNED_SHARE)
    temporal(run, states, moment_ms)
    before = [state for state in states if state.event_time_ms < moment_ms]
    assert policy.learned == len(before) == run.updates
    assert policy.refits == [len(before)]
    assert set(policy.ranked) == {len(before)}
    events = run.record.events
    assert events["event_time_ms"].min() >= moment_ms
    assert run.record.size == 200 - len(before)
    counted, learned = contest(["trending"], states), run.stream.tally.to_arrays()
    for state in before:
        counted.learn(state)
    expected = counted.stream.tally.to_arrays()
    assert all(np.array_equal(learned[name], expected[name]) for name in expected), "nor does the tally count on"
    # The user's own history goes on: who came back has more events before the second.
    again = [n for user in set(events["user"].tolist()) for n in np.flatnonzero(events["user"] == user)[1:].tolist()]
    assert all(events["user_events"][n] > 0 for n in again)


def test_temporal_takes_products_that_came_later_for_unknown() -> None:
    states = numbered([review("a", "p0", 1), review("b", "p1", 2), review("a", "p9", 3), review("b", "p9", 4),
                       review("a", "p1", 5)])  # fmt: skip
    settings = StreamSettings(masked_kinds="", trending_half_life_days=1e9)
    run = contest(["trending", "markov"], states, settings=settings)
    temporal(run, states, START_MS + 3 * DAY_MS)
    assert run.record.answers("markov").place.tolist() == [INF, INF, 1.5]
    assert run.stream.products == ["p0", "p1"]
    assert run.stream.histories.events(0) == 2, "of p9, which nobody knows, there is no history"


def test_split_judges_another_file_by_each_users_own_past_alone() -> None:
    learned = [("a", "p0"), ("a", "p1"), ("b", "p2"), ("b", "p2"), ("c", "p2")]
    judged = [("x", "p0"), ("y", "p0"), ("x", "p1"), ("y", "p9"), ("y", "p1"), ("b", "p0")]
    states = numbered([review(user, product, day) for day, (user, product) in enumerate(learned + judged)])
    settings = StreamSettings(masked_kinds="", trending_half_life_days=1e9)
    run = contest(["trending", "markov"], states, settings=settings)
    split(run, states, learned=len(learned))
    events = run.record.events
    assert [run.record.users[user] for user in events["user"]] == ["x", "y", "y", "b"], (
        "b came before, in what was learned"
    )
    # x after p0: p1. y: nobody knows p9; then p1 after p0, p9 left out. b: p2 follows itself, the others tie.
    assert run.record.answers("markov").place.tolist() == [1.0, INF, 1.0, 2.5]
    assert run.record.answers("trending").place.tolist() == [2.5, INF, 2.5, 2.5], "popularity stands still"
    assert (run.updates, run.users, run.stream.products) == (5, 3, ["p0", "p1", "p2"])
    # y, asked for p9: of p9 and p1, which come, p1 is first; the ideal has both.
    assert run.record.answers("markov").session_gain.tolist()[:3] == [1.0, 0.5, 1.0]


def test_all_that_a_session_still_holds_is_right_as_serenade_counts_it() -> None:
    top = np.arange(1, 21)
    assert session_ndcg(top, [3, 55, 88, 4]) == pytest.approx(0.36121211352040195), "its own test has this value"
    assert session_ndcg(top, [1]) == session_ndcg(top, [2, 1]) == 1.0, "the first two places count whole"
    assert session_ndcg(top, [1, 1, -1]) == pytest.approx(1.0 / (2.0 + 1.0 / np.log2(3.0)))
    assert session_ndcg(np.zeros(0, np.int64), [1]) == 0.0


def test_no_moment_is_cut_in_two() -> None:
    states = [review("a", "p", day) for day in (1, 1, 1, 1, 2, 2, 2, 2, 2, 3)]
    assert moment_at(states, 0.8) == START_MS + 2 * DAY_MS
    assert moment_at(states, 0.3) == START_MS + DAY_MS, "nothing is learned"


# ann's last is p2, which followed p1 for two others; bob's last is p0, which nobody chose after p1 or p2.
SEQUENCES = [
    ("ann", ["p0", "p3", "p1", "p2"]),
    ("bob", ["p3", "p1", "p2", "p0"]),
    ("cay", ["p1", "p2", "p3", "p0"]),
    ("dan", ["p1", "p2"]),
]


def test_leave_one_out_on_a_tiny_file_with_a_known_answer() -> None:
    run = contest(["trending", "markov"], SEQUENCES, settings=ENDLESS)
    leave_one_out(run, SEQUENCES, "strict")
    # Learned: p0 p3 | p3 p1 | p1 p2 | p1 p2. Of ann, after p0 p3 p1, only p2 is left. Of bob and of cay only p0 is.
    assert run.record.size == 3
    assert run.record.answers("markov").place.tolist() == [1.0, 1.0, 1.0]
    assert run.updates == 8, "two of each but dan, all of dan's"
    assert run.stream.histories.events(0) == 3, "the last but one is in the history"


def test_the_variants_differ_in_what_was_learned_alone() -> None:
    # After x came y three times, the last but one each; z and w are there to lose against. Ask for y after x.
    sequences = [(f"u{n}", ["a", "b", "x", "y"]) for n in range(3)] + [(f"v{n}", ["z", "w"]) for n in range(2)]
    places = {}
    for variant in ("strict", "all-but-last"):
        run = contest(["markov"], sequences, settings=ENDLESS)
        leave_one_out(run, sequences, variant)  # type: ignore[arg-type]  # one of them
        places[variant] = run.record.answers("markov").place.tolist()
        assert run.updates == {"strict": 3 * 2 + 4, "all-but-last": 3 * 3 + 4}[variant]
    assert places == {"strict": [INF] * 3, "all-but-last": [INF] * 3}, "y was never learned"
    longer = [*sequences, ("w", ["x", "y", "z"])]
    run = contest(["markov"], longer, settings=ENDLESS)
    leave_one_out(run, longer, "all-but-last")
    assert run.record.answers("markov").place.tolist()[:3] == [1.0] * 3


class Whole(Counting):
    """A policy that learns from whole sequences."""

    def fit_sequences(self, sequences: Any, validation: Any, on_progress: Any) -> None:  # type: ignore[override]
        self.sequences = [products.tolist() for products in sequences]
        self.validation = validation
        on_progress(Progress(1, 1, 0.0, None))


@pytest.mark.parametrize("variant", ["strict", "all-but-last"])
def test_a_policy_may_learn_from_whole_sequences(variant: Any) -> None:
    messages: list[str] = []
    run, policy = contest(["trending", "repeat"], SEQUENCES, settings=ENDLESS, tell=messages.append), Whole()
    run.policies["repeat"] = policy  # type: ignore[assignment]
    leave_one_out(run, SEQUENCES, variant)
    row = run.stream.rows
    kept = {"strict": 2, "all-but-last": 1}[variant]
    learned = [products[:-kept] for _, products in SEQUENCES[:3]] + [SEQUENCES[3][1]]
    assert policy.sequences == [[row[product] for product in products] for products in learned]
    validation = [row["p1"], row["p2"], row["p3"], -1]
    assert policy.validation == (validation if variant == "strict" else None)
    assert (policy.learned, policy.refits) == (0, [])
    assert messages == ["repeat: pass 1 of at most 1"]


def test_freshet_learns_sequences_event_by_event_as_on_a_stream_and_markov_sasrec_at_once() -> None:
    run = contest(["freshet", "markov-sasrec"], SEQUENCES, settings=ENDLESS)
    leave_one_out(run, SEQUENCES, "strict")
    assert run.learns_sequences == {"markov-sasrec"}
    assert run.policies["freshet"].gauges().buffer_size == 6, (
        "every event but two, before which fewer than two products had any"
    )
    stream = contest(["freshet"], SEQUENCES, settings=ENDLESS)
    for step in range(2):
        for user, products in SEQUENCES:
            stream.learn(protocols._state(user, products[step], step))
    kept, expected = (one.policies["freshet"].snapshot().arrays for one in (run, stream))
    assert all(np.array_equal(kept[name], expected[name]) for name in expected)


def test_spam_is_learned_from_and_never_judged() -> None:
    states = shopping(400, users=40)
    planned = campaign(states, 0.1, np.random.default_rng(3))
    reviewers = {event.user_id for _, event in planned.events}
    assert len(reviewers) == 4
    assert {event.product_id for _, event in planned.events} == set(planned.promoted)
    assert {event.rating for _, event in planned.events} == {5.0}
    early = {state.product_id for state in states[:100]}
    assert set(planned.promoted) <= early
    assert all(place >= 100 for place, _ in planned.events)
    assert all(event.event_time_ms == states[place].event_time_ms for place, event in planned.events)
    place, event = planned.events[0]
    spam = review(event.user_id, event.product_id, 0)
    spam.event_time_ms, spam.source = event.event_time_ms, SOURCE
    stream = [*states[:place], spam, *states[place:]]
    run = contest(["trending"], states)
    prequential(run, stream)
    assert (run.record.size, run.updates) == (400, 401)


def test_without_users_or_products_to_praise_there_is_no_spam() -> None:
    assert campaign([review("a", "p", 0)], 0.05, np.random.default_rng(0)).events == []


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, -np.inf]), max_size=30), st.integers(1, 40), st.integers(0, 99))
def test_ties_are_broken_by_the_answers_own_draw(values: list[float], k: int, serial: int) -> None:
    scores = np.array(values, np.float32)
    top = top_at_random(scores, k, seed=1, serial=serial)
    kept = np.sort(scores[scores > -np.inf])[::-1][:k]
    assert scores[top].tolist() == kept.tolist()
    assert len(set(top.tolist())) == len(top)
    assert top_at_random(scores, k, seed=1, serial=serial).tolist() == top.tolist()


def test_each_of_many_that_tie_comes_first_about_as_often() -> None:
    scores = np.zeros(10, np.float32)
    first = [int(top_at_random(scores, 3, seed=5, serial=serial)[0]) for serial in range(2000)]
    counts = np.bincount(first, minlength=10)
    assert counts.min() > 140
    assert counts.max() < 260
