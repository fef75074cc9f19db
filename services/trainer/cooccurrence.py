"""What is bought with what, counted as it comes, and how much that says beside popularity. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.neighbours import Neighbours, recency_weights

# Neighbours of a product that are kept; up to twice as many are counted before the rarest go.
KEPT = 100
# A product's counts are shared out as if it had so much more of a neighbour that nobody chooses.
SHRINK = 1.0
# Events of a history that are paired with the one that follows.
WINDOW = 10


@dataclass(frozen=True, slots=True)
class Relation:
    """One way of pairing events of a user."""

    name: str
    decay: float  # what an event counts beside the one after it, (0, 1]
    both_ways: bool  # whether a pair counts for the later product, too


# What follows what, at short range, and what goes together, at longer range.
RELATIONS = (Relation("next", 0.5, both_ways=False), Relation("together", 0.8, both_ways=True))


class Cooccurrence:
    """Decayed counts of one relation, the most frequent `KEPT` neighbours of each product."""

    def __init__(self, relation: Relation) -> None:
        self.relation = relation
        self._counts: list[dict[int, float]] = []  # product row → neighbour's row → count
        self._totals: list[float] = []

    def add(self, history: NDArray[np.int32], action: int) -> None:
        """Count a product chosen after a history, (n,) rows, oldest first."""
        count = 1.0
        for before in reversed(history[-WINDOW:].tolist()):
            if before != action:
                self._add(before, action, count)
                if self.relation.both_ways:
                    self._add(action, before, count)
            count *= self.relation.decay

    def share(self, history: NDArray[np.int32], action: int) -> float:
        """Share of one product beside a history, as `Related.shares` gives it, with the rarest neighbours too."""
        weights = recency_weights(len(history), self.relation.decay)
        found = 0.0
        for row, weight in zip(history.tolist(), weights.tolist(), strict=True):
            if row < len(self._counts):
                found += weight * self._counts[row].get(action, 0.0) / (self._totals[row] + SHRINK)
        return found

    def neighbours(self, products: int) -> Neighbours:
        """Everything counted, for so many products, as shares."""
        rows = [_most_frequent(counts) for counts in self._counts]
        rows += [[] for _ in range(products - len(rows))]
        lengths = [len(row) for row in rows]
        shares = [
            count / (total + SHRINK) for row, total in zip(rows, self._totals, strict=False) for _, count in sorted(row)
        ]
        return Neighbours(
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
            products=np.array([product for row in rows for product, _ in sorted(row)], np.int32),
            values=np.array(shares, np.float32),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All counts, for a checkpoint."""
        return {
            "lengths": np.array([len(counts) for counts in self._counts], np.int64),
            "products": np.array([product for counts in self._counts for product in counts], np.int64),
            "counts": np.array([count for counts in self._counts for count in counts.values()], np.float64),
            "totals": np.array(self._totals, np.float64),
        }

    @classmethod
    def from_arrays(cls, relation: Relation, arrays: Mapping[str, NDArray[Any]]) -> Cooccurrence:
        """What `to_arrays` gave."""
        made = cls(relation)
        made._totals = arrays["totals"].tolist()
        products, counts = arrays["products"].tolist(), arrays["counts"].tolist()
        start = 0
        for length in arrays["lengths"].tolist():
            end = start + length
            made._counts.append(dict(zip(products[start:end], counts[start:end], strict=True)))
            start = end
        return made

    def _add(self, product: int, neighbour: int, count: float) -> None:
        while product >= len(self._counts):
            self._counts.append({})
            self._totals.append(0.0)
        counts = self._counts[product]
        counts[neighbour] = counts.get(neighbour, 0.0) + count
        self._totals[product] += count
        if len(counts) > 2 * KEPT:
            self._counts[product] = dict(_most_frequent(counts))


def _most_frequent(counts: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:KEPT]


class Mixture:
    """How much popularity and each relation say, learned from every event just before it is counted.

    Online expectation-maximisation of interpolation weights (Jelinek & Mercer 1980) with forgetting (Cappé & Moulines
    2009): each event shares itself out among the parts by how probable each held it.
    """

    MEMORY = 2000.0  # events after which one counts 1/e
    PRIOR = 50.0  # events that the first weights are worth
    FIRST_POPULARITY = 0.8

    def __init__(self, parts: int) -> None:
        """`parts`: relations beside popularity."""
        others = (1.0 - self.FIRST_POPULARITY) / parts if parts else 0.0
        self._held = self.PRIOR * np.array([self.FIRST_POPULARITY, *([others] * parts)])  # popularity first

    @property
    def weights(self) -> NDArray[np.float64]:
        """What popularity, first, and each relation count, (1 + R,); they sum to 1."""
        weights: NDArray[np.float64] = self._held / self._held.sum()
        return weights

    def note(self, shares: NDArray[np.float64]) -> None:
        """Learn from one event: the share that each part gave to the product really chosen, (1 + R,)."""
        held = self.weights * shares
        total = held.sum()
        if total > 0.0:
            self._held = self._held * (1.0 - 1.0 / self.MEMORY) + held / total

    def to_array(self) -> NDArray[np.float64]:
        """What a checkpoint keeps."""
        return self._held.copy()

    def restore(self, held: NDArray[np.float64]) -> None:
        """Take up what `to_array` gave."""
        self._held = held.copy()
