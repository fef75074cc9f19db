"""Counting what is bought with what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.model.neighbours import Related
from shared.policies import counts
from shared.policies.counts import SHRINK, Cooccurrence, Relation

NEXT = Relation("next", 0.5, both_ways=False)
TOGETHER = Relation("together", 0.5, both_ways=True)
SHORT = Relation("short", 0.7, both_ways=True, window=2, with_itself=True, reading_decay=0.6, last=2)


def rows(*products: int) -> NDArray[np.int32]:
    return np.array(products, np.int32)


def test_a_pair_counts_less_the_more_lies_between() -> None:
    counted = Cooccurrence(NEXT)
    counted.add(rows(3, 1, 2), 0)  # 2 → 0 counts 1, 1 → 0 counts 0.5, 3 → 0 counts 0.25
    assert counted.share(rows(2), 0) == pytest.approx(1 / (1 + SHRINK))
    assert counted.share(rows(1), 0) == pytest.approx(0.5 / (0.5 + SHRINK))
    assert counted.share(rows(0), 2) == 0.0, "one way only"
    assert counted.share(rows(9, 2), 0) == pytest.approx(2 / 3 * 1 / (1 + SHRINK)), "9 is unknown and keeps its weight"
    assert counted.share(rows(), 0) == 0.0


def test_both_ways_counts_the_later_product_too_and_nothing_goes_with_itself() -> None:
    counted = Cooccurrence(TOGETHER)
    counted.add(rows(1, 0, 2), 0)
    assert counted.share(rows(0), 2) == pytest.approx(1 / (1 + 0.25 + SHRINK))
    assert counted.share(rows(2), 0) == pytest.approx(1 / (1 + SHRINK))
    assert counted.share(rows(0), 0) == 0.0


def test_a_relation_says_how_far_it_counts_and_reads_and_whether_a_product_may_follow_itself() -> None:
    counted = Cooccurrence(SHORT)
    counted.add(rows(3, 0, 2), 0)  # 2 → 0 and 0 → 2 count 1, 0 → 0 counts 0.7
    assert counted.share(rows(0), 0) == pytest.approx(0.7 / (1.7 + SHRINK))
    assert counted.share(rows(3), 0) == 0.0
    assert counted.share(rows(2, 0, 9), 2) == pytest.approx(0.6 / 1.6 * 1 / (1.7 + SHRINK)), "the last two are read"


def test_only_the_newest_of_a_long_history_are_paired() -> None:
    counted = Cooccurrence(Relation("all", 1.0, both_ways=False))
    counted.add(rows(*range(1, 14)), 0)
    assert [product for product in range(1, 14) if counted.share(rows(product), 0)] == list(range(4, 14))


def test_the_rarest_neighbours_go_and_the_totals_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "KEPT", 2)
    counted = Cooccurrence(NEXT)
    for product, times in ((1, 3), (2, 1), (3, 2), (4, 1), (5, 1)):
        for _ in range(times):
            counted.add(rows(0), product)
    assert [p for p in range(6) if counted.share(rows(0), p)] == [1, 3]
    assert counted.share(rows(0), 1) == pytest.approx(3 / (8 + SHRINK))


@given(st.lists(st.tuples(st.lists(st.integers(0, 5), max_size=4), st.integers(0, 5)), max_size=20))
def test_what_is_published_and_what_is_restored_say_the_same(events: list[tuple[list[int], int]]) -> None:
    for relation in (NEXT, TOGETHER, SHORT):
        counted = Cooccurrence(relation)
        for history, action in events:
            counted.add(rows(*history), action)
        restored = Cooccurrence(relation)
        restored.restore(counted.to_arrays())
        again, first = restored.to_arrays(), counted.to_arrays()
        assert all((again[name] == first[name]).all() for name in first)
        history = rows(5, 0, 3)
        published = counted.neighbours(7)
        assert published.starts.shape == (8,)
        related = Related([(relation.part(1.0).weights, published)], 7)
        sums = related.shares(related.beside(history))
        assert sums.tolist() == pytest.approx([counted.share(history, product) for product in range(7)])
        assert counted.shares(history, 7).tolist() == pytest.approx(sums.tolist())
        assert sums.sum() <= 1.0
