"""A product as a set of weighted tokens: its category path, its brand, its price, the words of its texts. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from shared.pb.freshet.v1.events_pb2 import Product

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
