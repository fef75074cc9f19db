"""How much rarer new products are chosen than those beside them: all of them, and each by what it let pass. Pure.

Events of a new product are a Poisson process whose rate is a discount times what the events of those beside it call
for. Over the products the discount is gamma-distributed. Its mean is what all new products did together, and a
product's own is the posterior mean (Gelman et al., Bayesian Data Analysis, 2.6): less, the more it let pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.content.settings import ContentSettings
from shared.process.arrays import grown

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]


class Discount:
    """Learns from every event, by the caller's rows."""

    def __init__(self, settings: ContentSettings) -> None:
        self._settings = settings
        self._due: NDArray[np.float64] = np.zeros(1024)  # (A,) events of each that were due without a discount
        self._expected = 0.0  # first events of new products that were due
        self._came = 0  # and how many came
        # What an event of a product makes due, from `_starts` of its row to the next: of which products, how much.
        self._starts: NDArray[np.int64] = np.zeros(1, np.int64)
        self._rows: IntArray = np.zeros(0, np.int32)
        self._calls: NDArray[np.float64] = np.zeros(0)
        self._first: NDArray[np.float64] = np.zeros(0)  # (A0,) what it makes due of those without an event

    def listen(self, rows: IntArray, beside: IntArray, calls: FloatArray, new: NDArray[np.bool_]) -> None:
        """Know which events call for which products.

        Args:
            rows: (C,) cold products.
            beside: (C, K) products beside each.
            calls: (C, K) how much an event of one calls for the other.
            new: (C,) whether it had no event yet.
        """
        width = 1 + max(int(rows.max(initial=0)), int(beside.max(initial=0)))
        self._grow_to(width)
        flat, due = beside.ravel(), calls.ravel().astype(np.float64)
        order = np.argsort(flat)
        self._rows, self._calls = rows.repeat(beside.shape[1])[order], due[order]
        self._starts = np.searchsorted(flat[order], np.arange(width + 1))
        self._first = np.bincount(beside[new].ravel(), calls[new].ravel(), width).astype(np.float64)

    def count(self, row: int, *, is_first: bool) -> None:
        """Learn from an event just before it is counted; `is_first`: of a product that those beside it called for."""
        if row < len(self._first):
            own = slice(self._starts[row], self._starts[row + 1])
            self._due[self._rows[own]] += self._calls[own]  # a product is beside another once
            self._expected += float(self._first[row])
        self._came += is_first

    @property
    def mean(self) -> float:
        """That of a new product of which nothing is known, (0, 1]."""
        s = self._settings
        return min(1.0, (self._came + s.discount * s.discount_events) / (self._expected + s.discount_events))

    def of(self, rows: IntArray, events: IntArray) -> FloatArray:
        """Each product's own, (C,), (0, 1].

        Args:
            rows: (C,)
            events: (C,) of each.
        """
        shape = self._settings.discount_shape
        self._grow_to(1 + int(rows.max(initial=0)))
        own = (shape + events) / (shape / self.mean + self._due[rows])
        return np.minimum(own, 1.0).astype(np.float32)

    def to_arrays(self, products: int) -> dict[str, NDArray[Any]]:
        """What was learned, of the first `products` rows."""
        due = np.zeros(products)
        due[: len(self._due)] = self._due[:products]
        return {"due": due, "learned": np.array([self._expected, float(self._came)])}

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `to_arrays` gave, before anything was counted."""
        due = arrays["due"]
        self._grow_to(len(due))
        self._due[: len(due)] = due
        self._expected, self._came = float(arrays["learned"][0]), int(arrays["learned"][1])

    def _grow_to(self, products: int) -> None:
        self._due = grown(self._due, products)
