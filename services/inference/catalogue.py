"""The products known, as rows: from the products topic, from states, and from model versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.inference.attributes import Attributes
from shared.content.places import Content
from shared.pb.freshet.v1.events_pb2 import Product
from shared.process.arrays import grown
from shared.state.known import KnownProducts


class Catalogue(KnownProducts):
    """The products, with each row's `Product` record and what its events told.

    Any thread may give products rows (a version is loaded beside the event loop); all else belongs to the event loop.

    Attributes:
        content: what the records say products are, and how many events these have, up to a bound.
        records: row → its `Product`, serialised; None of a product that was removed, or that only its events told of.
        removed: rows of products that were removed.
        attributes: columns made of the records.
        births: grows whenever a product's first event time changes.
    """

    def __init__(self) -> None:
        self.content: Content = Content()
        super().__init__(self.content)
        self.records: list[bytes | None] = []
        self.removed: set[int] = set()
        self.attributes = Attributes()
        self.births = 0
        self._bars: NDArray[np.float32] = np.zeros(1024, np.float32)
        self._events: NDArray[np.int64] = np.zeros(1024, np.int64)
        self._first_event_ms: NDArray[np.int64] = np.zeros(1024, np.int64)

    @property
    def known(self) -> int:
        """Products that exist: seen, and not removed."""
        return len(self.ids) - len(self.removed)

    def product(self, row: int) -> Product:
        """What is known of a row's product; of one that only its events told of, the id alone."""
        record = self.records[row]
        return Product(product_id=self.ids[row]) if record is None else Product.FromString(record)

    def upsert(self, product: Product) -> None:
        """Know the product, removed before or not."""
        super().upsert(product)
        row = self.rows[product.product_id]
        self.removed.discard(row)
        self.records[row] = product.SerializeToString()

    def remove(self, product_id: str) -> None:
        """Forget the product until it is upserted anew; a later event alone does not bring it back."""
        super().remove(product_id)
        row = self.rows[product_id]
        self.removed.add(row)
        self.records[row] = None

    def count(self, row: int, event_time_ms: int) -> None:
        """An event of the product was applied."""
        super().count(row, event_time_ms)
        if row >= len(self._events):
            self._grow_to(row + 1)
        self._events[row] += 1
        first_ms = int(self._first_event_ms[row])
        if not first_ms or event_time_ms < first_ms:
            self._first_event_ms[row] = event_time_ms
            self.births += 1

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Copies, by row, of how many events were applied and of the earliest event time; beyond the end both are 0."""
        rows = len(self.ids)  # once: a version that is being loaded may add products meanwhile
        return self._events[:rows].copy(), self._first_event_ms[:rows].copy()

    def resume_counts(
        self, events: NDArray[np.int64], first_event_ms: NDArray[np.int64], content: Mapping[str, NDArray[Any]]
    ) -> None:
        """Take back what `counts` and `content.learned` gave, before anything was counted."""
        self.resume(events)
        self._grow_to(len(events))
        self._events[: len(events)], self._first_event_ms[: len(events)] = events, first_event_ms
        self.content.resume(events, content)
        self.births += 1

    def hidden(self, rows: int) -> NDArray[np.bool_]:
        """Whether each of the first `rows` products must not be recommended to anybody: removed or unavailable."""
        return self.bars(rows) < 0.0

    def bars(self, rows: int) -> NDArray[np.float32]:
        """The same as what scores are added to: minus infinity for those that are hidden, 0 for the others."""
        self._grow_to(rows)
        return self._bars[:rows]

    def events(self, rows: int) -> NDArray[np.int64]:
        """How many events of each of the first `rows` products were applied."""
        self._grow_to(rows)
        return self._events[:rows]

    def first_event_ms(self, rows: int) -> NDArray[np.int64]:
        """Earliest event time of each of the first `rows` products, ms; 0 before any."""
        self._grow_to(rows)
        return self._first_event_ms[:rows]

    def born_ms(self, rows: int) -> NDArray[np.int64]:
        """From when the age of each of the first `rows` products counts, ms; 0 where it is not known."""
        self.attributes.grow_to(rows)
        listed = self.attributes.listed_ms[:rows]
        return np.where(listed > 0, listed, self.first_event_ms(rows))

    def _add_row(self) -> None:
        super()._add_row()
        self.records.append(None)

    def _describe(self, row: int, product: Product, *, hidden: bool) -> None:
        super()._describe(row, product, hidden=hidden)
        self._grow_to(row + 1)
        self._bars[row] = -np.inf if hidden else 0.0
        self.attributes.set(row, product)

    def _grow_to(self, rows: int) -> None:
        if rows > len(self._bars):
            self._bars = grown(self._bars, rows)
            self._events = grown(self._events, rows)
            self._first_event_ms = grown(self._first_event_ms, rows)
