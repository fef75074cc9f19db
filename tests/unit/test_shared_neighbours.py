"""Sparse shares of what follows what, summed over a history."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.neighbours import Neighbours, recency_weights


def sparse(matrix: NDArray[np.float32]) -> Neighbours:
    rows, columns = np.nonzero(matrix)
    starts = np.concatenate([[0], np.cumsum((matrix > 0).sum(axis=1))])
    return Neighbours(starts.astype(np.int32), columns.astype(np.int32), matrix[rows, columns])


MATRIX = np.array([[0, 0.5, 0.25], [0, 0, 0], [1.0, 0, 0]], np.float32)


def test_the_newest_of_a_history_weighs_most() -> None:
    assert recency_weights(3, 0.5).tolist() == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    assert recency_weights(0, 0.5).tolist() == []
    found = sparse(MATRIX).shares(np.array([2, 0], np.int32), 0.5, 3)
    assert found.tolist() == pytest.approx([1.0 / 3, 0.5 * 2 / 3, 0.25 * 2 / 3])


def test_products_without_a_row_keep_their_weight_and_say_nothing() -> None:
    known = sparse(MATRIX).shares(np.array([2, -1], np.int32), 0.5, 3)
    assert known.tolist() == pytest.approx([1.0 / 3, 0.0, 0.0])
    for nothing in ([], [-1], [1], [1, 1]):
        assert sparse(MATRIX).shares(np.array(nothing, np.int32), 0.5, 4).tolist() == [0.0] * 4


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.7]), min_size=5, max_size=5), min_size=5, max_size=5),
    st.lists(st.integers(-1, 4), max_size=9),
    st.floats(0.1, 1.0),
)
def test_sparse_shares_are_the_dense_product(rows: list[list[float]], history: list[int], decay: float) -> None:
    matrix = np.array(rows, np.float32)
    weights = recency_weights(len(history), decay)
    expected = sum((w * matrix[row] for w, row in zip(weights, history, strict=True) if row >= 0), np.zeros(5))
    found = sparse(matrix).shares(np.array(history, np.int32), decay, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
