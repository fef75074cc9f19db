"""Which products follow which: sparse item-item shares, summed over a user's recent history. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Rows of a sparse (A, A) matrix, in compressed form: how often product b came with product a, as a share."""

    starts: NDArray[np.int32]  # (A + 1,) row a is entries starts[a] to starts[a + 1] of the other two
    products: NDArray[np.int32]  # (N,) row of b
    values: NDArray[np.float32]  # (N,) share of b beside a, [0, 1]


class Beside(NamedTuple):
    """All products beside those of a history of n events, event by event."""

    products: NDArray[np.int32]  # (E,) rows
    values: NDArray[np.float32]  # (E,) weighted shares
    sizes: NDArray[np.int64]  # (n,) how many of them are beside each event


class Related:
    """What follows a history, by several relations at once: their rows lie side by side and are looked up together.

    Windowed, decayed co-occurrence, as in first-order Markov chains (Rendle et al., WWW 2010) with a longer memory.

    Args:
        parts: for each relation, a function from a history's length to what each of its events weighs, oldest first,
            (n,), and the relation's rows.
        products: A
    """

    def __init__(self, parts: Sequence[tuple[Callable[[int], NDArray[np.float64]], Neighbours]], products: int) -> None:
        self._weighing = [weigh for weigh, _ in parts]
        self._products = products
        self._counts = np.stack([np.diff(matrix.starts) for _, matrix in parts], axis=1)  # (A0, R)
        self._starts = np.concatenate([[0], self._counts.sum(axis=1).cumsum()])  # (A0 + 1,)
        self._rows: NDArray[np.int32] = np.empty(self._starts[-1], np.int32)
        self._values: NDArray[np.float32] = np.empty(self._starts[-1], np.float32)
        self._recency: dict[int, NDArray[np.float32]] = {}  # length of a history → (n, R)
        free = self._starts[:-1]
        for r, (_, matrix) in enumerate(parts):
            places = np.arange(len(matrix.products)) + np.repeat(free - matrix.starts[:-1], self._counts[:, r])
            self._rows[places], self._values[places] = matrix.products, matrix.values
            free = free + self._counts[:, r]

    def shares(self, beside: Beside) -> NDArray[np.float32]:
        """The weighted sum of every product's shares beside a history, (A,); the newest events weigh most."""
        return np.bincount(beside.products, beside.values, self._products).astype(np.float32)

    def by_event(self, beside: Beside, products: NDArray[np.int64]) -> NDArray[np.float32]:
        """What each event of a history adds to the shares of some products, (n, K).

        Args:
            products: (K,) rows, each once.
        """
        n, k = len(beside.sizes), len(products)
        place: NDArray[np.int32] = np.full(self._products, -1, np.int32)
        place[products] = np.arange(k, dtype=np.int32)
        places = place.take(beside.products)
        entries = np.flatnonzero(places >= 0)
        event = beside.sizes.cumsum().searchsorted(entries, side="right")
        sums = np.bincount(event * k + places.take(entries), beside.values.take(entries), n * k)
        return sums.reshape(n, k).astype(np.float32)

    def beside(self, history: NDArray[np.int32]) -> Beside:
        """Look up the products of a history.

        Args:
            history: (n,) rows, oldest first; -1 for products without a row, which keep their weight.
        """
        weights = self._weights(len(history))
        known = history >= 0
        if known.all():
            counts = self._counts[history]  # (n, R)
        else:
            counts = np.zeros(weights.shape, self._counts.dtype)
            counts[known] = self._counts[history[known]]
        sizes = counts.sum(axis=1)
        ends = sizes.cumsum()
        if not len(history) or not ends[-1]:
            return Beside(np.zeros(0, np.int32), np.zeros(0, np.float32), sizes)
        entries = np.arange(ends[-1])  # of all rows, one after the other
        entries += (self._starts[history] - ends + sizes).repeat(sizes)
        values = self._values.take(entries)
        values *= weights.repeat(counts.ravel())
        return Beside(self._rows.take(entries), values, sizes)

    def _weights(self, length: int) -> NDArray[np.float32]:
        """What each event of a history counts in each relation, (n, R)."""
        weights = self._recency.get(length)
        if weights is None:
            columns = [weigh(length) for weigh in self._weighing]
            weights = self._recency[length] = np.stack(columns, axis=1).astype(np.float32)
        return weights


def recency_weights(length: int, decay: float, last: int = 0) -> NDArray[np.float64]:
    """What each event of a history counts, oldest first, (n,): decay^age, summing to 1; 0 before the `last` ones."""
    weights = decay ** np.arange(length - 1, -1, -1, dtype=np.float64)
    if last:
        weights[:-last] = 0.0
    return weights / weights.sum() if length else weights
