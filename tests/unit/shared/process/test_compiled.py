"""What all compiled functions have in common, by a few small ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.process.compiled import compiled


@compiled
def ratio_of_sums(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    over, under = 0.0, 0.0
    for i in range(left.size):
        over += left[i]
        under += right[i]
    return over / under


def test_a_compiled_function_gives_bit_for_bit_what_python_gives() -> None:
    rng = np.random.default_rng(7)
    for size in range(1, 70):  # longer than any vector register: sums must not be reordered to fill one
        left = rng.lognormal(0.0, 9.0, size)
        right = rng.lognormal(0.0, 9.0, size)
        assert ratio_of_sums(left, right) == ratio_of_sums.py_func(left, right)


def test_what_is_divided_by_0_is_as_in_numpy() -> None:
    nothing = np.zeros(1)
    assert ratio_of_sums(np.ones(1), nothing) == np.inf
    assert np.isnan(ratio_of_sums(nothing, nothing))
