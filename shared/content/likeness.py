"""Which products are like which: cosine of tf-idf vectors, by an inverted index that grows product by product. Pure."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.numeric.arrays import grown
from shared.pb.freshet.v1.events_pb2 import Product

# What the tokens of a product weigh, by what they are of.
CATEGORY, BRAND, TITLE = 1.0, 1.0, 1.0
PRICE = 0.5
DESCRIPTION = 0.3
MOST_WORDS = 200  # of a text that are read
BANDS_PER_OCTAVE = 2
_WORD = re.compile(r"[^\W_]{2,}")

# A token of more products than this, and of more than that share of all, tells too little to be worth looking up.
COMMON, COMMON_SHARE = 2_000, 0.05
# Lengths of vectors change with every product that comes; all are measured anew after so much growth.
GROWTH = 1.25


class Likeness:
    """Products' tokens, by the caller's rows.

    A token counts its weight times log(1 + A / df) (Spärck Jones, J. Documentation 1972), A products, df of them with
    the token.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}  # token → number
        self._rows: list[array[int]] = []  # number → rows with the token
        self._weights: list[array[float]] = []  # likewise, the token's weight there
        self._tokens: dict[int, Mapping[str, float]] = {}  # row → tokens
        self._lengths: NDArray[np.float32] = np.ones(1024, np.float32)  # (A,) of vectors
        self._measured = 0  # products when all lengths were last measured

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, row: int) -> bool:
        return row in self._tokens

    def put(self, row: int, tokens: Mapping[str, float]) -> bool:
        """Set a product's tokens, none to forget it; False where nothing changes."""
        before = self._tokens.get(row, {})
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
            del self._tokens[row]
            return True
        self._tokens[row] = tokens
        self._lengths = grown(self._lengths, row + 1, fill=1)
        self._lengths[row] = self._length(tokens)
        if len(self._tokens) > GROWTH * self._measured:
            self._measured = len(self._tokens)
            self._measure()
        return True

    def beside(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Products that share a token with one, by row, and their likeness to it, (0, 1]; (n,) each."""
        tokens = self._tokens.get(row, {})
        rows, values = [], []
        most = max(COMMON, COMMON_SHARE * len(self._tokens))
        for token, weight in tokens.items():
            number = self._numbers[token]
            of_rows = self._rows[number]
            if 1 < len(of_rows) <= most:
                rows.append(np.frombuffer(of_rows, np.int32))
                of_token = np.frombuffer(self._weights[number], np.float32)
                values.append(of_token * np.float32(weight * self._idf(number) ** 2))
        if not rows:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        sums = np.bincount(np.concatenate(rows), np.concatenate(values))
        sums[row] = 0.0
        beside = np.flatnonzero(sums)
        likeness = (sums[beside] / (self._lengths[beside] * self._length(tokens))).astype(np.float32)
        return beside.astype(np.int32), np.minimum(likeness, np.float32(1.0))

    def _measure(self) -> None:
        """Every vector's length, as tokens weigh now."""
        used = [number for number, rows in enumerate(self._rows) if rows]
        sizes = [len(self._rows[number]) for number in used]
        idf = np.log1p(len(self._tokens) / np.array(sizes))
        rows = np.concatenate([np.frombuffer(self._rows[number], np.int32) for number in used])
        weights = np.concatenate([np.frombuffer(self._weights[number], np.float32) for number in used])
        squares = np.bincount(rows, (weights * idf.repeat(sizes)) ** 2)
        self._lengths[: len(squares)] = np.sqrt(np.where(squares > 0.0, squares, 1.0))

    def _length(self, tokens: Mapping[str, float]) -> float:
        return math.sqrt(sum((weight * self._idf(self._numbers[token])) ** 2 for token, weight in tokens.items()))

    def _idf(self, number: int) -> float:
        return math.log1p(len(self._tokens) / len(self._rows[number]))


def tokens_of(product: Product) -> dict[str, float]:
    """A product as weighted tokens of its category path, brand, price and texts: token → weight, above 0.

    Empty where nothing but its id is known.
    """
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
    for n, word in enumerate(_WORD.finditer(text.casefold())):
        if n == MOST_WORDS:
            return
        yield word[0]


def _take_out(entries: array[Any], place: int) -> None:
    entries[place] = entries[-1]
    entries.pop()
