"""Logarithm and exponential in compiled loops, beside those of double precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.numeric.compiled import ReadOnlyVector, Vector, compiled
from shared.numeric.elementary import LEAST_POWER, exp_of, log_of

LEAST_NORMAL = float(np.finfo(np.float32).tiny)


@compiled
def logs(numbers: ReadOnlyVector[np.float32], out: Vector[np.float32]) -> None:
    for n in range(len(numbers)):
        out[n] = log_of(numbers[n])


@compiled
def powers(numbers: ReadOnlyVector[np.float32], out: Vector[np.float32]) -> None:
    for n in range(len(numbers)):
        out[n] = exp_of(numbers[n])


@given(st.lists(st.floats(LEAST_NORMAL, 2.0**100, width=32), min_size=1, max_size=70))
def test_a_logarithm_is_off_by_one_unit_in_the_last_place_at_most(numbers: list[float]) -> None:
    given_, out = np.array(numbers, np.float32), np.empty(len(numbers), np.float32)
    logs(given_, out)
    exact = np.log(given_.astype(np.float64))
    # Near 1 the logarithm is near 0, and what is left of a sum of larger terms counts.
    assert (np.abs(out - exact) <= np.maximum(np.spacing(np.abs(exact).astype(np.float32)), 2.0**-25)).all()


@given(st.lists(st.floats(-200.0, 88.0, width=32), min_size=1, max_size=70))
def test_a_power_is_off_by_one_unit_in_the_last_place_at_most(numbers: list[float]) -> None:
    given_, out = np.array(numbers, np.float32), np.empty(len(numbers), np.float32)
    powers(given_, out)
    exact = np.exp(np.maximum(given_, LEAST_POWER).astype(np.float64))
    assert (np.abs(out / exact - 1.0) <= 2.0**-23).all()


def test_one_and_nothing_are_exact() -> None:
    assert log_of(np.float32(1.0)) == 0.0
    assert exp_of(np.float32(0.0)) == 1.0
    assert exp_of(np.float32(-np.inf)) == pytest.approx(np.exp(float(LEAST_POWER)))
