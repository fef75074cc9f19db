"""What the catalogue says of each product, as columns by row: what filters ask for and likeness compares."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from shared.events import END_MS
from shared.pb.freshet.v1.events_pb2 import Availability, Product
from shared.process.arrays import grown

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
