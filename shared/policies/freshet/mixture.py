"""What popularity and the relations between products say, and how much each counts.

`Mixture` weighs them, learning from every event just before it is counted; `Trend` corrects popularity by that of the
last days; `PopularityEras` keeps popularity as it was, for the encoder to learn beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.model.neighbours import Neighbours
from shared.state.known import Trending
from shared.state.stream import Seen

# Half-lives of the trend; a slower one predicts well and ranks worse: it favours what is well known.
HALF_LIVES_DAYS = (1.0, 7.0)
# Most numbers that all eras together may hold; beyond, every second era goes.
MOST_NUMBERS = 8_000_000


class Mixture:
    """Weights of popularity and, for each relation, of every event of a history by how long ago it was.

    Online expectation-maximisation of interpolation weights (Jelinek & Mercer 1980) with forgetting (Cappé & Moulines
    2009): each event shares itself out among the parts by how probable each held it. A part is one relation beside one
    event of the history: shops where people come back to what they saw two clicks ago, and shops where they never do,
    get different weights. R relations, T events of a history; lag 0 is the newest.
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
        lags = weights[1:].reshape(self._relations, -1)  # (R, T)
        explained = lags[:, :n] * shares
        total = weights[0] * popularity + explained.sum()
        if total <= 0.0:
            return
        # What a longer history would have held is not known: it keeps its share.
        possible = weights[0] + lags[:, :n].sum()
        taken = lags.copy()
        taken[:, :n] = possible * explained / total
        now = np.concatenate([[possible * weights[0] * popularity / total], taken.ravel()])
        self._held = self._held * (1.0 - 1.0 / self.MEMORY) + now

    def to_array(self) -> NDArray[np.float64]:
        """What a checkpoint keeps."""
        return self._held.copy()

    def restore(self, held: NDArray[np.float64]) -> None:
        """Go on from what `to_array` gave."""
        self._held = held.copy()


class Trend:
    """How the popularity of the last days differs from that served, which halves slowly: counts at several half-lives.

    Each half-life counts by how well it predicts, beside the stream's own popularity.
    """

    def __init__(self) -> None:
        self._counts = [Trending(days * DAY_MS) for days in HALF_LIVES_DAYS]
        self._mixture = Mixture(len(HALF_LIVES_DAYS), length=1)

    def note(self, seen: Seen) -> None:
        """Learn from an event of a known product, before it is counted here, how well each predicted it."""
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
        """Log of how much more popular each product that has a place is than by what is served, (A0,).

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
        """Go on from what `to_arrays` gave."""
        self._mixture.restore(arrays["mixture"])
        self._counts = [
            Trending.from_array(counts, int(base), days * DAY_MS)
            for counts, base, days in zip(arrays["counts"], arrays["base_ms"], HALF_LIVES_DAYS, strict=True)
        ]


class Itself:
    """The relation of each product to itself: users come back to what they had. Nothing is counted.

    It has the methods of `shared.policies.counts.Cooccurrence`, which is every other relation.
    """

    name = "itself"

    def add(self, history: NDArray[np.int32], action: int) -> None:
        """Nothing."""

    def beside(self, history: NDArray[np.int32], action: int) -> NDArray[np.float64]:
        """Share of one product beside each of a history, (n,): 1 where it is the same product."""
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


class PopularityEras:
    """Log-popularity as it was when each transition happened, which the cross-entropy head is trained to add to.

    A snapshot every so many transitions, thinned out as the catalogue grows.
    """

    def __init__(self) -> None:
        self._serials: list[int] = []  # ascending
        self._snapshots: list[NDArray[np.float32]] = []  # (A at that time,) each

    def note(self, serial: int, log_popularity: NDArray[np.float32], *, oldest: int) -> None:
        """Keep what holds from transition `serial` on; transitions before `oldest` will not be asked for again."""
        self._serials.append(serial)
        self._snapshots.append(log_popularity)
        while len(self._serials) > 1 and self._serials[1] <= oldest:
            del self._serials[0], self._snapshots[0]
        while len(self._serials) > 2 and len(self._serials) * len(log_popularity) > MOST_NUMBERS:
            del self._serials[1::2], self._snapshots[1::2]

    def of(self, serials: NDArray[np.int64], rows: NDArray[np.int64] | None, products: int) -> NDArray[np.float32]:
        """Log-popularity of products when each transition happened.

        A product that came after the snapshot counts as the least popular one of its time.

        Args:
            serials: (B,)
            rows: (C,) products wanted; None: all.
            products: A

        Returns:
            (B, C)
        """
        eras = np.maximum(np.searchsorted(self._serials, serials, side="right") - 1, 0)
        result = np.empty((len(serials), products if rows is None else len(rows)), np.float32)
        for era in np.unique(eras):
            snapshot = self._snapshots[era]
            values = np.full(products, snapshot.min(initial=0.0), np.float32)
            values[: len(snapshot)] = snapshot
            result[eras == era] = values if rows is None else values[rows]
        return result

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a checkpoint."""
        return {
            "serials": np.array(self._serials, np.int64),
            "lengths": np.array([len(s) for s in self._snapshots], np.int64),
            "values": np.concatenate(self._snapshots or [np.zeros(0, np.float32)]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> PopularityEras:
        """What `to_arrays` gave."""
        eras = cls()
        eras._serials = arrays["serials"].tolist()
        ends = np.cumsum(arrays["lengths"])
        eras._snapshots = [arrays["values"][a:b].copy() for a, b in zip(ends - arrays["lengths"], ends, strict=True)]
        return eras
