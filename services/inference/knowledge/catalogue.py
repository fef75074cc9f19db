"""The products known, as rows: from the products topic, from states, and from model versions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.content.new_products import Content
from shared.log.records import END_MS
from shared.pb.freshet.v1.events_pb2 import Availability, Product
from shared.process.arrays import grown
from shared.state.known import KnownProducts

# What the catalogue says of each product, as columns by row: what filters ask for and likeness compares.

# Categories of a product that likeness compares: the narrowest of them, which say most.
COMPARED = 8
# What a brand counts in likeness, where all of a product's categories together count 1.
BRAND_WEIGHT = 0.5

_AVAILABILITIES = frozenset(Availability.values())


class Attributes:
    """Columns that grow, each derived from the `Product` records that `set` was given; names are codes, case apart.

    Attributes:
        changes: grows with every call of `set`, so that what was made of the columns can be told from what is new.
    """

    def __init__(self, rows: int = 1024) -> None:
        self.changes = 0
        self.price: NDArray[np.float64] = np.full(rows, np.nan)  # NaN where unknown
        self.listed_ms: NDArray[np.int64] = np.zeros(rows, np.int64)  # 0 where unknown
        self.availability: NDArray[np.int8] = np.zeros(rows, np.int8)
        self.brand: NDArray[np.int32] = np.full(rows, -1, np.int32)  # -1 where unknown
        self.tags: NDArray[np.int32] = np.full((rows, COMPARED + 1), -1, np.int32)  # categories, and the brand last
        self.weights: NDArray[np.float32] = np.zeros((rows, COMPARED + 1), np.float32)  # of tags; a row is of length 1
        self._codes: dict[tuple[str, str], int] = {}  # ("category" or "brand", name) → code, one numbering for both
        self._categories: dict[int, tuple[int, ...]] = {}  # row → codes
        self._members: dict[int, set[int]] = {}  # a category's code → rows
        self._rows: dict[int, NDArray[np.int32]] = {}  # likewise, as arrays, until a member comes or goes

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return len(self._codes)

    def grow_to(self, rows: int) -> None:
        """Have a place for so many rows; of new ones nothing is known."""
        if rows <= len(self.price):
            return
        self.price = grown(self.price, rows, fill=np.nan)
        self.listed_ms = grown(self.listed_ms, rows)
        self.availability = grown(self.availability, rows)
        self.brand = grown(self.brand, rows, fill=-1)
        self.tags = grown(self.tags, rows, fill=-1)
        self.weights = grown(self.weights, rows)

    def set(self, row: int, product: Product) -> None:
        """Take what a row's product says; an empty `Product` takes all of it back."""
        self.grow_to(row + 1)
        self.changes += 1
        priced = product.HasField("price") and 0.0 <= product.price < math.inf
        self.price[row] = product.price if priced else np.nan
        self.listed_ms[row] = product.listed_ms if 0 < product.listed_ms < END_MS else 0
        self.availability[row] = product.availability if product.availability in _AVAILABILITIES else 0
        self.brand[row] = self._code("brand", product.brand) if product.brand else -1
        categories = dict.fromkeys(self._code("category", name) for name in product.categories if name)
        self._move(row, tuple(categories))
        self._compare(row)

    def category_rows(self, names: Iterable[str]) -> list[NDArray[np.int32]]:
        """Rows of the products in each of these categories; of unknown ones none."""
        codes = {self._codes.get(("category", name.casefold()), -1) for name in names}
        return [self._rows_of(code) for code in codes if code in self._members]

    def brand_codes(self, names: Iterable[str]) -> list[int]:
        """Codes of those brands that are known."""
        codes = (self._codes.get(("brand", name.casefold())) for name in names)
        return [code for code in codes if code is not None]

    def _code(self, of: str, name: str) -> int:
        return self._codes.setdefault((of, name.casefold()), len(self._codes))

    def _move(self, row: int, categories: tuple[int, ...]) -> None:
        before = self._categories.pop(row, ())
        for code in before:
            self._members[code].discard(row)
            self._rows.pop(code, None)
        for code in categories:
            self._members.setdefault(code, set()).add(row)
            self._rows.pop(code, None)
        if categories:
            self._categories[row] = categories

    def _rows_of(self, code: int) -> NDArray[np.int32]:
        rows = self._rows.get(code)
        if rows is None:
            members = self._members[code]
            rows = self._rows[code] = np.fromiter(members, np.int32, len(members))
        return rows

    def _compare(self, row: int) -> None:
        """Categories weigh the more the narrower they are: 1, 2, 3, …, scaled to length 1; a brand `BRAND_WEIGHT`."""
        codes = self._categories.get(row, ())
        depths = np.arange(1, len(codes) + 1)[-COMPARED:]
        weights: NDArray[np.float32] = np.zeros(COMPARED + 1, np.float32)
        self.tags[row] = -1
        if codes:
            self.tags[row, : len(depths)] = codes[-COMPARED:]
            weights[: len(depths)] = depths / np.linalg.norm(depths)
        if self.brand[row] >= 0:
            self.tags[row, COMPARED] = self.brand[row]
            weights[COMPARED] = BRAND_WEIGHT
        length = np.linalg.norm(weights)
        self.weights[row] = weights / length if length else weights


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
