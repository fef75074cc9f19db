"""The order that repeats itself less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.ranking import Traits, diversified, likeness


def traits(tags: object = (), weights: object = (), vectors: object = ((),)) -> Traits:
    """Of products with these tags, and of vectors, the last of which is that of all other products."""
    directions = np.array(vectors, np.float32)
    lengths = np.linalg.norm(directions, axis=1)
    per_length = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0.0)
    return Traits(np.array(tags, np.int32), np.array(weights, np.float32), directions, per_length)


# Two twins, and a third that is like neither.
SCORES = np.array([3.0, 2.5, 1.0], np.float32)
TWINS = traits([[0], [0], [1]], [[1.0], [1.0], [1.0]])
ROWS = np.arange(3)


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
    assert diversified(SCORES, ROWS, TWINS, strength, 3).tolist() == expected
    assert diversified(SCORES, ROWS, TWINS, strength, 1).tolist() == [0]


def random_traits(products: int, rng: np.random.Generator) -> Traits:
    """With up to three tags each, and vectors of all but the last few products."""
    tags = np.full((products, 3), -1)
    for row in range(products):
        count = rng.integers(0, 4)
        tags[row, :count] = rng.choice(5, count, replace=False)
    weights = rng.random((products, 3)) * (tags >= 0)
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    vectors = rng.normal(size=(1 + rng.integers(products + 1), 4)) * rng.integers(0, 3, (1, 1))
    vectors[-1] = 0.0
    return traits(tags, np.divide(weights, lengths, out=weights, where=lengths > 0.0), vectors)


def like(one: int, other: int, of_all: Traits) -> float:
    """The mean of the cosines of what both have, by what each is defined as."""
    cosines = []
    names = [dict(zip(of_all.tags[row].tolist(), of_all.weights[row].tolist(), strict=True)) for row in (one, other)]
    if all(set(of_row) != {-1} for of_row in names):
        cosines.append(sum(names[0][tag] * names[1][tag] for tag in set(names[0]) & set(names[1]) - {-1}))
    vectors = [of_all.vectors[min(row, len(of_all.vectors) - 1)] for row in (one, other)]
    if all(vector.any() for vector in vectors):
        cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
        cosines.append(max(0.0, float(cosine)))
    return sum(cosines) / max(1, len(cosines))


@given(st.integers(0, 12), st.integers(1, 15), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 1000))
def test_each_place_is_the_best_of_what_is_left(products: int, count: int, strength: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 9, 20).astype(np.float32)
    of_all = random_traits(20, rng)
    rows = rng.choice(20, products, replace=False)
    rows = rows[np.argsort(-values[rows], kind="stable")]
    before = values.copy(), rows.copy()
    alike = {(n, m): like(n, m, of_all) for n in rows.tolist() for m in rows.tolist()}
    for (n, m), value in zip(alike, likeness(rows, of_all).ravel().tolist(), strict=True):
        assert value == pytest.approx(alike[n, m], abs=1e-5)
    order = diversified(values, rows, of_all, strength, count).tolist()
    assert (values == before[0]).all()
    assert (rows == before[1]).all()
    assert len(set(order)) == len(order) == min(count, products)
    assert set(order) <= set(rows.tolist())
    least, span = (float(values[rows].min()), float(np.ptp(values[rows]))) if products else (0.0, 1.0)
    for place in range(len(order)):
        worth = {
            n: (1 - strength) * (float(values[n] - least) / (span or 1.0))
            - strength * max((alike[n, m] for m in order[:place]), default=0.0)
            for n in rows.tolist()
            if n not in order[:place]
        }
        assert worth[order[place]] >= max(worth.values()) - 1e-5


def test_products_that_score_alike_are_told_apart_by_likeness_alone() -> None:
    assert diversified(np.full(3, 7.0, np.float32), ROWS, TWINS, 0.1, 3).tolist() == [0, 2, 1]
