"""The smaller parts of `freshet`: transitions, replay buffer, product vectors, validation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.log.records import DAY_MS, kinds_of
from shared.model.candidates import FEATURES
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.freshet.replay_buffer import ReplayBuffer, TrajectoryStep
from shared.policies.freshet.validation import LEAST_EVENTS, UNDECIDED, Choice, Validation, shares_of
from shared.policies.freshet.vectors import DIMENSION, product_vectors
from shared.state.histories import EVENT_FEATURES, Histories
from shared.state.known import Known, KnownProducts
from shared.state.tally import Tally
from shared.state.transitions import Assembler, Continued, Transition, stack, unstack
from tests.support.states import review

F = len(EVENT_FEATURES)


def assembler(length: int = 3) -> Assembler:
    return Assembler(Histories(length, kinds_of(["review"])), session_gap_ms=30 * DAY_MS)


def applied(
    a: Assembler, state: StateVector, product: int, *, known: bool = True
) -> tuple[Transition, Continued | None]:
    """Apply one event between the assembler's two steps."""
    start = a.before(state)
    a.histories.apply(state, product)
    return a.after(start, state, product, known=known), start.continued


def a_transition(serial: int, products: list[int]) -> Transition:
    return Transition(
        serial=serial,
        products=np.array(products, np.int32),
        features=np.full((len(products), F), serial, np.float32),
        reward=serial / 100,
        discount=0.0,
        masked=np.array(products[:-1], np.int32),
        known=serial % 2 == 0,
        chosen=serial % 3 > 0,
        today=serial % 2,
    )


def test_a_transition_goes_from_the_history_before_an_event_to_the_one_after_it() -> None:
    a = assembler()
    first, continued = applied(a, review("u", "a", 0), 10, known=False)
    assert (first.products.tolist(), first.action, continued, first.masked.tolist()) == ([10], 10, None, [])
    second, continued = applied(a, review("u", "b", 5, reward=0.9), 11)
    assert (second.products.tolist(), second.reward, continued, second.masked.tolist()) == (
        [10, 11],
        0.9,
        Continued(0),
        [10],
    )
    third, continued = applied(a, review("u", "c", 99), 12)
    assert continued is None, "the pause was longer than the session gap"
    fourth, _ = applied(a, review("u", "d", 100), 13)
    fifth, _ = applied(a, review("u", "e", 101), 14)
    assert fifth.products.tolist() == [11, 12, 13, 14], "the state holds the last three events"
    assert fifth.masked.tolist() == [10, 11, 12, 13], "the mask holds all of them"
    assert [t.discount for t in (first, second, third, fourth)] == [0.0] * 4


def test_a_whole_day_is_judged_from_its_beginning() -> None:
    """Where times are whole days, the order within one says nothing; the events of a finer clock do."""
    a = assembler(length=5)
    for product, day in ((10, 0), (11, 7), (12, 7)):
        made, _ = applied(a, review("u", f"p{product}", day), product)
    assert made.products[made.judged].tolist() == [10, 11], "the start of these tests' time is no midnight"
    for product, day in ((20, 0), (21, 7), (22, 7), (23, 7)):
        state = review("v", f"p{product}", day)
        state.event_time_ms -= state.event_time_ms % DAY_MS
        made, _ = applied(a, state, product)
    assert made.products.tolist() == [20, 21, 22, 23]
    assert made.products[made.judged].tolist() == [20]
    assert made.features[made.judged].shape == (1, F)


def test_nothing_is_judged_from_what_came_after_it() -> None:
    """A late event's user is known to have gone on already."""
    a = assembler(4)
    for product, day in enumerate([1, 3, 9]):
        applied(a, review("u", f"p{product}", day), product)
    for late in (review("u", "p3", 2), review("u", "p3", 2)):
        late.event_time_ms += 5  # whole days have a rule of their own
        transition, continued = applied(a, late, 3)
        assert continued is not None
        assert len(transition.products[:-1]) >= 3, "it is learned from all that came before it in the log"
        assert len(transition.products[transition.judged]) == 0
    transition, _ = applied(a, review("u", "p4", 10), 4)
    assert len(transition.products[transition.judged]) == 4


def test_users_do_not_mix() -> None:
    a = assembler()
    applied(a, review("u", "a", 0), 1, known=False)
    other, continued = applied(a, review("v", "b", 0), 2, known=False)
    assert (other.products.tolist(), continued) == ([2], None)
    mine, continued = applied(a, review("u", "c", 1), 3, known=False)
    assert (mine.products.tolist(), continued) == ([1, 3], Continued(0))


def test_transitions_survive_being_stacked() -> None:
    given_ones = [a_transition(n, list(range(n + 1))) for n in range(4)]
    back = unstack(stack(given_ones, length=5))
    for one, other in zip(given_ones, back, strict=True):
        assert one.products.tolist() == other.products.tolist()
        assert np.array_equal(one.features, other.features)
        assert one.masked.tolist() == other.masked.tolist()
        assert (one.serial, one.reward, one.known, one.chosen) == (
            other.serial,
            other.reward,
            other.known,
            other.chosen,
        )
    assert unstack(stack([], length=5)) == []


S = 3  # candidates of a step


def a_step(serial: int, **more: object) -> TrajectoryStep:
    values = {"serial": serial, "has_action": serial % 3 > 0, "chosen": serial % 2 == 0, "reward": serial / 100} | more
    return TrajectoryStep(candidates=np.full((S, len(FEATURES)), serial / 8, np.float32), **values)  # type: ignore[arg-type]


def serials_of(candidates: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of the steps that these are of."""
    assert np.ptp(candidates, axis=(1, 2)).max() == 0.0
    return (8 * candidates[:, 0, 0]).astype(np.int64)


def test_the_buffer_keeps_the_newest_steps_and_draws_evenly_under_its_seed() -> None:
    buffer = ReplayBuffer(capacity=4, sample=S)
    for serial in range(6):
        buffer.add(a_step(serial))
    assert (len(buffer), buffer.added) == (4, 6)
    assert serials_of(buffer.newest(3)).tolist() == [3, 4, 5]
    assert serials_of(buffer.newest(99)).tolist() == [2, 3, 4, 5]
    batch = buffer.sample(4000, np.random.default_rng(1))
    serials = serials_of(batch.candidates)
    assert np.bincount(serials, minlength=6)[:2].tolist() == [0, 0]
    assert np.bincount(serials)[2:].min() > 900
    assert np.array_equal(batch.reward, (serials / 100).astype(np.float32))
    assert np.array_equal(batch.has_action, serials % 3 > 0)
    assert np.array_equal(batch.chosen, serials % 2 == 0)
    assert not batch.discount.any(), "no step is known to be followed by any"
    again = buffer.sample(4000, np.random.default_rng(1))
    assert np.array_equal(batch.candidates, again.candidates)


@pytest.mark.parametrize("restored", [False, True])
def test_a_step_is_linked_with_the_next_one_of_its_user_as_long_as_both_are_held(restored: bool) -> None:
    """Two users take turns, over two and a half times round the ring, and the second one pauses after each step."""
    buffer, followed = ReplayBuffer(capacity=4, sample=S), set()
    for serial in range(11):
        buffer.add(a_step(serial))
        if serial >= 2 and serial % 2 == 0:
            buffer.follow(serial - 2, 0.5)
            followed.add(serial - 2)
        if restored:
            kept = buffer.to_arrays()
            buffer = ReplayBuffer(capacity=4, sample=S)
            buffer.restore(kept)
        batch = buffer.sample(200, np.random.default_rng(serial))
        serials, following = serials_of(batch.candidates), serials_of(batch.next_candidates)
        assert set(serials.tolist()) == set(range(max(0, serial - 3), serial + 1))
        goes_on = np.isin(serials, [*followed])
        assert np.array_equal(batch.discount, np.where(goes_on, np.float32(0.5), np.float32(0.0)))
        assert np.array_equal(following[goes_on], serials[goes_on] + 2)


def test_a_step_that_is_gone_is_linked_with_nothing() -> None:
    buffer = ReplayBuffer(capacity=2, sample=S)
    for serial in range(3):
        buffer.add(a_step(serial))
    buffer.follow(0, 0.9)  # whose place the last one took
    buffer.follow(99, 0.9)  # never here
    batch = buffer.sample(50, np.random.default_rng(1))
    assert not batch.discount.any()
    buffer.follow(1, 0.9)
    buffer.add(a_step(3))  # in the place of the one that was followed
    buffer.add(a_step(4))
    assert not buffer.sample(50, np.random.default_rng(1)).discount.any()


def test_products_near_the_same_others_are_alike() -> None:
    """Users go from a first product to a second of the same kind; no two first ones ever come together."""
    known = Known(Histories(8, frozenset()), Tally(30.0 * DAY_MS), KnownProducts())
    rng = np.random.default_rng(1)
    for n in range(400):
        kind = "ab"[n % 2]
        for place, which in (("first", rng.integers(3)), ("second", rng.integers(20))):
            known.apply(review(f"u{n}", f"{kind} {place} {which}", n))
    known.products.row_of("listed")
    known.shares()
    vectors = product_vectors(known.tally)
    assert vectors.shape == (len(known.products), DIMENSION)
    assert np.linalg.norm(vectors, axis=1).min() == pytest.approx(1.0, abs=1e-6), "what was listed alone has its own"
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = known.products.rows

    def likeness(one: str, other: str) -> float:
        pairs = [(f"{one} {i}", f"{other} {j}") for i in range(3) for j in range(3) if (one, i) != (other, j)]
        return float(np.mean([vectors[rows[a]] @ vectors[rows[b]] for a, b in pairs]))

    assert likeness("a first", "a first") > 0.8
    assert likeness("b first", "b first") > 0.8
    assert likeness("a first", "b first") < 0.5


def test_vectors_are_what_they_were_where_nothing_happened() -> None:
    """Products that come later change nothing of the others' vectors."""
    known = Known(Histories(8, frozenset()), Tally(30.0 * DAY_MS), KnownProducts())
    for product in ("p0", "p1", "p2"):
        known.apply(review("u", product, 1))
    before = product_vectors(known.tally)
    known.apply(review("v", "p3", 2))
    assert np.array_equal(product_vectors(known.tally)[:3], before)


NO_ROWS = np.zeros(0, np.int32)


def validated(events: int, q_of_action: float, mixture_of_action: float, reward: float = 1.0) -> Choice:
    """What is chosen after events of which the choice head knows nothing and Q and the mixture as much as is said."""
    rng = np.random.default_rng(3)
    validation = Validation(size=200)
    k = 40
    for _ in range(events):
        place = int(rng.integers(0, k))
        one_hot = np.eye(k, dtype=np.float32)[place]
        heads = np.stack([rng.normal(0, 0.1, k).astype(np.float32), q_of_action * one_hot])
        mixture = np.exp(mixture_of_action * one_hot)
        validation.note(mixture, heads, place, np.exp(-one_hot), place, reward, NO_ROWS)
    return validation.choose()


def test_validation_chooses_the_weights_that_rank_what_users_were_glad_of() -> None:
    choice = validated(120, 1.0, -0.9)
    assert choice.q >= 1.0
    assert choice.value > 0.9 > choice.value_without_q
    assert choice.hit_ratio > 0.9
    assert choice.ndcg_of_mixture < 0.1
    assert choice.ndcg_of_popularity < 0.1
    assert choice.events == 120
    worse = validated(120, -1.0, 0.9)
    assert (worse.ce, worse.q, worse.ndcg) == (0.0, 0.0, 1.0)
    few = validated(LEAST_EVENTS - 1, 1.0, -0.9)
    assert (few.ce, few.q) == (0.0, 0.0), "too few to tell"
    assert validated(0, 1.0, -0.9) == UNDECIDED
    assert validated(500, 1.0, -0.9).events == 200, "the newest count"


def test_what_is_no_candidate_is_a_miss_for_every_weight() -> None:
    validation = Validation(size=2)
    mixture = np.array([0.5, 0.3, 0.2], np.float32)
    validation.note(mixture, np.ones((2, 3), np.float32), -1, np.ones(4, np.float32), 3, 1.0, NO_ROWS)
    choice = validation.choose()
    assert (choice.value, choice.ndcg, choice.hit_ratio, choice.ndcg_of_mixture) == (0.0, 0.0, 0.0, 0.0)
    assert choice.ndcg_of_popularity > 0.0


def test_popularity_that_validates_takes_no_masked_product_for_a_better_one() -> None:
    popularity = np.array([3.0, 2.0, 1.0], np.float32)
    for masked, gain in (([], 1 / np.log2(4)), ([0], 1 / np.log2(3)), ([0, 1], 1.0)):
        validation = Validation(size=2)
        mixture, heads = np.array([0.2, 0.7], np.float32), np.zeros((2, 2), np.float32)
        validation.note(mixture, heads, 1, popularity, 2, 1.0, np.array(masked, np.int32))
        assert validation.choose().ndcg == 1.0, "candidates are what may be shown"
        assert validation.choose().ndcg_of_popularity == pytest.approx(gain)


def test_the_share_of_the_score_is_that_of_the_spread() -> None:
    spreads = np.array([[1.0, 2.0, 0.25], [3.0, 0.0, 0.75]])  # 2, 1 and 0.5 in the mean
    assert shares_of(spreads, ce=0.5, q=2.0) == pytest.approx((2 / 3.5, 0.5 / 3.5, 1 / 3.5))
    assert shares_of(spreads, ce=0.0, q=0.0) == (1.0, 0.0, 0.0)
    assert shares_of(0.0 * spreads, ce=0.5, q=2.0) == (1.0, 0.0, 0.0), "nothing tells candidates apart"
    shares = validated(120, 1.0, -0.9).shares
    assert sum(shares) == pytest.approx(1.0)
    assert shares[2] > 0.5, "Q has to make up for what the mixture gets wrong"


def test_validation_goes_on_from_what_it_kept() -> None:
    values, heads = np.array([3.0, 2.0, 1.0], np.float32), np.eye(3, dtype=np.float32)[:2]
    one, other = Validation(size=3), Validation(size=3)
    for n in range(4):
        one.note(values, heads, n % 3, values, n % 3, float(n), NO_ROWS)
    other.restore(one.to_arrays())
    for validation in (one, other):
        validation.note(values, heads, 1, values, 1, 1.0, NO_ROWS)
    assert one.choose() == other.choose()
