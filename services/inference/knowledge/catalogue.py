"""The catalogue: a row for each product of the products topic, of states, and of model versions, and its attributes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.content.new_products import Content
from shared.log.records import END_MS
from shared.numeric.arrays import grown
from shared.numeric.compiled import Vector
from shared.pb.freshet.v1.events_pb2 import Availability, Product
from shared.state.known import KnownProducts

# Categories of a product that its similarity counts: the narrowest, which say most.
COMPARED = 8
# Weight of a brand in the similarity, where all of a product's categories together weigh 1.
BRAND_WEIGHT = 0.5
_AVAILABILITIES = frozenset(Availability.values())


class Catalogue(KnownProducts):
    """The products, with each row's `Product` record and its counts of events.

    Any thread may add rows (versions are loaded outside the event loop); all else belongs to the event loop.

    Attributes:
        content: the products' content vectors, and their numbers of events up to a bound.
        names: row → its id, UTF-8.
        records: row → its `Product`, serialised; None where it was removed, or is known only from events.
        removed: rows of removed products.
        attributes: columns derived from the records.
        births: grows whenever a product's first event time changes.
    """

    def __init__(self) -> None:
        self.content: Content = Content()
        super().__init__(self.content)
        self.names = Texts(np.zeros(16_384, np.uint8), np.zeros(1024, np.int64))
        self.records: list[bytes | None] = []
        self.removed: set[int] = set()
        self.attributes = Attributes()
        self.births = 0
        self._events: NDArray[np.int64] = np.zeros(1024, np.int64)
        self._first_event_ms: NDArray[np.int64] = np.zeros(1024, np.int64)

    @property
    def known(self) -> int:
        """The number of products that exist: seen, and not removed."""
        return len(self.ids) - len(self.removed)

    def product(self, row: int) -> Product:
        """A row's product; only its id where it is known only from events."""
        record = self.records[row]
        return Product(product_id=self.ids[row]) if record is None else Product.FromString(record)

    def upsert(self, product: Product) -> None:
        """Add or replace the product, even if it was removed."""
        super().upsert(product)
        row = self.rows[product.product_id]
        self.removed.discard(row)
        self.records[row] = product.SerializeToString()

    def remove(self, product_id: str) -> None:
        """Remove the product until it is upserted again; events alone don't bring it back."""
        super().remove(product_id)
        row = self.rows[product_id]
        self.removed.add(row)
        self.records[row] = None

    def count(self, row: int, event_time_ms: int) -> None:
        """Count an applied event of the product."""
        super().count(row, event_time_ms)
        if row >= len(self._events):
            self._grow_to(row + 1)
        self._events[row] += 1
        first_ms = int(self._first_event_ms[row])
        if not first_ms or event_time_ms < first_ms:
            self._first_event_ms[row] = event_time_ms
            self.births += 1

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Copies of the number of applied events and the earliest event time of each row; both are 0 beyond the end."""
        rows = len(self.ids)  # read once: loading a version may add products meanwhile
        return self._events[:rows].copy(), self._first_event_ms[:rows].copy()

    def resume_counts(
        self, events: NDArray[np.int64], first_event_ms: NDArray[np.int64], content: Mapping[str, NDArray[Any]]
    ) -> None:
        """Restore the results of `counts` and `content.learned`, before anything is counted."""
        self.resume(events)
        self._grow_to(len(events))
        self._events[: len(events)], self._first_event_ms[: len(events)] = events, first_event_ms
        self.content.resume(events, content)
        self.births += 1

    def hidden(self, rows: int) -> NDArray[np.bool_]:
        """Whether each of the first `rows` products is removed or unavailable, so that nobody gets it recommended."""
        hidden = np.zeros(rows, np.bool_)
        hidden[self.hidden_rows()] = True
        return hidden

    def events(self, rows: int) -> NDArray[np.int64]:
        """The number of applied events of each of the first `rows` products."""
        self._grow_to(rows)
        return self._events[:rows]

    def first_event_ms(self, rows: int) -> NDArray[np.int64]:
        """Earliest event time of each of the first `rows` products, ms; 0 before any."""
        self._grow_to(rows)
        return self._first_event_ms[:rows]

    def born_ms(self, rows: int) -> NDArray[np.int64]:
        """The start of the age of each of the first `rows` products, ms; 0 where it is unknown."""
        self.attributes.grow_to(rows)
        listed = self.attributes.listed_ms[:rows]
        return np.where(listed > 0, listed, self.first_event_ms(rows))

    def _add_row(self, product_id: str) -> None:
        self.names = self.names.with_one(len(self.ids), product_id.encode())
        self.records.append(None)

    def _describe(self, row: int, product: Product, *, hidden: bool) -> None:
        super()._describe(row, product, hidden=hidden)
        self._grow_to(row + 1)
        self.attributes.set(row, product)

    def _grow_to(self, rows: int) -> None:
        if rows > len(self._events):
            self._events = grown(self._events, rows)
            self._first_event_ms = grown(self._first_event_ms, rows)


class Texts(NamedTuple):
    """Texts one after the other, as compiled functions read them."""

    content: Vector[np.uint8]
    ends: Vector[np.int64]  # (N,) there may be room for more

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Texts:
        """These."""
        return cls(np.frombuffer(bytearray().join(texts), np.uint8), np.array([*accumulate(map(len, texts))], np.int64))

    def with_one(self, n: int, text: bytes) -> Texts:
        """The first `n` of these and one more; these stay as they are."""
        begin = int(self.ends[n - 1]) if n else 0
        longer = Texts(grown(self.content, begin + len(text)), grown(self.ends, n + 1))
        longer.content[begin : begin + len(text)] = np.frombuffer(text, np.uint8)
        longer.ends[n] = begin + len(text)
        return longer


NO_TEXTS = Texts.of([])


class Attributes:
    """The attributes of products as columns, for filters and similarity; names are codes, whatever their case.

    Attributes:
        changes: grows with every call of `set`, so that results derived from the columns can be invalidated.
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
        self._rows: dict[int, NDArray[np.int32]] = {}  # likewise, as arrays, until a member changes

    def grow_to(self, rows: int) -> None:
        """Make room for this many rows; the attributes of new ones are unknown."""
        if rows <= len(self.price):
            return
        self.price = grown(self.price, rows, fill=np.nan)
        self.listed_ms = grown(self.listed_ms, rows)
        self.availability = grown(self.availability, rows)
        self.brand = grown(self.brand, rows, fill=-1)
        self.tags = grown(self.tags, rows, fill=-1)
        self.weights = grown(self.weights, rows)

    def set(self, row: int, product: Product) -> None:
        """Set the attributes of a row's product; an empty `Product` clears them."""
        self.grow_to(row + 1)
        self.changes += 1
        priced = product.HasField("price") and 0.0 <= product.price < math.inf
        self.price[row] = product.price if priced else np.nan
        self.listed_ms[row] = product.listed_ms if 0 < product.listed_ms < END_MS else 0
        self.availability[row] = product.availability if product.availability in _AVAILABILITIES else 0
        self.brand[row] = self._code("brand", product.brand) if product.brand else -1
        categories = dict.fromkeys(self._code("category", name) for name in product.categories if name)
        self._set_categories(row, tuple(categories))
        self._set_tags(row)

    def category_rows(self, names: Iterable[str]) -> list[NDArray[np.int32]]:
        """The rows of the products of each of these categories that is known."""
        codes = {self._codes.get(("category", name.casefold()), -1) for name in names}
        return [self._rows_of(code) for code in codes if code in self._members]

    def brand_codes(self, names: Iterable[str]) -> list[int]:
        """The codes of those brands that are known."""
        codes = (self._codes.get(("brand", name.casefold())) for name in names)
        return [code for code in codes if code is not None]

    def _code(self, of: str, name: str) -> int:
        return self._codes.setdefault((of, name.casefold()), len(self._codes))

    def _set_categories(self, row: int, categories: tuple[int, ...]) -> None:
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

    def _set_tags(self, row: int) -> None:
        """Set the weights of tags: 1, 2, 3, … from the widest category on, scaled to length 1, and `BRAND_WEIGHT`."""
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
