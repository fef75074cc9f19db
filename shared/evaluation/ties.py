"""Ties among the best: broken at random, never by row, since the first rows are those of the oldest products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared import ranking


def top_at_random(values: NDArray[np.float32], k: int, seed: int, serial: int) -> NDArray[np.int64]:
    """Rows of the best `k` products, best first, masked ones never; equal scores in an order drawn for this answer.

    The order follows from the seed and the answer's number alone, so one policy's ties don't depend on another's.
    """
    best = ranking.top_k(values, k)
    if not len(best):
        return best
    own = values[best]
    tied = np.flatnonzero(values >= own[-1])  # every one that ties with the last place, too
    if len(tied) == len(best) and (own[1:] < own[:-1]).all():
        return best
    drawn = _mixed(tied.astype(np.uint64), seed, serial)
    order: NDArray[np.int64] = tied[np.lexsort((drawn, -values[tied]))][:k]
    return order


def _mixed(numbers: NDArray[np.uint64], seed: int, serial: int) -> NDArray[np.uint64]:
    """A pseudo-random number for each: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    salt = np.uint64((seed * 0x9E3779B97F4A7C15 + serial * 0xD1342543DE82EF95) % 2**64)
    z = numbers * np.uint64(0x9E3779B97F4A7C15) + salt
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return result
