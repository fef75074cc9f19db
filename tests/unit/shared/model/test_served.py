"""Popularity and what a version has learned beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.model.served import served_scores
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.tally import Tally

INF = float("inf")


def array(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


class TwoProducts:
    """Knows products 0 and 2 of three."""

    mixture = None
    ranker = None
    popularity_weight = 1.0

    def related(self, window: Window) -> NDArray[np.float32]:
        assert window.lengths[0] > 0
        return array(0.0, 0.0, 0.0)

    def scores(self, window: Window) -> NDArray[np.float32]:
        assert window.lengths[0] > 0
        return array(0.0, -INF, 10.0)


def window(length: int) -> Window:
    return Window(
        np.zeros((1, 3), np.int32), np.zeros((1, 3, len(EVENT_FEATURES)), np.float32), np.array([length], np.int32)
    )


class AnyScores:
    """A version that scores as it is told."""

    mixture = None
    ranker = None

    def __init__(self, *values: float, popularity_weight: float = 1.0, related: Sequence[float] = ()) -> None:
        self.popularity_weight = popularity_weight
        self._values = array(*values)
        self._related = array(*(related or [0.0] * len(values)))

    def related(self, window: Window) -> NDArray[np.float32]:
        assert window.lengths[0] > 0
        return self._related

    def scores(self, window: Window) -> NDArray[np.float32]:
        assert window.lengths[0] > 0
        return self._values.copy()


def counted(*products: int) -> Tally:
    trending = Tally(1000.0)
    for product in products:
        trending.add(product, 1, 5)
    return trending


def test_what_is_learned_adds_to_popularity_as_it_stands_now_and_the_unknown_are_average() -> None:
    trending = counted(0, 0, 1, 1, 1, 2, 3)
    popularity = trending.log_popularity()
    shares = np.exp(popularity)
    mean = 10.0 * shares[2] / (shares[0] + shares[2])  # of what was learned of 0 and 2
    scores_ = served_scores(TwoProducts(), window(1), trending)
    expected = popularity + array(0.0, mean, 10.0, mean)
    np.testing.assert_allclose(scores_, expected, rtol=1e-5)


def test_popularity_and_what_follows_are_mixed_as_shares() -> None:
    trending = counted(0, 0, 1, 1, 1, 2, 3)
    popularity = np.exp(trending.log_popularity())
    version = AnyScores(0.0, 0.0, 0.0, popularity_weight=0.4, related=[0.5, 0.0, 0.1])
    mixed = np.exp(served_scores(version, window(1), trending))
    np.testing.assert_allclose(mixed, 0.4 * popularity + [0.5, 0.0, 0.1, 0.0], rtol=1e-5)


def test_without_a_mixture_what_is_learned_is_all_and_the_unknown_are_average_by_popularity() -> None:
    trending = counted(0, 0, 1, 2, 3)
    scores_ = served_scores(AnyScores(6.0, -2.0, -INF, popularity_weight=0.0), window(1), trending)
    shares = np.exp(trending.log_popularity())
    mean = (6.0 * shares[0] - 2.0 * shares[1]) / (shares[0] + shares[1])
    np.testing.assert_allclose(scores_, array(6.0, -2.0, mean, mean), rtol=1e-5)


def test_the_average_of_what_is_learned_is_weighted_by_the_mixture() -> None:
    trending = counted(0, 1, 2)
    version = AnyScores(6.0, 0.0, -INF, popularity_weight=0.5, related=[0.5, 0.0, 0.0])
    mixed = 0.5 * np.exp(trending.log_popularity()) + [0.5, 0.0, 0.0]
    scores_ = served_scores(version, window(1), trending)
    mean = 6.0 * mixed[0] / (mixed[0] + mixed[1])
    np.testing.assert_allclose(scores_, np.log(mixed) + array(6.0, 0.0, mean), rtol=1e-5)


def test_popularity_itself_is_left_alone() -> None:
    trending = counted(0, 1)
    popularity = trending.log_popularity()
    for version in (None, TwoProducts()):
        served_scores(version, window(1), counted(0, 1, 2))[:] = -INF
    assert trending.log_popularity().tolist() == popularity.tolist()


@given(
    st.lists(st.sampled_from([0.0, -INF]), min_size=1, max_size=8),
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
)
def test_a_version_that_has_learned_nothing_ranks_as_popularity_does(learned: list[float], products: list[int]) -> None:
    trending = counted(*products, 9)
    assert served_scores(AnyScores(*learned), window(1), trending) == pytest.approx(trending.log_popularity(), rel=1e-6)


@given(st.lists(st.one_of(st.just(-INF), st.floats(-100, 100, width=32)), min_size=1, max_size=8))
def test_known_products_keep_what_was_learned_and_the_unknown_keep_their_order(learned: list[float]) -> None:
    trending = counted(*range(10), 9, 9, 8)
    popularity = trending.log_popularity()
    scores_ = served_scores(AnyScores(*learned), window(1), trending)
    assert np.isfinite(scores_).all()
    known = [n for n, value in enumerate(learned) if value > -INF]
    np.testing.assert_allclose(scores_[known], popularity[known] + array(*(learned[n] for n in known)), atol=1e-4)
    unknown = [n for n in range(10) if n not in known]
    offsets = (scores_ - popularity)[unknown]
    assert np.ptp(offsets) < 1e-4
    if known:
        assert min(learned[n] for n in known) - 1e-3 <= offsets.mean() <= max(learned[n] for n in known) + 1e-3


@pytest.mark.parametrize("history", [None, window(0)])
def test_a_user_of_whom_nothing_is_known_gets_what_is_popular(history: Window | None) -> None:
    trending = counted(0, 2)
    assert served_scores(TwoProducts(), history, trending).tolist() == trending.log_popularity().tolist()


def test_rows_that_popularity_does_not_have_are_a_mistake_of_the_caller() -> None:
    trending = counted(0)
    with pytest.raises(ValueError, match="popularity has 1 rows, the version 3"):
        served_scores(TwoProducts(), window(1), trending)
