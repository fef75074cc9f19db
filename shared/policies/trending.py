"""Decayed popularity: the fallback that always has an answer, and the baseline everybody must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.arrays import grown

# Sending a product back or asking not to see it is no sign of its popularity.
UNCOUNTED_KINDS = frozenset({pb.EVENT_KIND_TICK, pb.EVENT_KIND_RETURN, pb.EVENT_KIND_DISLIKE})

# What share of popularity is spread evenly over all products, so that a new one's log-popularity is finite.
SMOOTHING = 0.05

# Weights grow with event time instead of all counts shrinking; beyond 2^this they are scaled back.
REBASE_EXPONENT = 60.0


class Trending:
    """Counts of events per product, each event's weight halving with every `half_life_ms` of event time.

    Exponential decay as in Cormode et al., "Forward decay" (ICDE 2009): one addition per event.
    """

    def __init__(self, half_life_ms: float, products: int = 1024) -> None:
        self.half_life_ms = half_life_ms
        self.base_ms = 0
        self.size = 0
        self._weights: NDArray[np.float64] = np.zeros(products, np.float64)

    def add(self, product: int, kind: int, event_time_ms: int) -> None:
        """Count one event; the product gets a place whatever its kind."""
        if product >= self.size:
            self.grow_to(product + 1)
        if kind in UNCOUNTED_KINDS:
            return
        if not self.base_ms:
            self.base_ms = event_time_ms
        exponent = (event_time_ms - self.base_ms) / self.half_life_ms
        if exponent > REBASE_EXPONENT:
            self._weights *= 2.0 ** -min(exponent, 1000.0)
            self.base_ms = event_time_ms
            exponent = 0.0
        self._weights[product] += 2.0**exponent if exponent > -1000.0 else 0.0

    def grow_to(self, products: int) -> None:
        """Give a place to every product up to `products`, with or without events."""
        if products > len(self._weights):
            self._weights = grown(self._weights, products)
        self.size = max(self.size, products)

    def scores(self) -> NDArray[np.float32]:
        """Every product's share of the decayed count, (A,); 0 where nothing was counted."""
        weights = self._weights[: self.size]
        total = weights.sum()
        return (weights / total if total > 0 else weights).astype(np.float32)

    def share(self, product: int) -> float:
        """One product's smoothed share of the decayed count; exp of its log-popularity."""
        total = float(self._weights[: self.size].sum())
        counted = float(self._weights[product]) / total if total > 0 else 0.0
        return (1.0 - SMOOTHING) * counted + SMOOTHING / max(1, self.size)

    def shares(self) -> NDArray[np.float32]:
        """Every product's smoothed share of the decayed count, (A,), each above 0."""
        return (1.0 - SMOOTHING) * self.scores() + np.float32(SMOOTHING / max(1, self.size))

    def log_popularity(self) -> NDArray[np.float32]:
        """Log of every product's smoothed share of the decayed count, (A,): a prior to which a model's logits add."""
        result: NDArray[np.float32] = np.log(self.shares())
        return result

    def to_array(self) -> NDArray[np.float64]:
        """The weights as a checkpoint keeps them, beside `base_ms`."""
        return self._weights[: self.size].copy()

    @classmethod
    def from_array(cls, weights: NDArray[np.float64], base_ms: int, half_life_ms: float) -> Trending:
        """What `to_array` gave."""
        trending = cls(half_life_ms, max(1024, len(weights)))
        trending._weights[: len(weights)] = weights
        trending.size = len(weights)
        trending.base_ms = base_ms
        return trending
