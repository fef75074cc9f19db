"""How much popularity and each relation between products say, learned from every event just before it is counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.policies.cooccurrence import RELATIONS

# What is mixed, in the order of the weights.
PARTS = ("popularity", *(relation.name for relation in RELATIONS))


class Mixture:
    """How much popularity and each relation say, learned from every event just before it is counted.

    Online expectation-maximisation of interpolation weights (Jelinek & Mercer 1980) with forgetting (Cappé & Moulines
    2009): each event shares itself out among the parts by how probable each held it.
    """

    MEMORY = 2000.0  # events after which one counts 1/e
    PRIOR = 50.0  # events that the first weights are worth
    FIRST_POPULARITY = 0.8

    def __init__(self, parts: int) -> None:
        """`parts`: relations beside popularity."""
        others = (1.0 - self.FIRST_POPULARITY) / parts if parts else 0.0
        self._held = self.PRIOR * np.array([self.FIRST_POPULARITY, *([others] * parts)])  # popularity first

    @property
    def weights(self) -> NDArray[np.float64]:
        """What popularity, first, and each relation count, (1 + R,); they sum to 1."""
        weights: NDArray[np.float64] = self._held / self._held.sum()
        return weights

    def note(self, shares: NDArray[np.float64]) -> None:
        """Learn from one event: the share that each part gave to the product really chosen, (1 + R,)."""
        held = self.weights * shares
        total = held.sum()
        if total > 0.0:
            self._held = self._held * (1.0 - 1.0 / self.MEMORY) + held / total

    def to_array(self) -> NDArray[np.float64]:
        """What a checkpoint keeps."""
        return self._held.copy()

    def restore(self, held: NDArray[np.float64]) -> None:
        """Take up what `to_array` gave."""
        self._held = held.copy()
