"""Which products are like which: cosine of tf-idf vectors, by an inverted index that grows product by product. Pure."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.pb.freshet.v1.events_pb2 import Product
from shared.process.arrays import grown

# A product as a set of weighted tokens: its category path, its brand, its price, the words of its texts. Pure.

CATEGORY, BRAND, TITLE = 1.0, 1.0, 1.0
PRICE = 0.5
DESCRIPTION = 0.3
MOST_WORDS = 200  # of a text that are read
BANDS_PER_OCTAVE = 2

_WORD = re.compile(r"[^\W_]{2,}")


def tokens_of(product: Product) -> dict[str, float]:
    """Token → weight, above 0; empty where nothing is said of the product but its id."""
    tokens: dict[str, float] = {}
    path = ""
    for name in product.categories:
        path = f"{path}/{name.casefold()}"
        tokens[path] = CATEGORY
    if product.brand:
        tokens[f"brand {product.brand.casefold()}"] = BRAND
    for band in _price_bands(product.price):
        tokens[band] = PRICE
    for word in _words(product.description):
        tokens[word] = DESCRIPTION
    for word in _words(product.title):
        tokens[word] = TITLE
    return tokens


def _price_bands(price: float) -> Iterator[str]:
    """Two grids of bands, half a band apart, so that prices on either side of an edge share one."""
    if price > 0.0:
        place = BANDS_PER_OCTAVE * math.log2(price)
        yield f"price {math.floor(place)}"
        yield f"price+ {math.floor(place + 0.5)}"


def _words(text: str) -> Iterator[str]:
    for n, found in enumerate(_WORD.finditer(text.casefold())):
        if n == MOST_WORDS:
            return
        yield found[0]


# A token of more products than this, and than that share of all, tells too little for what it takes to look them up.
COMMON, COMMON_SHARE = 2_000, 0.05
# Lengths of vectors, which change with every product that comes, are measured anew when there are so many more.
GROWTH = 1.25


class Likeness:
    """Products' tokens, by the caller's rows.

    Weights are a token's own times log(1 + A / df) (Spärck Jones, J. Documentation 1972), A products, df of them with
    the token.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}  # token → number
        self._rows: list[array[int]] = []  # number → rows with the token
        self._weights: list[array[float]] = []  # likewise, what it weighs there
        self._own: dict[int, Mapping[str, float]] = {}  # row → tokens
        self._lengths: NDArray[np.float32] = np.ones(1024, np.float32)  # (A,) of vectors
        self._measured = 0  # products there were when all of them were measured last

    def __len__(self) -> int:
        return len(self._own)

    def __contains__(self, row: int) -> bool:
        return row in self._own

    def put(self, row: int, tokens: Mapping[str, float]) -> bool:
        """Know a product's tokens, none to forget it; False where nothing changes."""
        before = self._own.get(row, {})
        if before == tokens:
            return False
        for token in before:
            number = self._numbers[token]
            place = self._rows[number].index(row)
            _take_out(self._rows[number], place)
            _take_out(self._weights[number], place)
        for token, weight in tokens.items():
            number = self._numbers.setdefault(token, len(self._rows))
            if number == len(self._rows):
                self._rows.append(array("i"))
                self._weights.append(array("f"))
            self._rows[number].append(row)
            self._weights[number].append(weight)
        if not tokens:
            del self._own[row]
            return True
        self._own[row] = tokens
        self._lengths = grown(self._lengths, row + 1, fill=1)
        self._lengths[row] = self._length(tokens)
        if len(self._own) > GROWTH * self._measured:
            self._measured = len(self._own)
            self._measure()
        return True

    def beside(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Products that share a token with one, by row, and how like it they are, (0, 1]; (n,) each."""
        tokens = self._own.get(row, {})
        rows, values = [], []
        most = max(COMMON, COMMON_SHARE * len(self._own))
        for token, weight in tokens.items():
            number = self._numbers[token]
            own = self._rows[number]
            if 1 < len(own) <= most:
                rows.append(np.frombuffer(own, np.int32))
                of_token = np.frombuffer(self._weights[number], np.float32)
                values.append(of_token * np.float32(weight * self._idf(number) ** 2))
        if not rows:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        sums = np.bincount(np.concatenate(rows), np.concatenate(values))
        sums[row] = 0.0
        found = np.flatnonzero(sums)
        likeness = (sums[found] / (self._lengths[found] * self._length(tokens))).astype(np.float32)
        return found.astype(np.int32), np.minimum(likeness, np.float32(1.0))

    def _measure(self) -> None:
        """Every vector's length, as tokens weigh now."""
        used = [number for number, own in enumerate(self._rows) if own]
        sizes = [len(self._rows[number]) for number in used]
        idf = np.log1p(len(self._own) / np.array(sizes))
        rows = np.concatenate([np.frombuffer(self._rows[number], np.int32) for number in used])
        weights = np.concatenate([np.frombuffer(self._weights[number], np.float32) for number in used])
        squares = np.bincount(rows, (weights * idf.repeat(sizes)) ** 2)
        self._lengths[: len(squares)] = np.sqrt(np.where(squares > 0.0, squares, 1.0))

    def _length(self, tokens: Mapping[str, float]) -> float:
        return math.sqrt(sum((weight * self._idf(self._numbers[token])) ** 2 for token, weight in tokens.items()))

    def _idf(self, number: int) -> float:
        return math.log1p(len(self._own) / len(self._rows[number]))


def _take_out(entries: array[Any], place: int) -> None:
    entries[place] = entries[-1]
    entries.pop()
