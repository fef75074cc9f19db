"""Factors of products: folding in by hand, and tastes that must be found."""

from __future__ import annotations

import random

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from scipy import sparse

from shared.model import ranking
from shared.model.served import served_scores
from shared.policies.fitted.encoder import fold_in, to_onnx, whitened
from shared.policies.fitted.factors import users_from_products
from shared.policies.registry import make
from shared.state.histories import EVENT_FEATURES
from shared.state.shop import StreamSettings
from shared.state.stream import Stream
from tests.support.states import review

SMALL = {"ials": {"factors": 8}, "bpr": {"factors": 8, "iterations": 60}, "itemknn": {}, "ease": {}}


def vectors(count: int, dimension: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(0, 0.4, (count, dimension)).astype(np.float32)


def test_folding_in_solves_the_weighted_least_squares_of_the_paper() -> None:
    """(YᵀCY + λI) x = YᵀC p, with c = 10 for the three products of the history and 1 for the others."""
    items, history = vectors(30), [3, 7, 20]
    weights = np.ones(30)
    weights[history] = 10.0
    wanted = np.zeros(30)
    wanted[history] = 1.0
    expected = np.linalg.solve(items.T @ (weights[:, None] * items) + 2.0 * np.eye(6), items.T @ (weights * wanted))
    inner = whitened(items, 2.0)
    np.testing.assert_allclose(inner @ fold_in(inner[history], 10.0), items @ expected, rtol=1e-4, atol=1e-5)


def test_whitened_items_have_the_identity_for_their_gram_matrix() -> None:
    """Lᵀ(YᵀY + λI)L = I, so that YᵀY alone is short of it by λLᵀL."""
    items = vectors(30)
    inner = whitened(items, 0.001)
    np.testing.assert_allclose(inner.T @ inner, np.eye(6), atol=1e-3)


@pytest.mark.parametrize("steps", [1, 8])
def test_the_encoder_is_the_folding_in(steps: int) -> None:
    history = vectors(4)
    session = onnxruntime.InferenceSession(to_onnx(6, 10.0, steps), providers=["CPUExecutionProvider"])
    padded = np.concatenate([history, np.zeros((3, 6), np.float32)])[None]
    features = np.zeros((1, 7, len(EVENT_FEATURES)), np.float32)
    inputs = {"products": padded, "features": features, "lengths": np.array([4], np.int32)}
    (queries,) = session.run(None, inputs)
    np.testing.assert_allclose(queries[0, 0], fold_in(history, 10.0, steps), rtol=1e-4, atol=1e-5)
    (nothing,) = session.run(None, inputs | {"products": np.zeros_like(padded), "lengths": np.array([0], np.int32)})
    assert not nothing.any()


def test_a_map_from_products_to_users_is_found_where_there_is_one() -> None:
    items = vectors(40)
    rng = np.random.default_rng(1)
    chosen = sparse.csr_matrix((rng.random((4000, 40)) < 0.1).astype(np.float32))
    counts = np.maximum(1.0, np.asarray(chosen.sum(axis=1)))
    true_map, true_offset = 3.0 * vectors(6), vectors(1)[0]
    users = ((chosen @ items) / counts @ true_map + true_offset).astype(np.float32)
    fitted_map, offset = users_from_products(chosen, items, users)
    np.testing.assert_allclose(fitted_map, true_map, atol=0.05)
    np.testing.assert_allclose(offset, true_offset, atol=0.05)


@pytest.mark.parametrize("name", ["itemknn", "ease", "ials", "bpr"])
def test_two_tastes_are_told_apart_also_of_users_who_came_after_the_fit(name: str) -> None:
    """Half of the users choose among products a0 to a9, half among b0 to b9."""
    rng = random.Random(3)
    stream = Stream(StreamSettings(history_length=8))
    policy = make(name, stream, 7, **SMALL[name])
    for user in range(60):
        for day, product in enumerate(rng.sample(range(10), 6)):
            policy.learn(stream.apply(review(f"user{user}", f"{'ab'[user % 2]}{product}", day)))
    policy.refit()
    for taste in "ab":
        for product in (1, 4, 8):
            policy.learn(stream.apply(review(f"new {taste}", f"{taste}{product}", 99)))
        row = stream.histories.row(f"new {taste}")
        assert row is not None
        values = served_scores(policy, stream.histories.window(row), stream.known)
        ranking.mask(values, stream.histories.masked(row))
        products = [stream.products[best] for best in ranking.top_k(values, 7)]
        assert {product[0] for product in products} == {taste}


@pytest.mark.parametrize("name", ["ials", "bpr"])
def test_before_it_is_fitted_it_ranks_as_trending_and_what_came_later_is_average(name: str) -> None:
    stream = Stream(StreamSettings(history_length=4, masked_kinds=""))
    policy = make(name, stream, 7, **SMALL[name])
    policy.refit()  # on nothing
    for day, product in enumerate("abcab"):
        policy.learn(stream.apply(review(f"user{day % 2}", product, day)))
    window = stream.histories.window(0)
    popular = ranking.top_k(stream.known.shares(), 3)
    assert ranking.top_k(served_scores(policy, window, stream.known), 3).tolist() == popular.tolist()
    policy.refit()
    policy.learn(stream.apply(review("user0", "new", 9)))
    values = served_scores(policy, stream.histories.window(0), stream.known)
    assert len(policy.scores(window)) == 3
    assert values[:3].min() <= values[3] <= values[:3].max()
