"""The order that repeats itself less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.ranking import diversified

# Two twins, and a third that is like neither.
SCORES = np.array([3.0, 2.5, 1.0], np.float32)
TWINS = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.float32)


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (0.0, [0, 1, 2]),
        (0.4, [0, 1, 2]),  # the twin: 0.6 · 0.75 - 0.4 = 0.05, the third: 0
        (0.45, [0, 2, 1]),  # the twin: 0.55 · 0.75 - 0.45 < 0
        (1.0, [0, 2, 1]),
    ],
)
def test_the_order_by_hand(strength: float, expected: list[int]) -> None:
    assert diversified(SCORES, TWINS, strength, 3).tolist() == expected
    assert diversified(SCORES, TWINS, strength, 1).tolist() == [0]


@given(st.integers(0, 12), st.integers(1, 15), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 1000))
def test_each_place_is_the_best_of_what_is_left(products: int, count: int, strength: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.integers(0, 9, products).astype(np.float32))[::-1].copy()
    likeness = rng.integers(0, 5, (products, products)).astype(np.float32) / 4
    likeness = np.minimum(likeness, likeness.T)
    before = scores.copy(), likeness.copy()
    order = diversified(scores, likeness, strength, count).tolist()
    assert (scores == before[0]).all()
    assert (likeness == before[1]).all()
    assert len(set(order)) == len(order) == min(count, products)
    span = float(np.ptp(scores)) if products else 1.0
    for place in range(len(order)):
        worth = {
            n: (1 - strength) * (float(scores[n] - scores[-1]) / (span or 1.0))
            - strength * max((float(likeness[n, m]) for m in order[:place]), default=0.0)
            for n in range(products)
            if n not in order[:place]
        }
        assert worth[order[place]] >= max(worth.values()) - 1e-5


def test_products_that_score_alike_are_told_apart_by_likeness_alone() -> None:
    assert diversified(np.full(3, 7.0, np.float32), TWINS, 0.1, 3).tolist() == [0, 2, 1]
