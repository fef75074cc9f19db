"""How much popularity and each relation between products say, learned from every event just before it is counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Mixture:
    """Weights of popularity and, for each relation, of every event of a history by how long ago it was.

    Online expectation-maximisation of interpolation weights (Jelinek & Mercer 1980) with forgetting (Cappé & Moulines
    2009): each event shares itself out among the parts by how probable each held it. A part is one relation beside one
    event of the history: shops where people come back to what they saw two clicks ago, and shops where they never do,
    get their own weights. R relations, T events of a history; lag 0 is the newest.
    """

    MEMORY = 2000.0  # events after which one counts 1/e
    PRIOR = 50.0  # events that the first weights are worth
    FIRST_POPULARITY = 0.8
    FIRST_DECAY = 0.7  # what a lag counts at first beside the one before it

    def __init__(self, relations: int, length: int) -> None:
        """`length`: T."""
        lags = self.FIRST_DECAY ** np.arange(length)
        each = (1.0 - self.FIRST_POPULARITY) / relations * lags / lags.sum()
        self._held = self.PRIOR * np.concatenate([[self.FIRST_POPULARITY], np.tile(each, relations)])
        self._relations = relations

    @property
    def popularity(self) -> float:
        """What popularity counts; with `lags` it sums to 1."""
        return float(self._held[0] / self._held.sum())

    @property
    def lags(self) -> NDArray[np.float64]:
        """What each relation counts beside each event of a history, (R, T), the newest first."""
        lags: NDArray[np.float64] = (self._held[1:] / self._held.sum()).reshape(self._relations, -1)
        return lags

    def note(self, popularity: float, shares: NDArray[np.float64]) -> None:
        """Learn from one event.

        Args:
            popularity: the share that it gave to the product really chosen.
            shares: (R, n) that each relation gave it beside each event of the history, the newest first, n <= T.
        """
        n = shares.shape[1]
        weights = self._held / self._held.sum()
        own = weights[1:].reshape(self._relations, -1)  # (R, T)
        found = own[:, :n] * shares
        total = weights[0] * popularity + found.sum()
        if total <= 0.0:
            return
        # What a longer history would have held is not known: it keeps its share.
        asked = weights[0] + own[:, :n].sum()
        taken = own.copy()
        taken[:, :n] = asked * found / total
        now = np.concatenate([[asked * weights[0] * popularity / total], taken.ravel()])
        self._held = self._held * (1.0 - 1.0 / self.MEMORY) + now

    def to_array(self) -> NDArray[np.float64]:
        """What a checkpoint keeps."""
        return self._held.copy()

    def restore(self, held: NDArray[np.float64]) -> None:
        """Take up what `to_array` gave."""
        self._held = held.copy()
