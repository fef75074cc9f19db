"""The place of products that have few events or none, from those of the products that are most like them. Pure.

Like an empirical-Bayes prior, on shares as e to the scores are: beside a product's own counts that of the products like
it, the less, the more events it has. Those with more events count the more, and those that are liker. What a product's
own few events say of it is not made less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.content.belief import believed
from shared.content.cold import ColdProducts, Weighed
from shared.content.counts import Counts
from shared.content.discount import Discount
from shared.content.likeness import Likeness
from shared.content.settings import ContentSettings
from shared.content.tokens import tokens_of
from shared.pb.freshet.v1.events_pb2 import Product

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]

# Shares below e to this, beside the largest, are as good as none.
LEAST = np.float32(-80.0)


class Content:
    """Products, by the caller's rows: what they are, and how many events they have."""

    def __init__(self, settings: ContentSettings | None = None) -> None:
        self.settings = settings or ContentSettings()
        self.likeness = Likeness()
        self._counts = Counts(self.settings)
        self._cold = ColdProducts(self.likeness, self._counts, self.settings)
        self._discount = Discount(self.settings)
        self._weighed: Weighed | None = None  # what the discount was told of
        self._shares: FloatArray | None = None  # (C,) what content counts there, until an event changes it

    def put(self, row: int, product: Product) -> None:
        """Know what a product is, or that it has changed."""
        self._counts.grow_to(row + 1)
        if self.likeness.put(row, tokens_of(product)):
            if row in self.likeness and self._counts.is_cold(row):
                self._cold.look_for(row)
            else:
                self._cold.drop(row)

    def count(self, row: int) -> None:
        """Count one event of a product, which may be one of which nothing else is known."""
        self._discount.count(row, is_first=not self._counts[row] and self._cold.has_neighbours(row))
        self._shares = None
        if self._counts.is_cold(row):
            self._counts.add(row)
            if not self._counts.is_cold(row):
                self._cold.drop(row)

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
        self._counts.resume(events)

    def fading(self, rows: NDArray[np.integer]) -> FloatArray:
        """How much content counts beside the events of products: 1 with none, 0 from `settings.events` on."""
        self._counts.grow_to(1 + int(rows.max(initial=0)))
        return self._counts.fading(self._counts.of(rows))

    def added(self, values: FloatArray, popularity: FloatArray) -> tuple[IntArray, FloatArray]:
        """What content adds to the scores of cold products: their rows (C,), each once, and how much, (C,).

        Args:
            values: (A,) scores without content.
            popularity: (A,) shares, each above 0, which scores are held to.
        """
        weighed = self._cold.weighed()
        rows, beside, weights, trust, width = weighed
        if weighed is not self._weighed:
            self._discount.listen(rows, beside, weights * trust[:, None], self._counts.of(rows) == 0)
            self._weighed, self._shares = weighed, None
        if not len(rows):
            return rows, trust
        if self._shares is None:
            events = self._counts.of(rows)
            self._shares = self._counts.fading(events) * trust * self._discount.of(rows, events)
        logs = np.maximum(values - values.max(), LEAST)  # (A,) beside the largest
        share = np.exp(logs)
        shares = self._shares * np.float32(believed(popularity, logs, share, self.settings.popularity_left))
        if len(values) < width:  # some products came after these scores
            have = rows < len(values)
            share = np.pad(share, (0, width - len(values)))
            rows, beside, weights, shares = rows[have], beside[have], weights[have], shares[have]
        theirs = np.einsum("ck,ck->c", weights, share.take(beside))
        return rows, np.log1p(shares * theirs / share[rows])
