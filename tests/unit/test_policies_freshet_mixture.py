"""Learning how much popularity and each relation say."""

from __future__ import annotations

import numpy as np
import pytest

from shared.policies.freshet.mixture import Mixture


def test_the_mixture_moves_to_the_part_that_tells_the_truth() -> None:
    mixture = Mixture(2)
    assert mixture.weights.tolist() == pytest.approx([0.8, 0.1, 0.1])
    for _ in range(3000):
        mixture.note(np.array([0.01, 0.2, 0.0]))
    assert mixture.weights[1] > 0.9
    assert mixture.weights.sum() == pytest.approx(1.0)
    for _ in range(8000):
        mixture.note(np.array([0.1, 0.001, 0.0]))
    assert mixture.weights[0] > 0.9, "what was long ago is forgotten"


def test_one_event_is_shared_out_by_how_probable_each_part_held_it() -> None:
    mixture = Mixture(1)
    mixture.note(np.array([0.1, 0.4]))  # 0.8 · 0.1 and 0.2 · 0.4: a half each
    kept = 1 - 1 / Mixture.MEMORY
    held = np.array([40 * kept + 0.5, 10 * kept + 0.5])
    assert mixture.weights.tolist() == pytest.approx((held / held.sum()).tolist())
    before = mixture.to_array()
    mixture.note(np.array([0.0, 0.0]))  # nobody held it possible: nothing is learned
    assert mixture.to_array().tolist() == before.tolist()
    other = Mixture(1)
    other.restore(before)
    assert other.weights.tolist() == mixture.weights.tolist()
