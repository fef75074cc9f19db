"""The place of products that have few events or none, from those of the products that are most like them. Pure.

Like an empirical-Bayes prior, on shares as e to the scores are: beside a product's own counts that of the products like
it, the less, the more events it has. Those with more events count the more, and those that are liker. What a product's
own few events say of it is not made less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.content.belief import believed
from shared.content.discount import Discount
from shared.content.likeness import Likeness
from shared.content.settings import ContentSettings
from shared.content.tokens import tokens_of
from shared.pb.freshet.v1.events_pb2 import Product

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]

# How many more events there may be before neighbours are weighed again.
UNWEIGHED = 0.02
# Shares below e to this, beside the largest, are as good as none.
LEAST = np.float32(-80.0)


class Weighed(NamedTuple):
    """C cold products with a place, and the K beside each."""

    rows: IntArray  # (C,), ascending
    beside: IntArray  # (C, K) rows
    weights: FloatArray  # (C, K), of each they sum to 1
    trust: FloatArray  # (C,) in those beside
    width: int  # rows that all of these lie below


class Content:
    """Products, by the caller's rows: what they are, and how many events they have."""

    def __init__(self, settings: ContentSettings | None = None) -> None:
        self.settings = settings or ContentSettings()
        self.likeness = Likeness()
        self._events: NDArray[np.int32] = np.zeros(1024, np.int32)  # (A,)
        self._with_events = 0  # products with one or more
        self._counted = 0  # events
        self._unweighed = 0  # of them, those that neighbours' weights do not know of yet
        k = self.settings.neighbours
        # C cold products, in the order of their places; of each those beside it and how like it they are.
        self._place: dict[int, int] = {}  # row → place
        self._cold: IntArray = np.zeros(64, np.int32)  # (C,) rows
        self._beside: IntArray = np.zeros((64, k), np.int32)  # (C, K) rows
        self._likeness: FloatArray = np.zeros((64, k), np.float32)  # (C, K), 0 where there are fewer
        self._waiting: dict[int, None] = {}  # cold rows whose neighbours are to be looked for, the newest last
        self._looked_at = 0  # products with events when all were to be looked for again
        self._weighed: Weighed | None = None
        self._discount = Discount(self.settings)
        self._shares: FloatArray | None = None  # (C,) what content counts, until an event changes it
        n = np.arange(self.settings.events + 1)  # events of a product's own → how much content counts beside them
        faded = self.settings.prior / (self.settings.prior + n) * (1.0 - n / self.settings.events)
        self._faded: FloatArray = faded.astype(np.float32)

    def put(self, row: int, product: Product) -> None:
        """Know what a product is, or that it has changed."""
        self._grow_to(row + 1)
        if self.likeness.put(row, tokens_of(product)):
            self._look_for(row)

    def count(self, row: int) -> None:
        """Count one event of a product, which may be one of which nothing else is known."""
        self._grow_to(row + 1)
        n = int(self._events[row])
        place = None if n else self._place.get(row)
        self._discount.count(row, is_first=place is not None and bool(self._likeness[place].any()))
        self._shares = None
        if n >= self.settings.events:
            return
        self._events[row] = n + 1
        self._with_events += not n
        self._counted += 1
        self._unweighed += 1
        if n + 1 >= self.settings.events:
            self._warm(row)

    @property
    def discount(self) -> float:
        """How much rarer new products are chosen than those beside them, as it was so far, (0, 1]."""
        return self._discount.mean

    def learned(self, products: int) -> dict[str, NDArray[Any]]:
        """What events told of the discounts of the first `products` rows, for `resume`."""
        return self._discount.to_arrays(products)

    def resume(self, events: NDArray[np.integer], learned: Mapping[str, NDArray[Any]]) -> None:
        """Take back how many events each product had, (A,), and what `learned` gave, before anything else."""
        self._discount.resume(learned)
        self._grow_to(len(events))
        self._events[: len(events)] = np.minimum(events, self.settings.events)
        self._counted, self._with_events = int(self._events.sum()), int(np.count_nonzero(self._events))

    def events(self, row: int) -> int:
        """How many events of a product were counted, up to the number at which content counts no longer."""
        return int(self._events[row]) if row < len(self._events) else 0

    def added(self, values: FloatArray, popularity: FloatArray) -> tuple[IntArray, FloatArray]:
        """What content adds to the scores of cold products: their rows (C,), each once, and how much, (C,).

        Args:
            values: (A,) scores without content.
            popularity: (A,) shares, each above 0, which scores are held to.
        """
        rows, beside, weights, trust, width = self._parts()
        if not len(rows):
            return rows, trust
        if self._shares is None:
            events = self._events[rows]
            self._shares = self._faded.take(events) * trust * self._discount.of(rows, events)
        logs = np.maximum(values - values.max(), LEAST)  # (A,) beside the largest
        share = np.exp(logs)
        shares = self._shares * np.float32(believed(popularity, logs, share, self.settings.popularity_left))
        if len(values) < width:  # some products came after these scores
            have = rows < len(values)
            share = np.pad(share, (0, width - len(values)))
            rows, beside, weights, shares = rows[have], beside[have], weights[have], shares[have]
        theirs = np.einsum("ck,ck->c", weights, share.take(beside))
        return rows, np.log1p(shares * theirs / share[rows])

    def _parts(self) -> Weighed:
        """Cold products with a place, and those beside them.

        A product's own events count at once, those of the products beside it when there
        are so many more of all.
        """
        if self._with_events > self.settings.growth * self._looked_at:
            self._looked_at = self._with_events
            newer = self._waiting
            self._waiting = dict.fromkeys(row for row in self._place if row not in newer) | newer
        for _ in range(min(self.settings.at_once, len(self._waiting))):
            self._look(self._waiting.popitem()[0])
        if self._weighed is None or self._unweighed > UNWEIGHED * self._counted:
            self._weighed, self._shares, self._unweighed = self._weigh(), None, 0
        return self._weighed

    def _weigh(self) -> Weighed:
        count = len(self._place)
        weights = self._likeness[:count] * (1.0 - self._faded.take(self._events[self._beside[:count]]))
        total = weights.sum(axis=1)
        have = np.flatnonzero(total)
        have = have[np.argsort(self._cold[have])]
        rows, total, beside = self._cold[have], total[have], self._beside[have]
        trust = total / (total + np.float32(self.settings.doubt))
        weights = weights[have] / total[:, None]
        width = 1 + max(int(rows.max(initial=0)), int(beside.max(initial=0)))
        self._discount.listen(rows, beside, weights * trust[:, None], self._events[rows] == 0)
        return Weighed(rows, beside, weights, trust, width)

    def fading(self, rows: NDArray[np.integer]) -> FloatArray:
        """How much content counts beside the events of products: 1 with none, 0 from `settings.events` on."""
        self._grow_to(1 + int(rows.max(initial=0)))
        found: FloatArray = self._faded.take(self._events[rows])
        return found

    def _look_for(self, row: int) -> None:
        if row in self.likeness and self._events[row] < self.settings.events:
            self._waiting.pop(row, None)
            self._waiting[row] = None
        else:
            self._warm(row)

    def _look(self, row: int) -> None:
        """Find the products with events that are most like a cold one."""
        place = self._place.get(row)
        if place is None:
            place = self._place[row] = len(self._place)
            self._make_room(place)
        k = self.settings.neighbours
        beside, likeness = self.likeness.beside(row)
        counting = likeness * (1.0 - self._faded.take(self._events[beside]))
        if len(beside) > k:
            best = np.argpartition(-counting, k - 1)[:k]
            beside, likeness = beside[best], likeness[best]
        self._cold[place] = row
        self._beside[place] = row
        self._likeness[place] = 0.0
        self._beside[place, : len(beside)] = beside
        self._likeness[place, : len(beside)] = likeness
        self._weighed = None

    def _warm(self, row: int) -> None:
        """Content counts no longer: the last of the cold products takes its place."""
        self._waiting.pop(row, None)
        place = self._place.pop(row, None)
        if place is None:
            return
        last = len(self._place)
        if place < last:
            moved = int(self._cold[last])
            for own in (self._cold, self._beside, self._likeness):
                own[place] = own[last]
            self._place[moved] = place
        self._weighed = None

    def _make_room(self, place: int) -> None:
        if place < len(self._cold):
            return
        for name in ("_cold", "_beside", "_likeness"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))

    def _grow_to(self, products: int) -> None:
        if products > len(self._events):
            grown = np.zeros(max(2 * len(self._events), products), np.int32)
            grown[: len(self._events)] = self._events
            self._events = grown
