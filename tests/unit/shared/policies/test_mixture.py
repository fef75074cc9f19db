"""Learning how much popularity and each relation say, and beside which event of a history."""

from __future__ import annotations

import numpy as np
import pytest
from shared.policies.freshet.mixture import Mixture


def test_the_mixture_moves_to_the_part_that_tells_the_truth() -> None:
    mixture = Mixture(2, length=3)
    assert mixture.popularity == pytest.approx(0.8)
    assert mixture.lags.sum(axis=1).tolist() == pytest.approx([0.1, 0.1])
    assert mixture.lags[0, 1] == pytest.approx(Mixture.FIRST_DECAY * mixture.lags[0, 0])
    for _ in range(3000):
        mixture.note(0.01, np.array([[0.0, 0.2, 0.0], [0.0, 0.0, 0.0]]))
    assert mixture.lags[0, 1] > 0.8
    assert mixture.popularity + mixture.lags.sum() == pytest.approx(1.0)
    for _ in range(8000):
        mixture.note(0.1, np.array([[0.0, 0.001, 0.0], [0.0, 0.0, 0.0]]))
    assert mixture.popularity > 0.9, "what was long ago is forgotten"


def test_one_event_is_shared_out_by_how_probable_each_part_held_it() -> None:
    mixture = Mixture(1, length=1)
    mixture.note(0.1, np.array([[0.4]]))  # 0.8 · 0.1 and 0.2 · 0.4: a half each
    kept = 1 - 1 / Mixture.MEMORY
    held = np.array([40 * kept + 0.5, 10 * kept + 0.5])
    assert [mixture.popularity, *mixture.lags[0]] == pytest.approx((held / held.sum()).tolist())
    before = mixture.to_array()
    mixture.note(0.0, np.array([[0.0]]))  # nobody held it possible: nothing is learned
    assert mixture.to_array().tolist() == before.tolist()
    other = Mixture(1, length=1)
    other.restore(before)
    assert other.popularity == mixture.popularity


def test_a_short_history_says_nothing_of_what_longer_ones_hold() -> None:
    mixture = Mixture(2, length=4)
    beyond = mixture.lags[:, 1:].copy()
    for _ in range(2000):
        mixture.note(0.1, np.array([[0.4], [0.0]]))
    assert mixture.lags[:, 1:] == pytest.approx(beyond)
    assert mixture.lags[0, 0] > 10 * mixture.lags[1, 0]
