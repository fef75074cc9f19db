"""The policies that count and fit nothing: `trending`, `repeat` and `markov`. Pure.

`Cooccurrence` counts what is chosen after what, event by event; `markov` is one such relation, `freshet` has several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.model.format import NeighbourPart
from shared.model.neighbours import Neighbours, recency_weights
from shared.model.served import FloatArray
from shared.policies.contract import (
    Fitted,
    Gauges,
    Learned,
    PolicySnapshot,
    keeps_contract,
    learned_of,
    nothing_to_add,
)
from shared.state.histories import Window
from shared.state.stream import Seen, Stream

# Neighbours of a product that are kept; up to twice as many are counted before the rarest are dropped.
KEPT = 100
# A product's counts are divided as if it had so much more of a neighbour that nobody chooses.
SHRINK = 1.0


class CountingPolicy:
    """What these policies share: all that they know is in the mixture, and nothing is fitted."""

    fitted: ClassVar[Fitted] = "incrementally"
    seeded: ClassVar[bool] = True
    reads_future: ClassVar[bool] = False
    published: ClassVar[bool] = True
    fit_sequences = None
    mixture = None
    ranker = None

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def scores(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing beside the mixture."""
        return nothing_to_add(len(self._stream.products))

    def refit(self) -> None:
        """Nothing."""

    def gauges(self) -> Gauges:
        """Nothing."""
        return Gauges()


@keeps_contract
class TrendingPolicy(CountingPolicy):
    """Decayed popularity alone, the baseline everybody must beat: the stream counts it, see `shared.state.known`."""

    name: ClassVar[str] = "trending"
    popularity_weight = 1.0

    def __init__(self, stream: Stream, seed: int) -> None:  # noqa: ARG002  # nothing is drawn
        super().__init__(stream)

    def related(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing."""
        return nothing_to_add(len(self._stream.products))

    def learn(self, seen: Seen) -> None:
        """Nothing: the stream has counted the event."""

    def learned(self) -> Learned:
        """A version that knows the products and nothing else."""
        return learned_of(self._stream.products)

    def snapshot(self) -> PolicySnapshot:
        """Nothing."""
        return PolicySnapshot()

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Nothing."""


@keeps_contract
class RepeatPolicy(CountingPolicy):
    """What the user had before, the newest and the most frequent first, then what is popular.

    The baseline of next-basket recommendation that most learned methods fail to beat (Ariannezhad et al., RecSys 2022):
    each product is its own only neighbour.

    Args:
        decay: what an event of the history counts beside the one after it.
        popularity_weight: of popularity beside the user's own products, which orders the others.
    """

    name: ClassVar[str] = "repeat"

    def __init__(self, stream: Stream, seed: int, *, decay: float = 0.8, popularity_weight: float = 0.001) -> None:  # noqa: ARG002  # nothing is drawn
        super().__init__(stream)
        self.popularity_weight = popularity_weight
        self._part = NeighbourPart(weight=1.0 - popularity_weight, decay=decay)

    def related(self, window: Window) -> FloatArray:
        """The user's own products."""
        result = nothing_to_add(len(self._stream.products))
        length = int(window.lengths[0])
        weights = self._part.weight * recency_weights(length, self._part.decay)
        np.add.at(result, window.products[0, :length], weights.astype(np.float32))
        return result

    def learn(self, seen: Seen) -> None:
        """Nothing: the stream has put the event into the user's history."""

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


@keeps_contract
class MarkovPolicy(CountingPolicy):
    """What followed the user's last products, counted within a window, nearer ones more.

    First-order Markov chains (Rendle et al., WWW 2010), with a memory longer than one step on both sides.

    Args:
        window: events before a choice that it is counted after.
        decay: what an event counts beside the one after it, where pairs are counted.
        last: newest events of a history that are read.
        reading_decay: what an event counts beside the one after it, where a history is read.
        shrink: what is added to a product's count of followers before it divides them.
        power: that divisor's exponent, in (0, 1].
        popularity_weight: of popularity beside the counts, which orders what was never counted.
    """

    name: ClassVar[str] = "markov"

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
        super().__init__(stream)
        self.popularity_weight = popularity_weight
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

    def learn(self, seen: Seen) -> None:
        """Count what was chosen after the history."""
        transition = seen.transition
        if transition is not None and transition.chosen:
            self.count(transition.products[:-1], transition.action)

    def count(self, history: NDArray[np.int32], action: int) -> None:
        """Count a product chosen after a history, (n,) rows, oldest first."""
        self._counts.add(history, action)

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
        """Go on from the counts."""
        self._counts.restore(snapshot.arrays)


@dataclass(frozen=True, slots=True)
class Relation:
    """One way of pairing events of a user, and of reading a history by the pairs."""

    name: str
    decay: float  # what an event counts beside the one after it, (0, 1], where pairs are counted
    both_ways: bool  # whether a pair counts for the later product, too
    window: int = 10  # events of a history that are paired with the one that follows
    with_itself: bool = False  # whether a product may follow itself
    reading_decay: float = 0.0  # likewise where a history is read; 0: as `decay`
    last: int = 0  # newest events of a history that are read; 0: all of them
    shrink: float = SHRINK
    # A count is divided by its product's total to this power: 1 gives shares; with less, products with many followers
    # say more than those with few.
    power: float = 1.0

    def divisor(self, total: float) -> float:
        """What the counts of a product with this total are divided by."""
        return float((total + self.shrink) ** self.power)

    def part(self, weight: float) -> NeighbourPart:
        """How it enters the score, with its share of the mixture."""
        return NeighbourPart(weight=weight, decay=self.reading_decay or self.decay, last=self.last)


class Cooccurrence:
    """Decayed counts of one relation, the most frequent `KEPT` neighbours of each product."""

    def __init__(self, relation: Relation) -> None:
        self.relation = relation
        self.name = relation.name
        self._counts: list[dict[int, float]] = []  # product row → neighbour's row → count
        self._totals: list[float] = []
        # Product row → its neighbours and their shares, where these were read since they last changed.
        self._rows: dict[int, tuple[NDArray[np.int32], NDArray[np.float32]]] = {}

    def add(self, history: NDArray[np.int32], action: int) -> None:
        """Count a product chosen after a history, (n,) rows, oldest first."""
        relation, count = self.relation, 1.0
        for before in reversed(history[-relation.window :].tolist()):
            if before != action or relation.with_itself:
                self._add(before, action, count)
                if relation.both_ways and before != action:
                    self._add(action, before, count)
            count *= relation.decay

    def beside(self, history: NDArray[np.int32], action: int) -> NDArray[np.float64]:
        """Share of one product beside each of a history, (n,), its rarest neighbours included."""
        rows = [row if row < len(self._counts) else None for row in history.tolist()]
        return np.array([0.0 if row is None else self._beside(row, action) for row in rows])

    def summed(self, history: NDArray[np.int32], weights: NDArray[np.float64], products: int) -> NDArray[np.float32]:
        """The weighted sum of every product's shares beside a history as they are now, (A,).

        Args:
            history: (n,) rows.
            weights: (n,)
            products: A
        """
        result = np.zeros(products, np.float32)
        for row, weight in zip(history.tolist(), weights.tolist(), strict=True):
            if row < len(self._counts) and weight:
                followers, values = self._row(row)
                result[followers] += np.float32(weight) * values
        return result

    def share(self, history: NDArray[np.int32], action: int) -> float:
        """Share of one product beside a history, read as the relation says, its rarest neighbours included."""
        history, weights = self._read(history)
        return float(weights @ self.beside(history, action)) if len(history) else 0.0

    def shares(self, history: NDArray[np.int32], products: int) -> NDArray[np.float32]:
        """Shares of all products beside a history, read as the relation says, (A,), as `Related.shares` gives them."""
        return self.summed(*self._read(history), products)

    def neighbours(self, products: int) -> Neighbours:
        """All counts as shares, for so many products."""
        rows = [self._row(row) for row in range(len(self._counts))]
        lengths = [len(followers) for followers, _ in rows] + [0] * (products - len(rows))
        return Neighbours(
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
            products=np.concatenate([np.zeros(0, np.int32), *(followers for followers, _ in rows)]),
            values=np.concatenate([np.zeros(0, np.float32), *(values for _, values in rows)]),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All counts, for a checkpoint."""
        return {
            "lengths": np.array([len(counts) for counts in self._counts], np.int64),
            "products": np.array([product for counts in self._counts for product in counts], np.int64),
            "counts": np.array([count for counts in self._counts for count in counts.values()], np.float64),
            "totals": np.array(self._totals, np.float64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave."""
        self._totals = arrays["totals"].tolist()
        products, counts = arrays["products"].tolist(), arrays["counts"].tolist()
        self._counts, self._rows = [], {}
        start = 0
        for length in arrays["lengths"].tolist():
            end = start + length
            self._counts.append(dict(zip(products[start:end], counts[start:end], strict=True)))
            start = end

    def _add(self, product: int, neighbour: int, count: float) -> None:
        while product >= len(self._counts):
            self._counts.append({})
            self._totals.append(0.0)
        counts = self._counts[product]
        counts[neighbour] = counts.get(neighbour, 0.0) + count
        self._totals[product] += count
        self._rows.pop(product, None)
        if len(counts) > 2 * KEPT:
            self._counts[product] = dict(_most_frequent(counts))

    def _beside(self, product: int, neighbour: int) -> float:
        return self._counts[product].get(neighbour, 0.0) / self.relation.divisor(self._totals[product])

    def _read(self, history: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """The part of a history that counts, and what each event of it does."""
        relation = self.relation
        history = history[-relation.last :]
        return history, recency_weights(len(history), relation.reading_decay or relation.decay)

    def _row(self, product: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The most frequent neighbours of one product, ascending, and their shares."""
        row = self._rows.get(product)
        if row is None:
            counts = self._counts[product]
            kept = sorted(_most_frequent(counts) if len(counts) > KEPT else counts.items())
            divisor = self.relation.divisor(self._totals[product])
            row = self._rows[product] = (
                np.array([neighbour for neighbour, _ in kept], np.int32),
                np.array([count / divisor for _, count in kept], np.float32),
            )
        return row


def _most_frequent(counts: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:KEPT]
