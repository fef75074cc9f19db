"""Decayed counts, held to sums worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.records import DAY_MS
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.state.histories import UNCOUNTED_KINDS
from shared.state.tally import SMOOTHING, Tally

REVIEW = pb.EVENT_KIND_REVIEW
START = 1_300_000_000_000


def test_an_event_halves_with_the_half_life() -> None:
    trending = Tally(10 * DAY_MS)
    trending.add(0, REVIEW, START)
    trending.add(1, REVIEW, START + 10 * DAY_MS)
    assert trending.scores().tolist() == pytest.approx([1 / 3, 2 / 3])
    trending.add(2, REVIEW, START + 20 * DAY_MS)
    assert trending.scores().tolist() == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    trending.add(0, REVIEW, START + 20 * DAY_MS)
    assert trending.scores().tolist() == pytest.approx([5 / 11, 2 / 11, 4 / 11])


def test_a_late_event_counts_as_old_as_it_is() -> None:
    trending = Tally(10 * DAY_MS)
    trending.add(0, REVIEW, START)
    trending.add(1, REVIEW, START - 10 * DAY_MS)
    assert trending.scores().tolist() == pytest.approx([2 / 3, 1 / 3])
    trending.add(1, REVIEW, 1)  # forty years late: no weight, no underflow
    assert trending.scores().tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize("kind", sorted(UNCOUNTED_KINDS))
def test_what_is_no_sign_of_popularity_only_gives_a_place(kind: int) -> None:
    trending = Tally(1.0)
    trending.add(2, kind, START)
    assert trending.scores().tolist() == [0.0, 0.0, 0.0]
    assert trending.base_ms == 0
    trending.add(1, pb.EVENT_KIND_VIEW, START)
    assert trending.scores().tolist() == [0.0, 1.0, 0.0]


def test_log_popularity_is_finite_and_sums_to_one() -> None:
    trending = Tally(DAY_MS)
    trending.add(0, REVIEW, START)
    trending.add(3, pb.EVENT_KIND_DISLIKE, START)
    shares = np.exp(trending.log_popularity())
    assert shares.tolist() == pytest.approx([1 - SMOOTHING + SMOOTHING / 4, *[SMOOTHING / 4] * 3])
    assert trending.log_popularity().dtype == np.float32


def test_before_any_event_there_is_nothing_to_rank() -> None:
    trending = Tally(DAY_MS)
    assert trending.scores().tolist() == []
    assert trending.log_popularity().tolist() == []


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(0, 500)),  # product, half-lives since the start
        min_size=1,
        max_size=30,
    )
)
def test_scaling_the_weights_back_changes_no_share(events: list[tuple[int, float]]) -> None:
    half_life = DAY_MS
    trending = Tally(half_life, products=1)
    events = sorted(events, key=lambda event: event[1])
    for product, at in events:
        trending.add(product, REVIEW, START + int(at * half_life))
    newest = START + int(events[-1][1] * half_life)
    expected = np.zeros(trending.size)
    for product, at in events:
        expected[product] += 2.0 ** ((START + int(at * half_life) - newest) / half_life)
    assert trending.scores().tolist() == pytest.approx((expected / expected.sum()).tolist(), abs=1e-6)
    assert np.log2(trending.to_array().max()) <= REBASE_EXPONENT + 6


def test_after_a_silence_of_ages_only_the_new_counts() -> None:
    trending = Tally(1.0)
    trending.add(0, REVIEW, START)
    trending.add(1, REVIEW, START + 10**12)
    assert trending.scores().tolist() == [0.0, 1.0]


def test_what_was_kept_counts_on() -> None:
    whole = Tally(DAY_MS)
    for n in range(50):
        whole.add(n % 7, REVIEW, START + n * 5 * DAY_MS)
        if n == 20:
            kept = Trending.from_array(whole.to_array(), whole.base_ms, DAY_MS)
        elif n > 20:
            kept.add(n % 7, REVIEW, START + n * 5 * DAY_MS)
    assert kept.scores().tolist() == whole.scores().tolist()
    assert (kept.base_ms, kept.size) == (whole.base_ms, whole.size)


def test_products_without_events_get_a_place_and_no_count() -> None:
    trending = Tally(1000.0, products=2)
    trending.add(0, pb.EVENT_KIND_VIEW, 5)
    trending.grow_to(5)
    trending.grow_to(3)
    assert trending.scores().tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
