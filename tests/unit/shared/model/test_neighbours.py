"""Sparse shares of what follows what, summed over a history."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.model.format import NeighbourPart
from shared.model.neighbours import Neighbours, Related, recency_weights


def sparse(matrix: NDArray[np.float32]) -> Neighbours:
    rows, columns = np.nonzero(matrix)
    starts = np.concatenate([[0], np.cumsum((matrix > 0).sum(axis=1))])
    return Neighbours(starts.astype(np.int32), columns.astype(np.int32), matrix[rows, columns])


def shares(matrix: NDArray[np.float32], history: list[int], decay: float, products: int) -> NDArray[np.float32]:
    related = Related([(NeighbourPart(weight=1.0, decay=decay).weights, sparse(matrix))], products)
    return related.shares(related.beside(np.array(history, np.int32)))


MATRIX = np.array([[0, 0.5, 0.25], [0, 0, 0], [1.0, 0, 0]], np.float32)


def test_the_newest_of_a_history_weighs_most() -> None:
    assert recency_weights(3, 0.5).tolist() == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert recency_weights(0, 0.5).tolist() == []
    assert recency_weights(3, 0.5, last=2).tolist() == pytest.approx([0.0, 1 / 3, 2 / 3])
    assert recency_weights(1, 0.5, last=2).tolist() == [1.0]
    sums = shares(MATRIX, [2, 0], 0.5, 3)
    assert sums.tolist() == pytest.approx([1.0 / 3, 0.5 * 2 / 3, 0.25 * 2 / 3])


def test_a_part_says_what_each_event_counts_by_how_long_ago_it_was() -> None:
    part = NeighbourPart(weight=0.5, lags=(0.0, 0.75, 0.25))
    assert part.weights(2).tolist() == [0.375, 0.0]
    assert part.weights(4).tolist() == [0.0, 0.125, 0.375, 0.0]
    assert NeighbourPart(weight=0.5, decay=0.5, last=2).weights(3).tolist() == pytest.approx([0.0, 1 / 6, 1 / 3])


def test_products_without_a_row_keep_their_weight_and_say_nothing() -> None:
    known = shares(MATRIX, [2, -1], 0.5, 3)
    assert known.tolist() == pytest.approx([1.0 / 3, 0.0, 0.0])
    for nothing in ([], [-1], [1], [1, 1]):
        assert shares(MATRIX, nothing, 0.5, 4).tolist() == [0.0] * 4


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.7]), min_size=5, max_size=5), min_size=5, max_size=5),
    st.lists(st.integers(-1, 4), max_size=9),
    st.floats(0.1, 1.0),
)
def test_sparse_shares_are_the_dense_product(rows: list[list[float]], history: list[int], decay: float) -> None:
    matrix = np.array(rows, np.float32)
    weights = recency_weights(len(history), decay)
    expected = sum((w * matrix[row] for w, row in zip(weights, history, strict=True) if row >= 0), np.zeros(5))
    sums = shares(matrix, history, decay, 5)
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-7)


@given(st.lists(st.integers(-1, 2), max_size=9))
def test_several_relations_add_up(history: list[int]) -> None:
    other = np.array([[0.1, 0, 0], [0.2, 0, 0.7], [0, 0, 0]], np.float32)
    parts = [(NeighbourPart(weight=0.3, decay=0.5), MATRIX), (NeighbourPart(weight=0.6, decay=0.8), other)]
    both = Related([(part.weights, sparse(matrix)) for part, matrix in parts], 3)
    expected = 0.3 * shares(MATRIX, history, 0.5, 3) + 0.6 * shares(other, history, 0.8, 3)
    sums = both.shares(both.beside(np.array(history, np.int32)))
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-7)
