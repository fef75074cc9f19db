"""Random numbers by counting: each user has a stream, so that a thousand together draw what each draws alone.

A draw is a hash of (seed of the user, how many came before, what it is for), by splitmix64's finaliser (Steele, Lea &
Flood, OOPSLA 2014). There is no state to advance but a number per user.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53


def uniform(seeds: NDArray[np.uint64], counts: NDArray[np.uint64], first: int, draws: int) -> NDArray[np.float64]:
    """Draws in [0, 1) per user: (N, draws).

    Args:
        seeds: (N,) of each user.
        counts: (N,) the moment, a number of its own for each.
        first: the purpose; a moment's purposes `first` … `first + draws - 1` must not be asked for twice.
    """
    moment = _mixed(_mixed(seeds + _GOLDEN) + (counts + np.uint64(1)) * _GOLDEN)  # (N,)
    purposes = np.arange(first + 1, first + draws + 1, dtype=np.uint64) * _GOLDEN  # (draws,)
    return np.asarray((_mixed(moment[:, None] + purposes) >> np.uint64(11)) * _TO_UNIT, np.float64)


def normal(uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard normal numbers from twice as many uniform ones, (N, 2 D) → (N, D), by Box & Muller 1958."""
    half = uniforms.shape[1] // 2
    radius = np.sqrt(-2.0 * np.log1p(-uniforms[:, :half]))
    result: NDArray[np.float64] = radius * np.cos(2.0 * math.pi * uniforms[:, half:])
    return result


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))
