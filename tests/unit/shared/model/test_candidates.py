"""What an action network reads of candidates, what it says of them, and how they are put in order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from shared.log.records import DAY_MS
from shared.model.candidates import (
    CANDIDATES,
    FEATURES,
    HEADS,
    NONE_RANKED,
    F,
    Ranker,
    centre,
    describe,
    outputs,
    rerank,
)
from shared.model.mixture import CONTEXTS, DEFAULT, EXPERTS, mix
from shared.model.ranking import top_k
from shared.state.histories import Histories, Window
from shared.state.known import Known
from tests.support.versions import action_network, judged
from tests.unit.shared.model.test_mixture import (
    COUNTS,
    FOLLOWING,
    MINUTE_MS,
    NEAR,
    NOON_MS,
    POPULAR,
    ROWS,
    TINY,
    WEIGHTS,
    event,
    known_of,
    looked_at,
)

FloatArray = NDArray[np.float32]
NOTHING_LESS = 1 - 7 / 3  # of what has less than e^-7 of the best candidate's share
BOTH = np.array([0.7, 0.4], np.float32)


def named(known: Known, window: Window | None, rows: NDArray[np.int64] = ROWS, weights: FloatArray = WEIGHTS) -> Any:
    """Each feature of some products, by name."""
    return dict(zip(FEATURES, describe(known, window, weights, rows).features.tolist(), strict=True))


def beside_best(shares: ArrayLike) -> Any:
    """A third of log(share / best share) and 1 more."""
    shares = np.asarray(shares)
    with np.errstate(divide="ignore"):
        return pytest.approx(np.maximum(np.log(shares / shares.max()) / 3 + 1, NOTHING_LESS).tolist(), abs=1e-5)


def test_what_each_expert_says_stands_beside_the_best_candidate() -> None:
    known = known_of(*TINY)
    features = named(known, looked_at(known, "p0"))
    for name in ("trending", "popular_6h", "popular_48h", "popular_336h", "popular_1440h"):
        assert features[name] == beside_best(POPULAR), "all came at once"
    assert features["next"] == beside_best(FOLLOWING)
    assert features["together"] == beside_best(NEAR)
    assert features["itself"] == beside_best([1, 0, 0])
    assert features["sessions"] == beside_best(COUNTS)
    assert features["last_next"] == beside_best([0, 1, 1])
    assert features["last_together"] == beside_best([0, 1, 1])
    assert features["seen_next"] == pytest.approx([0, math.log(2) / 4, math.log(2) / 4]), "once each"
    assert features["seen_together"] == features["seen_next"]
    whole = 0.5 * POPULAR + 0.2 * FOLLOWING + 0.15 * NEAR + [0.05, 0.0, 0.0] + 0.1 * COUNTS
    assert features["mixture"] == beside_best(whole)
    assert describe(known, looked_at(known, "p0"), WEIGHTS, ROWS).mixture == pytest.approx(whole)


def test_an_expert_without_weight_still_speaks_and_counts_nothing_in_the_mixture() -> None:
    known = known_of(*TINY)
    only = np.zeros((CONTEXTS, EXPERTS), np.float32)
    only[:, 0] = 1.0  # trending
    found = describe(known, looked_at(known, "p0"), only, ROWS)
    features = dict(zip(FEATURES, found.features.tolist(), strict=True))
    assert features["next"] == beside_best(FOLLOWING)
    assert features["together"] == beside_best(NEAR)
    assert features["sessions"] == beside_best(COUNTS)
    assert found.mixture == pytest.approx(POPULAR)


def test_what_the_user_did_with_a_candidate_and_how_long_ago() -> None:
    """p0, a day later p1, two days later p0 again, two hours ago."""
    known, histories = known_of(*TINY), Histories(8, frozenset())
    for product, days, reward in ((0, 0, 0.2), (1, 1, 0.6), (0, 3, 0.4)):
        row = histories.apply(event("u", f"p{product}", NOON_MS + days * DAY_MS, reward=reward), product)
    features = named(known, histories.window(row, now_ms=NOON_MS + 3 * DAY_MS + 120 * MINUTE_MS))
    of_p0, of_others = np.log(3 * np.array([2, 1]) / 4 + 0.05)  # how many times as popular as the mean
    minutes = {"p0": 120, "p1": 120 + 2 * 24 * 60}
    expected = {
        "times": [math.log1p(2), math.log1p(1), 0],
        "had": [1, 1, 0],
        "lag_short": [1, math.exp(-1 / 2), 0],
        "lag_long": [1, math.exp(-1 / 8), 0],
        "since": [math.log1p(minutes["p0"]) / 10, math.log1p(minutes["p1"]) / 10, 0],
        "events": [math.log1p(3) / 3] * 3,
        "pause": [math.log1p(120) / 10] * 3,
        "newcomer": [0] * 3,
        "mood": [0.4] * 3,
        "last_reward": [0.4] * 3,
        "taste": [(2 * of_p0 + of_others) / 3 / 3] * 3,
        "distance": [(of_p0 - of_others) / 9, *[-2 * (of_p0 - of_others) / 9] * 2],
    }
    for name, values in expected.items():
        assert features[name] == pytest.approx(values, abs=1e-5), name


def test_of_a_newcomer_popularity_alone_is_told() -> None:
    known = known_of(*TINY)
    features = named(known, None)
    assert features["trending"] == features["popular_48h"] == beside_best(POPULAR)
    for name in ("next", "together", "itself", "sessions", "last_next", "last_together"):
        assert features[name] == [1.0] * 3, "all are as good as the best"
    assert features["newcomer"] == [1.0] * 3
    of_history = (
        "times", "had", "lag_short", "lag_long", "since", "events", "pause", "seen_next", "seen_together", "taste",
        "distance", "mood", "last_reward",
    )  # fmt: skip
    assert all(features[name] == [0.0] * 3 for name in of_history)


def test_what_a_product_was_worth_to_all_others() -> None:
    known = known_of(
        event("a", "p0", reward=0.5),
        event("b", "p0", reward=0.25),
        event("", "p1", reward=1.0),  # a guest's event tells it, too
        event("a", "p2", reward=-1.0),  # and one that disappointed
    )
    known.products.row_of("listed")
    known.shares()
    assert named(known, None, np.arange(4))["worth"] == pytest.approx([0.75 / 5, 1.0 / 4, -1.0 / 4, 0.0], abs=1e-4)


SHOPS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=25)


@settings(deadline=None, max_examples=40)
@given(SHOPS, st.integers(0, 2**20), st.booleans())
def test_the_mixture_is_what_the_first_stage_mixes_whatever_the_weights_and_the_order(
    shopping: list[tuple[str, int, int]], seed: int, guest: bool
) -> None:
    known = known_of(*(event(user, f"p{p}", NOON_MS + n * DAY_MS // 3) for n, (user, p, _) in enumerate(shopping)))
    rng = np.random.default_rng(seed)
    weights = (rng.random((CONTEXTS, EXPERTS)) * (rng.random((CONTEXTS, EXPERTS)) < 0.7)).astype(np.float32)
    weights[:, 1] += 0.01
    window = None if guest else known.histories.window(0, now_ms=NOON_MS + 50 * DAY_MS)
    rows = rng.permutation(known.tally.size)
    found = describe(known, window, weights, rows)
    assert found.mixture == pytest.approx(mix(known, window, weights, known.tally.size)[rows], rel=1e-4)
    again = describe(known, window, weights, rows[::-1].copy())
    assert np.array_equal(again.features[:, ::-1], found.features)
    assert np.array_equal(again.mixture[::-1], found.mixture)


@pytest.mark.parametrize("hidden", [1, 8, 13, 32])
@pytest.mark.parametrize("count", [1, 5, CANDIDATES])
def test_the_compiled_network_says_what_torch_says(hidden: int, count: int) -> None:
    network = action_network(hidden, seed=hidden)
    features = np.random.default_rng(count).uniform(-1.5, 1.5, (count, F)).astype(np.float32)
    expected = judged(network, features)
    assert np.ptp(expected) > 0.0
    assert np.allclose(outputs(network.compiled(), features.T.copy()), expected, rtol=1e-4, atol=1e-5)


def test_nor_do_numbers_out_of_all_bounds_end_in_none() -> None:
    network = action_network(8)
    features = np.full((2, F), 1000.0, np.float32)
    features[1] *= -1
    said = outputs(network.compiled(), features.T.copy())
    assert np.allclose(said, judged(network, features), rtol=1e-3)


@given(st.integers(0, 2**20), st.integers(2, CANDIDATES))
def test_the_heads_leave_the_candidates_together_where_they_are(seed: int, count: int) -> None:
    """The choice head keeps their probability, the value head's mean advantage is 0."""
    rng = np.random.default_rng(seed)
    mixture = rng.dirichlet(np.ones(count)).astype(np.float32) * np.float32(0.6) + np.float32(1e-6)
    adds = rng.normal(0, 3, (2, count)).astype(np.float32)
    chosen, valued = adds.astype(np.float64) * BOTH[:, None]
    centre(mixture, BOTH, adds)
    assert mixture @ np.exp(adds[0]) == pytest.approx(mixture.sum(), rel=1e-3)
    assert mixture @ adds[1] == pytest.approx(0.0, abs=1e-4)
    assert np.diff(adds[0]) == pytest.approx(np.diff(chosen), abs=1e-4), "differences are the heads' own"
    assert np.diff(adds[1]) == pytest.approx(np.diff(valued), abs=1e-4)


def large_shop() -> tuple[Known, Window]:
    """Half as many products again as are put in order, and somebody who had the first three."""
    products = CANDIDATES * 3 // 2
    events = [event(f"u{n % 7}", f"p{n * n % products}", NOON_MS + n * MINUTE_MS) for n in range(300)]
    known = known_of(*(event("everybody", f"p{n}") for n in range(products)), *events)
    return known, looked_at(known, "p0", "p1", "p2", since_ms=3 * MINUTE_MS)


def test_the_best_candidates_are_put_in_order_and_all_else_stays_where_it_was() -> None:
    known, window = large_shop()
    shares = mix(known, window, DEFAULT, known.tally.size)
    values = np.log(shares)
    masked = top_k(values, 5)[::2]
    values[masked] = -np.inf
    before = values.copy()
    reranked = rerank(Ranker(action_network(8).compiled(), BOTH), known, window, DEFAULT, values)
    candidates = top_k(before, CANDIDATES)
    assert reranked.rows.tolist() == candidates.tolist()
    others = np.setdiff1d(np.arange(len(values)), candidates)
    assert values[others].tolist() == before[others].tolist()
    assert np.all(values[masked] == -np.inf)
    assert values[candidates] == pytest.approx(before[candidates] + reranked.adds.sum(axis=0), abs=1e-5)
    assert top_k(values, 20).tolist() != candidates[:20].tolist(), "they are in another order"
    p = shares[candidates]
    assert p @ np.exp(reranked.adds[0]) == pytest.approx(p.sum(), rel=1e-3)
    assert p @ reranked.adds[1] == pytest.approx(0.0, abs=1e-5)
    assert reranked.adds.std(axis=1).min() > 0.01, "both heads speak"


def test_a_weight_of_nothing_silences_its_head() -> None:
    known, window = large_shop()
    for head in range(len(HEADS)):
        weights = np.where(np.arange(len(HEADS)) == head, BOTH, 0.0).astype(np.float32)
        values = np.log(mix(known, window, DEFAULT, known.tally.size))
        adds = rerank(Ranker(action_network(8).compiled(), weights), known, window, DEFAULT, values).adds
        assert adds[head].any()
        assert np.allclose(adds[1 - head], 0.0, atol=1e-6)


@pytest.mark.parametrize("without", ["ranker", "mixture", "weights", "candidates"])
def test_without_anything_to_go_by_nothing_is_put_in_order(without: str) -> None:
    known, window = large_shop()
    ranker = Ranker(action_network(8).compiled(), BOTH * (without != "weights"))
    values = np.log(mix(known, window, DEFAULT, known.tally.size))
    if without == "candidates":  # one is in order
        values[1:] = -np.inf
    before = values.copy()
    reranked = rerank(
        None if without == "ranker" else ranker, known, window, None if without == "mixture" else DEFAULT, values
    )
    assert reranked is NONE_RANKED
    assert values.tolist() == before.tolist()
