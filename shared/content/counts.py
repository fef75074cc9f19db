"""Events of each product, and how much its content counts beside them: the less, the more there are. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.content.settings import ContentSettings
from shared.process.arrays import grown

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]


class Counts:
    """Events by the caller's rows, up to the number at which content counts no longer.

    Attributes:
        events: of all products.
        products: with one event or more.
    """

    def __init__(self, settings: ContentSettings) -> None:
        self.events = 0
        self.products = 0
        self._most = settings.events
        self._own: IntArray = np.zeros(1024, np.int32)  # (A,)
        n = np.arange(self._most + 1)  # events of a product's own → how much content counts beside them
        faded = settings.prior / (settings.prior + n) * (1.0 - n / self._most)
        self._faded: FloatArray = faded.astype(np.float32)

    def __getitem__(self, row: int) -> int:
        return int(self._own[row]) if row < len(self._own) else 0

    def is_cold(self, row: int) -> bool:
        """Whether content counts yet."""
        return self[row] < self._most

    def add(self, row: int) -> None:
        """Count one event of a product that is cold."""
        if row >= len(self._own):
            self.grow_to(row + 1)
        self.products += not self._own[row]
        self._own[row] += 1
        self.events += 1

    def of(self, rows: NDArray[np.integer]) -> IntArray:
        """Of each of these, in the shape of `rows`, all of which it has grown to."""
        found: IntArray = self._own[rows]
        return found

    def fading(self, events: IntArray) -> FloatArray:
        """How much content counts beside so many events, in their shape: 1 with none, 0 from that number on."""
        found: FloatArray = self._faded.take(events)
        return found

    def resume(self, events: NDArray[np.integer]) -> None:
        """Take back what was counted of each product, (A,), before anything else."""
        self.grow_to(len(events))
        self._own[: len(events)] = np.minimum(events, self._most)
        self.events, self.products = int(self._own.sum()), int(np.count_nonzero(self._own))

    def grow_to(self, products: int) -> None:
        """Have room for so many."""
        self._own = grown(self._own, products)
