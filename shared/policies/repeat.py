"""The policy `repeat`: what the user had before, the newest and the most frequent first, then what is popular.

The baseline of next-basket recommendation that most learned methods fail to beat (Ariannezhad et al., RecSys 2022).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from shared.history import Window
from shared.models import NeighbourPart
from shared.neighbours import Neighbours, recency_weights
from shared.policies.policy import Learned, PolicySnapshot, nothing_to_add
from shared.policies.served import FloatArray
from shared.policies.stream import Seen, Stream
from shared.policies.without_encoder import learned_of


class RepeatPolicy:
    """Learns nothing: each product is its own only neighbour.

    Args:
        decay: what an event of the history counts beside the one after it.
        popularity_weight: of popularity beside the user's own products, which orders the others.
    """

    name = "repeat"
    fitted: Literal["incrementally"] = "incrementally"

    def __init__(self, stream: Stream, seed: int, *, decay: float = 0.8, popularity_weight: float = 0.001) -> None:  # noqa: ARG002  # nothing is drawn
        self.popularity_weight = popularity_weight
        self._stream = stream
        self._part = NeighbourPart(weight=1.0 - popularity_weight, decay=decay)

    def related(self, window: Window) -> FloatArray:
        """The user's own products."""
        result = nothing_to_add(len(self._stream.products))
        length = int(window.lengths[0])
        weights = self._part.weight * recency_weights(length, self._part.decay)
        np.add.at(result, window.products[0, :length], weights.astype(np.float32))
        return result

    def scores(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing beside them."""
        return nothing_to_add(len(self._stream.products))

    def learn(self, seen: Seen) -> None:
        """The stream has put it into the user's history."""

    def refit(self) -> None:
        """Nothing."""

    def learned(self) -> Learned:
        """Every product beside itself."""
        a = len(self._stream.products)
        itself = Neighbours(np.arange(a + 1, dtype=np.int32), np.arange(a, dtype=np.int32), np.ones(a, np.float32))
        return learned_of(
            self._stream.products,
            popularity_weight=self.popularity_weight,
            neighbours={"itself": (self._part, itself)},
        )

    def snapshot(self) -> PolicySnapshot:
        """Nothing."""
        return PolicySnapshot()

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Nothing."""
