"""The policy `markov-sasrec`: the counts of `markov` multiplied by what the encoder of `sasrec` says.

What is served is log(counts beside popularity) + w · logit, as everywhere. On whole sequences w is chosen by the
products that followed, which neither part has learned; on a stream, where the encoder is fitted at fixed points, it is
`WEIGHT`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.model import ranking
from shared.model.served import FloatArray, served_scores
from shared.numeric.arrays import with_prefix, without_prefix
from shared.policies.contract import (
    Fitted,
    Gauges,
    Learned,
    Policy,
    PolicySnapshot,
    Progress,
    keeps_contract,
    nothing_to_add,
)
from shared.policies.counts import MarkovPolicy
from shared.policies.fitted.encoder import HEAD
from shared.policies.networks.sequence_policies import REFIT, WHOLE, SasRecPolicy
from shared.policies.networks.sequences import Passes
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.stream import Seen, Stream

# Of the encoder's logit: those to choose from, and the one without products to choose by, which did best on Beauty.
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
WEIGHT = 0.5
# Users by whom the weight is chosen, evenly spread.
CHOOSING = 4000
# Of the counts: chosen by Beauty's last products but one.
SHRINK, POWER, POPULARITY_WEIGHT = 5.0, 0.5, 0.05
# The NDCG that chooses looks at so many products.
K = 10


@keeps_contract
class MarkovSasRecPolicy:
    """Counts, which change with every event, and an encoder, fitted at fixed points or on whole sequences at once.

    Args:
        refit: how `refit` goes on fitting the encoder.
        whole: how `fit_sequences` fits it.
    """

    name: ClassVar[str] = "markov-sasrec"
    fitted: ClassVar[Fitted] = "at fixed points"
    seeded: ClassVar[bool] = True
    reads_future: ClassVar[bool] = False
    published: ClassVar[bool] = True
    mixture = None
    ranker = None

    def __init__(self, stream: Stream, seed: int, *, refit: Passes = REFIT, whole: Passes = WHOLE) -> None:
        self._stream = stream
        self._seed = seed
        self.counts = self._uncounted()
        self.encoder = SasRecPolicy(stream, seed, refit=refit, whole=whole)
        self.weight = WEIGHT

    @property
    def popularity_weight(self) -> float:
        """What popularity counts beside the counts."""
        return self.counts.popularity_weight

    def related(self, window: Window) -> FloatArray:
        """What the counts say after a history."""
        return self.counts.related(window)

    def scores(self, window: Window) -> FloatArray:
        """What the encoder says, weighted; 0 for products that came after it was fitted."""
        result = nothing_to_add(len(self._stream.products))
        logits = self.encoder.scores(window)
        result[: len(logits)] = np.float32(self.weight) * logits
        return result

    def learn(self, seen: Seen) -> None:
        """Count the event, and remember it for the next fit."""
        self.counts.learn(seen)
        self.encoder.learn(seen)

    def refit(self) -> None:
        """Go on fitting the encoder on all that is remembered."""
        self.encoder.refit()

    def fit_sequences(
        self,
        sequences: Sequence[NDArray[np.int32]],
        validation: Sequence[int] | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Learn anew from whole sequences; the weight is chosen by the products that followed, where these are given.

        See `shared.policies.contract.FitSequences`.
        """
        self.counts, self.weight = self._uncounted(), WEIGHT
        for products in sequences:
            for place in range(1, len(products)):
                self.counts.count(products[:place], int(products[place]))
        self.encoder.fit_sequences(sequences, validation, on_progress)
        if validation is not None:
            gains = self._gains(sequences, validation)
            self.weight = WEIGHTS[int(gains.argmax())]  # the least of equals

    def learned(self) -> Learned:
        """The encoder's parts with the counts beside them; the counts alone before the first fit.

        Products that came after the fit get vectors of 0.
        """
        counts, encoder = self.counts.learned(), self.encoder.learned()
        if encoder.golden is None:  # not fitted
            return counts
        a = len(self._stream.products)
        vectors, golden = encoder.parts, encoder.golden
        return replace(
            encoder,
            parts=replace(
                vectors,
                input=_with_rows(vectors.input, a),
                outputs={head: _with_rows(output, a) for head, output in vectors.outputs.items()},
                biases={head: _with_rows(bias, a) for head, bias in vectors.biases.items()},
                products=counts.parts.products,
                neighbours=counts.parts.neighbours,
            ),
            heads={HEAD: self.weight},
            popularity_weight=self.popularity_weight,
            neighbours=counts.neighbours,
            golden=replace(golden, scores=np.float32(self.weight) * golden.scores),
        )

    def gauges(self) -> Gauges:
        """Nothing."""
        return Gauges()

    def snapshot(self) -> PolicySnapshot:
        """Both parts, and the weight."""
        counts, encoder = self.counts.snapshot(), self.encoder.snapshot()
        arrays = with_prefix("counts/", counts.arrays) | with_prefix("encoder/", encoder.arrays)
        return PolicySnapshot(arrays, {"weight": self.weight, "counts": counts.state, "encoder": encoder.state})

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Go on from what `snapshot` gave."""
        arrays, state = snapshot.arrays, snapshot.state
        parts: dict[str, Policy] = {"counts": self.counts, "encoder": self.encoder}
        for name, part in parts.items():
            part.restore(PolicySnapshot(without_prefix(f"{name}/", arrays), state[name]))
        self.weight = float(state["weight"])

    def _uncounted(self) -> MarkovPolicy:
        return MarkovPolicy(self._stream, self._seed, shrink=SHRINK, power=POWER, popularity_weight=POPULARITY_WEIGHT)

    def _gains(self, sequences: Sequence[NDArray[np.int32]], followed: Sequence[int]) -> NDArray[np.float64]:
        """Mean NDCG@10 of what followed, by each of `WEIGHTS`, the sequence itself masked."""
        users = np.array([user for user, product in enumerate(followed) if product >= 0 and len(sequences[user])])
        users = users[np.unique(np.linspace(0, len(users) - 1, min(CHOOSING, len(users)), dtype=np.int64))]
        gains = np.zeros(len(WEIGHTS))
        for user in users.tolist():
            window = window_of(sequences[user], self._stream.settings.history_length)
            counted = served_scores(self.counts, window, self._stream.known)
            logits = self.encoder.scores(window)
            for place, weight in enumerate(WEIGHTS):
                values = counted.copy()
                values[: len(logits)] += np.float32(weight) * logits
                ranking.mask(values, sequences[user])
                gains[place] += ranking.ndcg(ranking.rank(values, followed[user]), K)
        return gains


def _with_rows(table: NDArray[np.float32], products: int) -> NDArray[np.float32]:
    """The table with rows of 0 up to so many."""
    result = np.zeros((products, *table.shape[1:]), np.float32)
    result[: len(table)] = table
    return result


def window_of(history: NDArray[np.int32], length: int) -> Window:
    """A history of which nothing but the products is known, as a batch of one."""
    newest = history[-length:]
    features = np.zeros((1, len(newest), len(EVENT_FEATURES)), np.float32)
    return Window(newest[None], features, np.array([len(newest)], np.int32))
