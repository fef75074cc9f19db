"""Cold products, those of which content counts, and the products with events that are most like each. Pure.

Neighbours are looked for a few products at a time, the newest first, and again when products with events have become
many more. A neighbour weighs the more, the liker it is and the more events it has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.content.counts import Counts
from shared.content.likeness import Likeness
from shared.content.settings import ContentSettings

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]

# How many more events there may be before neighbours are weighed again.
UNWEIGHED = 0.02


class Weighed(NamedTuple):
    """C cold products with neighbours, and the K beside each."""

    rows: IntArray  # (C,), ascending
    beside: IntArray  # (C, K) rows
    weights: FloatArray  # (C, K), of each they sum to 1
    trust: FloatArray  # (C,) in those beside
    width: int  # rows that all of these lie below


class ColdProducts:
    """A table of them, by the caller's rows; `likeness` and `counts` are read, and changed by the caller alone."""

    def __init__(self, likeness: Likeness, counts: Counts, settings: ContentSettings) -> None:
        self._likeness = likeness
        self._counts = counts
        self._settings = settings
        # C cold products, in the order of their places; of each those beside it and how like it they are.
        self._place: dict[int, int] = {}  # row → place
        self._rows: IntArray = np.zeros(64, np.int32)  # (C,)
        self._beside: IntArray = np.zeros((64, settings.neighbours), np.int32)  # (C, K) rows
        self._like: FloatArray = np.zeros((64, settings.neighbours), np.float32)  # (C, K), 0 where there are fewer
        self._waiting: dict[int, None] = {}  # rows whose neighbours are to be looked for, the newest last
        self._looked_at = 0  # products with events when all were to be looked for again
        self._weighed: Weighed | None = None
        self._weighed_at = 0  # events there were then

    def has_neighbours(self, row: int) -> bool:
        """Whether a product is cold and others were found to be like it."""
        place = self._place.get(row)
        return place is not None and bool(self._like[place].any())

    def look_for(self, row: int) -> None:
        """Find a product's neighbours, anew if they were found before, once `weighed` is asked."""
        self._waiting.pop(row, None)
        self._waiting[row] = None

    def drop(self, row: int) -> None:
        """Content counts no longer: the last of the cold products takes its place."""
        self._waiting.pop(row, None)
        place = self._place.pop(row, None)
        if place is None:
            return
        last = len(self._place)
        if place < last:
            for own in (self._rows, self._beside, self._like):
                own[place] = own[last]
            self._place[int(self._rows[place])] = place
        self._weighed = None

    def weighed(self) -> Weighed:
        """The cold products that have neighbours; another object whenever anything changed.

        What events do to the weights of neighbours counts when there are so many more of all.
        """
        if self._counts.products > self._settings.growth * self._looked_at:
            self._looked_at = self._counts.products
            newer = self._waiting
            self._waiting = dict.fromkeys(row for row in self._place if row not in newer) | newer
        for _ in range(min(self._settings.at_once, len(self._waiting))):
            self._look(self._waiting.popitem()[0])
        events = self._counts.events
        if self._weighed is None or events - self._weighed_at > UNWEIGHED * events:
            self._weighed, self._weighed_at = self._weigh(), events
        return self._weighed

    def _look(self, row: int) -> None:
        """Find the products with events that are most like a cold one."""
        place = self._place.get(row)
        if place is None:
            place = self._place[row] = len(self._place)
            self._make_room(place)
        k = self._settings.neighbours
        beside, likeness = self._likeness.beside(row)
        if len(beside) > k:
            best = np.argpartition(-likeness * self._known(beside), k - 1)[:k]
            beside, likeness = beside[best], likeness[best]
        self._rows[place] = row
        self._beside[place] = row
        self._like[place] = 0.0
        self._beside[place, : len(beside)] = beside
        self._like[place, : len(beside)] = likeness
        self._weighed = None

    def _weigh(self) -> Weighed:
        count = len(self._place)
        weights = self._like[:count] * self._known(self._beside[:count])
        total = weights.sum(axis=1)
        have = np.flatnonzero(total)
        have = have[np.argsort(self._rows[have])]
        rows, total, beside = self._rows[have], total[have], self._beside[have]
        trust = total / (total + np.float32(self._settings.doubt))
        weights = weights[have] / total[:, None]
        width = 1 + max(int(rows.max(initial=0)), int(beside.max(initial=0)))
        return Weighed(rows, beside, weights, trust, width)

    def _known(self, rows: IntArray) -> FloatArray:
        """How much what products' own events say of them counts, [0, 1]."""
        return np.float32(1.0) - self._counts.fading(self._counts.of(rows))

    def _make_room(self, place: int) -> None:
        if place == len(self._rows):
            self._rows, self._beside, self._like = (
                np.concatenate([own, np.zeros_like(own)]) for own in (self._rows, self._beside, self._like)
            )
