"""The policy `trending`: decayed popularity alone, the baseline everybody must beat. See `shared.policies.trending`."""

from __future__ import annotations

from typing import Literal

from shared.history import Window
from shared.policies.policy import Learned, PolicySnapshot, nothing_to_add
from shared.policies.served import FloatArray
from shared.policies.stream import Seen, Stream
from shared.policies.without_encoder import learned_of


class TrendingPolicy:
    """Learns nothing: the stream counts popularity."""

    name = "trending"
    fitted: Literal["incrementally"] = "incrementally"
    popularity_weight = 1.0

    def __init__(self, stream: Stream, seed: int) -> None:  # noqa: ARG002  # nothing is drawn
        self._stream = stream

    def related(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing."""
        return nothing_to_add(len(self._stream.products))

    def scores(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing."""
        return nothing_to_add(len(self._stream.products))

    def learn(self, seen: Seen) -> None:
        """The stream has counted it."""

    def refit(self) -> None:
        """Nothing."""

    def learned(self) -> Learned:
        """A version that knows the products and nothing else."""
        return learned_of(self._stream.products)

    def snapshot(self) -> PolicySnapshot:
        """Nothing."""
        return PolicySnapshot()

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Nothing."""
