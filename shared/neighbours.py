"""Which products follow which: sparse item-item shares, summed over a user's recent history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Rows of a sparse (A, A) matrix, in compressed form: how often product b came with product a, as a share."""

    starts: NDArray[np.int32]  # (A + 1,) row a is entries starts[a] to starts[a + 1] of the other two
    products: NDArray[np.int32]  # (N,) row of b
    values: NDArray[np.float32]  # (N,) share of b beside a, [0, 1]

    def shares(self, history: NDArray[np.int32], decay: float, products: int) -> NDArray[np.float32]:
        """Share of every product beside a history, (A,): the mean of its rows, the newest weighing most.

        Windowed, decayed co-occurrence, as in first-order Markov chains (Rendle et al., WWW 2010) with a longer memory.

        Args:
            history: (n,) rows, oldest first; -1 for products without a row.
            decay: what an event weighs beside the one after it, (0, 1].
            products: A
        """
        weights = recency_weights(len(history), decay)
        known = history >= 0
        rows, weights = history[known], weights[known]
        starts = self.starts[rows]
        counts = self.starts[rows + 1] - starts
        total = int(counts.sum())
        if not total:
            return np.zeros(products, np.float32)
        first = np.cumsum(counts) - counts
        entries = np.arange(total) + np.repeat(starts - first, counts)  # all entries of all rows, one after the other
        added = self.values[entries] * np.repeat(weights, counts)
        return np.bincount(self.products[entries], weights=added, minlength=products).astype(np.float32)


def recency_weights(length: int, decay: float) -> NDArray[np.float64]:
    """What each event of a history counts, oldest first, (n,): decay^age, summing to 1."""
    weights = decay ** np.arange(length - 1, -1, -1, dtype=np.float64)
    return weights / weights.sum() if length else weights
