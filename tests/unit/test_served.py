"""Learned products first, the others by trending."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.history import EVENT_FEATURES, Window
from shared.policies.blend import blend, served_scores
from shared.policies.trending import Trending

INF = float("inf")


def array(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_the_unscored_follow_the_lowest_scored_one_by_trending() -> None:
    found = blend(array(0.5, -INF, 3.0), array(0.1, 0.2, 0.3, 0.2, 0.9))
    assert found.tolist() == [0.5, -2.0, 3.0, -2.0, -1.0]


def test_without_anything_learned_trending_decides() -> None:
    trending = array(0.1, 0.3)
    found = blend(None, trending)
    assert found.tolist() == trending.tolist()
    found[0] = -INF
    assert trending[0] == np.float32(0.1)  # the caller's own is left alone
    assert blend(array(-INF), trending).tolist() == [-2.0, -1.0]
    assert blend(array(), array()).tolist() == []


def test_small_shares_far_below_large_scores_stay_apart() -> None:
    found = blend(array(-50_000.0), array(0.5, 1e-7, 2e-7, 3e-7))
    assert list(np.argsort(-found)) == [0, 3, 2, 1]
    assert len(set(found.tolist())) == 4


@given(
    st.lists(st.one_of(st.just(-INF), st.floats(-1e4, 1e4, width=32)), max_size=12),
    st.lists(st.floats(-30, 0, width=32), max_size=8),
)
def test_no_order_is_turned_around(learned: list[float], more: list[float]) -> None:
    trending = array(*[-1.0 * (n % 5) for n in range(len(learned))], *more)
    found = blend(array(*learned), trending)
    scored = [n for n, value in enumerate(learned) if value > -INF]
    others = [n for n in range(len(trending)) if n not in scored]
    assert np.isfinite(found).all()
    assert all(found[n] == np.float32(learned[n]) for n in scored)
    assert all(found[s] > found[o] for s in scored for o in others)
    assert all((found[a] > found[b]) == (trending[a] > trending[b]) for a in others for b in others)


class TwoProducts:
    """Knows products 0 and 2 of three."""

    def scores(self, window: Window, log_popularity: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        assert log_popularity is None
        return array(0.0, -INF, 10.0)


def window(length: int) -> Window:
    return Window(
        np.zeros((1, 3), np.int32), np.zeros((1, 3, len(EVENT_FEATURES)), np.float32), np.array([length], np.int32)
    )


def test_what_is_learned_adds_to_popularity_as_it_stands_now() -> None:
    trending = Trending(1000.0)
    for product in (0, 0, 1, 1, 1, 2, 3):
        trending.add(product, 1, 5)
    popularity = trending.log_popularity()
    found = served_scores(TwoProducts(), window(1), trending)
    assert found[[0, 2]].tolist() == [popularity[0], np.float32(popularity[2] + np.float32(10.0))]
    assert list(np.argsort(-found)) == [2, 0, 1, 3]  # 1 and 3 are unknown to the version; 1 is more popular


@pytest.mark.parametrize("asked", [None, window(0)])
def test_a_user_of_whom_nothing_is_known_gets_what_is_popular(asked: Window | None) -> None:
    trending = Trending(1000.0)
    trending.add(0, 1, 5)
    trending.add(2, 1, 5)
    assert served_scores(TwoProducts(), asked, trending).tolist() == trending.log_popularity().tolist()


def test_rows_that_popularity_does_not_have_are_a_mistake_of_the_caller() -> None:
    trending = Trending(1000.0)
    trending.add(0, 1, 5)
    with pytest.raises(ValueError, match="popularity has 1 rows, the version 3"):
        served_scores(TwoProducts(), window(1), trending)
