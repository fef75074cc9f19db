"""How the popularity of the last days differs from the popularity that is served, which halves slowly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.policies.freshet.mixture import Mixture
from shared.policies.stream import Seen
from shared.policies.trending import Trending
from shared.times import DAY_MS

HALF_LIVES_DAYS = (1.0, 7.0)  # a slower one foretells well and ranks worse: it favours what is well known


class Trend:
    """Decayed counts at several half-lives and how much each foretells, beside the stream's own."""

    def __init__(self) -> None:
        self._counts = [Trending(days * DAY_MS) for days in HALF_LIVES_DAYS]
        self._mixture = Mixture(len(HALF_LIVES_DAYS), length=1)

    def note(self, seen: Seen) -> None:
        """Learn from an event of a known product, before it is counted here, how well each foretold it."""
        shares = np.array([[counts.share(seen.product)] for counts in self._counts])
        self._mixture.note(seen.popularity, shares)

    def add(self, seen: Seen) -> None:
        """Count one event."""
        for counts in self._counts:
            counts.add(seen.product, seen.kind, seen.event_time_ms)

    def grow_to(self, products: int) -> None:
        """Give a place to every product up to `products`, with or without events."""
        for counts in self._counts:
            counts.grow_to(products)

    def scores(self, popularity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log of how much more popular each product that has a place is than what is served says, (A0,).

        Args:
            popularity: (A,) shares that are served, A0 <= A.
        """
        popularity = popularity[: self._counts[0].size]
        blend = np.float32(self._mixture.popularity) * popularity
        for counts, weight in zip(self._counts, self._mixture.lags[:, 0], strict=True):
            blend += np.float32(weight) * counts.shares()
        result: NDArray[np.float32] = np.log(blend / popularity)
        return result

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a checkpoint."""
        return {
            "mixture": self._mixture.to_array(),
            "counts": np.stack([counts.to_array() for counts in self._counts]),
            "base_ms": np.array([counts.base_ms for counts in self._counts], np.int64),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take up what `to_arrays` gave."""
        self._mixture.restore(arrays["mixture"])
        self._counts = [
            Trending.from_array(own, int(base), days * DAY_MS)
            for own, base, days in zip(arrays["counts"], arrays["base_ms"], HALF_LIVES_DAYS, strict=True)
        ]
