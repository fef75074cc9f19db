"""What `freshet` makes of whole sequences: counts and a self-attentive encoder, each of which fits itself, multiplied.

What is served is log(counts beside popularity) + w · logit, as everywhere; the weight is chosen by the products that
followed, which neither part has learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model import ranking
from shared.model.served import FloatArray, served_scores
from shared.policies.contract import Learned, Policy, PolicySnapshot
from shared.policies.counts import MarkovPolicy
from shared.policies.fitted.encoder import HEAD
from shared.policies.networks.sequence_policies import WHOLE, SasRecPolicy
from shared.policies.networks.sequences import Passes, Progress
from shared.process.arrays import with_prefix, without_prefix
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.stream import Stream

# Of the encoder's logit; without products to choose by, the one that did best on Beauty's.
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
WEIGHT = 0.5
# Users who choose among them, evenly spread.
CHOOSING = 4000
# Chosen by Beauty's last products but one.
SHRINK, POWER, POPULARITY_WEIGHT = 5.0, 0.5, 0.05
K = 10


class Whole:
    """Counts and an encoder.

    Args:
        passes: how the encoder fits.
    """

    def __init__(self, stream: Stream, seed: int, passes: Passes = WHOLE) -> None:
        self.counts = MarkovPolicy(stream, seed, shrink=SHRINK, power=POWER, popularity_weight=POPULARITY_WEIGHT)
        self.encoder = SasRecPolicy(stream, seed, whole=passes)
        self.weight = WEIGHT
        self._stream = stream

    @property
    def popularity_weight(self) -> float:
        """What popularity counts beside the counts."""
        return self.counts.popularity_weight

    def related(self, window: Window) -> FloatArray:
        """What the counts say after a history."""
        return self.counts.related(window)

    def scores(self, window: Window) -> FloatArray:
        """What the encoder says, weighted."""
        result: FloatArray = np.float32(self.weight) * self.encoder.scores(window)
        return result

    def fit(
        self,
        sequences: Sequence[NDArray[np.int32]],
        validation: Sequence[int] | None,
        on_progress: Callable[[Progress], None],
    ) -> None:
        """Learn sequences, and choose the weight by the products that followed them, where these are given."""
        for own in sequences:
            for place in range(1, len(own)):
                self.counts.count(own[:place], int(own[place]))
        self.encoder.fit_sequences(sequences, validation, on_progress)
        if validation is not None:
            gains = self._gains(sequences, validation)
            self.weight = WEIGHTS[int(gains.argmax())]  # the least of equals

    def learned(self) -> Learned:
        """The encoder's parts with the counts beside them."""
        encoder, counts = self.encoder.learned(), self.counts.learned()
        golden = encoder.golden
        return replace(
            encoder,
            parts=replace(encoder.parts, neighbours=counts.parts.neighbours),
            heads={HEAD: self.weight},
            popularity_weight=self.popularity_weight,
            neighbours=counts.neighbours,
            golden=None if golden is None else replace(golden, scores=np.float32(self.weight) * golden.scores),
        )

    def snapshot(self) -> PolicySnapshot:
        """Both, and the weight."""
        counts, encoder = self.counts.snapshot(), self.encoder.snapshot()
        arrays = with_prefix("counts/", counts.arrays) | with_prefix("encoder/", encoder.arrays)
        return PolicySnapshot(arrays, {"weight": self.weight, "counts": counts.state, "encoder": encoder.state})

    def restore(self, arrays: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> None:
        """Take up what `snapshot` gave."""
        parts: dict[str, Policy] = {"counts": self.counts, "encoder": self.encoder}
        for name, part in parts.items():
            part.restore(PolicySnapshot(without_prefix(f"{name}/", arrays), state[name]))
        self.weight = float(state["weight"])

    def _gains(self, sequences: Sequence[NDArray[np.int32]], followed: Sequence[int]) -> NDArray[np.float64]:
        """Mean NDCG@10 of what followed, by each of `WEIGHTS`, the sequence itself masked."""
        asked = np.array([user for user, product in enumerate(followed) if product >= 0 and len(sequences[user])])
        asked = asked[np.unique(np.linspace(0, len(asked) - 1, min(CHOOSING, len(asked)), dtype=np.int64))]
        gains = np.zeros(len(WEIGHTS))
        for user in asked.tolist():
            window = window_of(sequences[user], self._stream.settings.history_length)
            counted = served_scores(self.counts, window, self._stream.trending)
            logits = self.encoder.scores(window)
            for place, weight in enumerate(WEIGHTS):
                values = counted.copy()
                values[: len(logits)] += np.float32(weight) * logits
                ranking.mask(values, sequences[user])
                gains[place] += ranking.ndcg(ranking.rank(values, followed[user]), K)
        return gains


def window_of(history: NDArray[np.int32], length: int) -> Window:
    """A history of which nothing but the products is known, as a batch of one."""
    newest = history[-length:]
    features = np.zeros((1, len(newest), len(EVENT_FEATURES)), np.float32)
    return Window(newest[None], features, np.array([len(newest)], np.int32))
