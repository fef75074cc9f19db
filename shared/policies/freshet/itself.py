"""The relation of each product to itself: that users come back to what they had. Nothing is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.neighbours import Neighbours


class Itself:
    """What `shared.policies.cooccurrence.Cooccurrence` is for the others."""

    name = "itself"

    def add(self, history: NDArray[np.int32], action: int) -> None:
        """Nothing."""

    def beside(self, history: NDArray[np.int32], action: int) -> NDArray[np.float64]:
        """Share of one product beside each of a history, (n,): 1 where it is the same."""
        same: NDArray[np.float64] = (history == action).astype(np.float64)
        return same

    def summed(self, history: NDArray[np.int32], weights: NDArray[np.float64], products: int) -> NDArray[np.float32]:
        """The weights of a history's products, (A,)."""
        return np.bincount(history, weights, products).astype(np.float32)

    def neighbours(self, products: int) -> Neighbours:
        """Every product beside itself."""
        return Neighbours(
            np.arange(products + 1, dtype=np.int32), np.arange(products, dtype=np.int32), np.ones(products, np.float32)
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Nothing."""
        return {}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Nothing."""
