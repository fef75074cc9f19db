"""The policy `markov`: what followed the user's last products, counted within a window, nearer ones more.

First-order Markov chains (Rendle et al., WWW 2010), with a memory longer than one step on both sides.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.history import Window
from shared.policies.cooccurrence import Cooccurrence, Relation
from shared.policies.policy import Learned, PolicySnapshot, nothing_to_add
from shared.policies.served import FloatArray
from shared.policies.stream import Seen, Stream
from shared.policies.without_encoder import learned_of


class MarkovPolicy:
    """Counts, event by event.

    Args:
        window: events before a choice that it is counted after.
        decay: what an event counts beside the one after it, where pairs are counted.
        last: newest events of a history that are read.
        reading_decay: what an event counts beside the one after it, where a history is read.
        shrink: what is added to a product's count of followers before it divides them.
        power: that divisor's exponent, in (0, 1].
        popularity_weight: of popularity beside the counts, which orders what was never counted.
    """

    name = "markov"
    fitted: Literal["incrementally"] = "incrementally"

    def __init__(
        self,
        stream: Stream,
        seed: int,  # noqa: ARG002  # nothing is drawn
        *,
        window: int = 5,
        decay: float = 0.7,
        last: int = 3,
        reading_decay: float = 0.6,
        shrink: float = 1.0,
        power: float = 1.0,
        popularity_weight: float = 0.001,
    ) -> None:
        self.popularity_weight = popularity_weight
        self._stream = stream
        self._counts = Cooccurrence(
            Relation(
                "next",
                decay,
                both_ways=False,
                window=window,
                with_itself=True,
                reading_decay=reading_decay,
                last=last,
                shrink=shrink,
                power=power,
            )
        )

    def related(self, window: Window) -> FloatArray:
        """What followed the last products of the history."""
        history = window.products[0, : int(window.lengths[0])]
        shares = self._counts.shares(history, len(self._stream.products))
        shares *= np.float32(1.0 - self.popularity_weight)
        return shares

    def scores(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing beside it."""
        return nothing_to_add(len(self._stream.products))

    def learn(self, seen: Seen) -> None:
        """Count what was chosen after the history."""
        transition = seen.transition
        if transition is not None and transition.chosen:
            self.count(transition.products[:-1], transition.action)

    def count(self, history: NDArray[np.int32], action: int) -> None:
        """Count a product chosen after a history, (n,) rows, oldest first."""
        self._counts.add(history, action)

    def refit(self) -> None:
        """Nothing."""

    def learned(self) -> Learned:
        """The counts as shares."""
        part = self._counts.relation.part(1.0 - self.popularity_weight)
        return learned_of(
            self._stream.products,
            popularity_weight=self.popularity_weight,
            neighbours={"next": (part, self._counts.neighbours(len(self._stream.products)))},
        )

    def snapshot(self) -> PolicySnapshot:
        """The counts."""
        return PolicySnapshot(self._counts.to_arrays())

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Take up the counts."""
        self._counts.restore(snapshot.arrays)
