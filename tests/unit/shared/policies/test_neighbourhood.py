"""Item-item policies: numbers worked out by hand, and what is not fitted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse

from shared.model import ranking
from shared.model.served import served_scores
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.policies.fitted import neighbourhood
from shared.policies.fitted.at_fixed_points import strongest, user_products
from shared.policies.fitted.neighbourhood import EasePolicy, ItemKnnPolicy, cosines
from shared.policies.registry import make
from shared.process.errors import Unusable
from shared.state.histories import Window
from shared.state.shop import StreamSettings
from shared.state.stream import Stream
from tests.support.states import review

# Users by products: 0 and 1 were chosen together twice, 2 and 3 once; 1 alone once more, 3 twice more.
CHOSEN = sparse.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]], np.float32))


def dense(rows: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    matrix = np.zeros((len(rows), len(rows)))
    for row, (beside, value) in enumerate(rows):
        matrix[row, beside] = value
    return matrix


def test_cosines_are_those_worked_out_by_hand() -> None:
    """Norms: √2, √3, 1, √3."""
    computed = dense(list(cosines(CHOSEN, shrink=0.5)))
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 2 / (math.sqrt(6) + 0.5)
    expected[1, 3] = expected[3, 1] = 1 / (3 + 0.5)
    expected[2, 3] = expected[3, 2] = 1 / (math.sqrt(3) + 0.5)
    np.testing.assert_allclose(computed, expected, rtol=1e-6)


def test_ease_weights_are_those_worked_out_by_hand() -> None:
    """Of two products alone, B_ab = Σ x_a·x_b / (Σ x_a² + λ): what a predicts of b."""
    pairs = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], np.float32)
    computed = neighbourhood.weights(sparse.csr_matrix(pairs), 2.0)
    expected = np.zeros((4, 4))
    expected[0, 1], expected[1, 0] = 2 / (2 + 2), 2 / (3 + 2)
    expected[2, 3], expected[3, 2] = 1 / (1 + 2), 1 / (2 + 2)
    np.testing.assert_allclose(computed, expected, atol=1e-6)


def test_ease_is_the_constrained_least_squares_it_claims_to_be() -> None:
    """Each product regressed on all others by ridge gives its column."""
    x = np.asarray(CHOSEN.todense(), np.float64)
    computed = neighbourhood.weights(CHOSEN, 1.5)
    for product in range(4):
        others = [other for other in range(4) if other != product]
        solved = np.linalg.solve(x[:, others].T @ x[:, others] + 1.5 * np.eye(3), x[:, others].T @ x[:, product])
        np.testing.assert_allclose(computed[others, product], solved, atol=1e-5)
    assert not computed.diagonal().any()


def test_the_largest_values_above_0_are_kept_by_product() -> None:
    beside = np.array([3, 5, 7, 9], np.int32)
    kept = strongest([(beside, np.array([0.2, -1.0, 0.4, 0.3], np.float32)), (beside[:0], np.zeros(0))], 2)
    assert kept.starts.tolist() == [0, 2, 2]
    assert kept.products.tolist() == [7, 9]
    assert kept.values.tolist() == pytest.approx([0.4, 0.3])


def test_a_choice_counts_once_however_often_it_was_made() -> None:
    matrix = user_products([np.array([2, 0, 2], np.int32), np.array([1], np.int32)], 4)
    assert matrix.todense().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0]]


def ranked(policy_name: str, events: list[pb.StateVector], user: str, count: int) -> str:
    """Products recommended to a user once all events are learned and fitted, best first."""
    stream = Stream(StreamSettings(history_length=8))
    policy = make(policy_name, stream, 7)
    for event in events:
        policy.learn(stream.apply(event))
    policy.refit()
    row = stream.histories.row(user)
    assert row is not None
    values = served_scores(policy, stream.histories.window(row), stream.known)
    ranking.mask(values, stream.histories.masked(row))
    return "".join(stream.products[product] for product in ranking.top_k(values, count))


@pytest.mark.parametrize("name", ["itemknn", "ease"])
def test_what_goes_with_the_newest_product_leads_and_what_is_popular_follows(name: str) -> None:
    shopping = [(f"user{n}", product) for n in range(12) for product in ("ab" if n % 2 else "cd")]
    shopping += [(f"fan{n}", product) for n in range(9) for product in "xy"] + [("late", "c"), ("late", "a")]
    events = [review(user, product, day) for day, (user, product) in enumerate(shopping)]
    assert ranked(name, events, "late", 4) == "bdyx"


@pytest.mark.parametrize("name", ["itemknn", "ease"])
def test_neither_guests_nor_returns_count(name: str) -> None:
    events = [review(f"user{n}", product, n) for n in range(4) for product in "ab"]
    events += [review("", product, 5) for _ in range(9) for product in "ac"]
    for n in range(9):
        returned = review(f"other{n}", "c", 6)
        returned.kind = pb.EVENT_KIND_RETURN
        events += [review(f"other{n}", "a", 6), returned]
    stream = Stream(StreamSettings())
    policy = make(name, stream, 7)
    for event in events:
        policy.learn(stream.apply(event))
    policy.refit()
    a, b, c = (stream.rows[product] for product in "abc")
    shares = policy.related(
        Window(np.array([[a]], np.int32), np.zeros((1, 1, 11), np.float32), np.array([1], np.int32))
    )
    assert shares[b] > 0
    assert shares[c] == 0


@pytest.mark.parametrize("cls", [ItemKnnPolicy, EasePolicy])
def test_before_it_is_fitted_it_ranks_as_trending_and_what_came_later_says_nothing(
    cls: type[ItemKnnPolicy | EasePolicy],
) -> None:
    stream = Stream(StreamSettings(history_length=4))
    policy = cls(stream, 7)
    for day, product in enumerate("abcab"):
        policy.learn(stream.apply(review("user", product, day)))
    window = stream.histories.window(0)
    popular = ranking.top_k(stream.known.shares(), 3)
    assert ranking.top_k(served_scores(policy, window, stream.known), 3).tolist() == popular.tolist()
    policy.refit()
    before = policy.related(window)
    assert before.any()
    policy.learn(stream.apply(review("user", "new", 9)))
    window = stream.histories.window(0)
    assert len(served_scores(policy, window, stream.known)) == 4
    assert policy.related(window).max() < before.max(), "the new product takes the newest place and is beside nothing"


def test_ease_says_how_many_products_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbourhood, "MOST_PRODUCTS", 2)
    stream = Stream(StreamSettings())
    policy = EasePolicy(stream, 7)
    for product in "abc":
        policy.learn(stream.apply(review("user", product, 1)))
    with pytest.raises(Unusable, match="memory: 3 products, at most 2"):
        policy.refit()
