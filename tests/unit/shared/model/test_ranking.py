"""Ranking, held to the naive way of doing it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.model import ranking

INF = float("inf")

# Few different values, so that ties abound.
SCORES = st.lists(st.sampled_from([-INF, -2.0, 0.0, 0.5, 7.0]), max_size=80)


def array(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


@given(SCORES, st.integers(0, 64))
def test_top_k_is_a_stable_sort_cut_off(values: list[float], k: int) -> None:
    naive = sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]
    assert ranking.top_k(array(values), k).tolist() == [row for row in naive if values[row] > -INF]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200), st.integers(1, 64))
def test_top_k_of_any_numbers(values: list[float], k: int) -> None:
    top = ranking.top_k(array(values), k)
    assert len(set(top.tolist())) == min(k, len(values))
    assert array(values)[top].tolist() == sorted(values, reverse=True)[:k]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("size", "out"), [(92, 0.1), (3001, 0.1), (3001, 0.97)])
def test_many_places_among_many_equals(seed: int, size: int, out: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6 if seed % 2 else 1_000, size=size).astype(np.float32)
    values[rng.random(len(values)) < out] = -INF
    k = 33 + 3 * seed
    naive = sorted(range(len(values)), key=lambda row: (-values[row], row))[:k]
    assert ranking.top_k(values, k).tolist() == [row for row in naive if values[row] > -INF]


def test_top_k_leaves_its_input_alone() -> None:
    values = array([3.0, 1.0, 2.0])
    assert ranking.top_k(values, 2).tolist() == [0, 2]
    assert values.tolist() == [3.0, 1.0, 2.0]


def test_masked_products_are_never_recommended_nor_placed() -> None:
    values = array([5.0, 4.0, 3.0, 2.0])
    ranking.mask(values, np.array([0, 2, 0], np.int32))
    assert ranking.top_k(values, 4).tolist() == [1, 3]
    assert [ranking.rank(values, row) for row in range(4)] == [INF, 1.0, INF, 2.0]
    ranking.mask(values, np.zeros(0, np.int32))
    assert ranking.top_k(values, 4).tolist() == [1, 3]


@given(SCORES.filter(len), st.data())
def test_rank_is_the_mean_place_over_all_orders_of_the_equals(values: list[float], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(values) - 1))
    rank_ = ranking.rank(array(values), row)
    if values[row] == -INF:
        assert rank_ == INF
        return
    places = [place for place, value in enumerate(sorted(values, reverse=True), start=1) if value == values[row]]
    assert rank_ == sum(places) / len(places)


def test_ties_count_at_half() -> None:
    values = array([1.0, 2.0, 2.0, 2.0, 3.0])
    assert [ranking.rank(values, row) for row in range(5)] == [5.0, 3.0, 3.0, 3.0, 1.0]
    assert ranking.rank(array([4.0, 4.0]), 1) == 1.5


def test_hits_and_ndcg_by_hand() -> None:
    assert [ranking.hit(place, 10) for place in (1.0, 10.0, 10.5, INF)] == [1.0, 1.0, 0.0, 0.0]
    assert [ranking.ndcg(place, 3) for place in (1.0, 3.0, 4.0, INF)] == [1.0, 0.5, 0.0, 0.0]
    assert ranking.ndcg(2.0, 3) == pytest.approx(1 / math.log2(3))
    assert ranking.ndcg(2.5, 3) == pytest.approx(1 / math.log2(3.5))


def test_scores_by_hand() -> None:
    items = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], np.float32)
    computed = ranking.scores(array([3.0, -1.0]), items.T, array([0.0, 10.0, 0.5]))
    assert computed.tolist() == [3.0, 8.0, 2.5]
    assert computed.dtype == np.float32


@pytest.mark.parametrize("width", [0, 1, 8, 11, 64])
@pytest.mark.parametrize("products", [1, 5, ranking.TOGETHER, 2 * ranking.TOGETHER + 3])
def test_scores_add_up_in_the_order_of_the_query(width: int, products: int) -> None:
    rng = np.random.default_rng(width)
    query, bias = rng.normal(size=width).astype(np.float32), rng.normal(size=products).astype(np.float32)
    items = rng.normal(size=(width, products)).astype(np.float32)
    sums = bias.copy()
    for weight, item in zip(query, items, strict=True):
        sums += weight * item
    assert ranking.scores(query, items, bias).tolist() == sums.tolist()


def test_scores_that_rise_make_every_product_one_of_the_best_so_far() -> None:
    values = np.arange(3000, dtype=np.float32) // 2
    assert ranking.top_k(values, 1000).tolist() == sorted(range(3000), key=lambda row: (-values[row], row))[:1000]
