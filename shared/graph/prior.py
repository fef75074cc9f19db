"""What may follow a product before anybody was counted: its metadata's neighbours, as a relation of a version. Pure.

    prior = prior_of(stream.products, listings)              # a `Neighbours`, fit for a version's neighbours
    faded(prior, events)                                     # what is left of it where products have a history

Brands and categories are known when a product is new. Lists of what is also bought and viewed were crawled years after
the reviews they stand beside: judged on those, a prior made from them reads the future, and its row must say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.graph.listing import Listing
from shared.neighbours import Neighbours

# What a mention says, before it is shared out: as both a lists b and b lists a may, it may count twice.
BOUGHT, VIEWED = 1.0, 0.5
# What all products of the same brand, and of the same narrowest category, get together.
BRAND, CATEGORY = 0.5, 0.25
# Groups larger than this tell too little to be worth their entries.
MOST_IN_GROUP = 200
KEPT = 100
# A product's neighbours are shared out as if it had so much more of one that nobody chooses.
SHRINK = 1.0
# Events of a product after which its prior counts half.
HALF_EVENTS = 5.0

_NOTHING = Listing()


def prior_of(products: Sequence[str], listings: Mapping[str, Listing]) -> Neighbours:
    """Shares of what goes with each product by metadata, (A, A), at most `KEPT` a row.

    Args:
        products: row → product_id, (A,)
        listings: product_id → what metadata says of it
    """
    rows = {product_id: row for row, product_id in enumerate(products)}
    found: list[defaultdict[int, float]] = [defaultdict(float) for _ in products]
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, product_id in enumerate(products):
        own = listings.get(product_id, _NOTHING)
        for others, strength in ((own.also_bought, BOUGHT), (own.also_viewed, VIEWED)):
            for other in others:
                there = rows.get(other)
                if there is not None and there != row:
                    found[row][there] += strength
                    found[there][row] += strength
        if own.brand:
            groups["brand", own.brand].append(row)
        if own.categories:
            groups["category", own.categories[-1]].append(row)
    for (kind, _), members in groups.items():
        if 1 < len(members) <= MOST_IN_GROUP:
            each = (BRAND if kind == "brand" else CATEGORY) / (len(members) - 1)
            for a in members:
                for b in members:
                    if a != b:
                        found[a][b] += each
    return _shared_out(found)


def faded(prior: Neighbours, events: NDArray[np.int64]) -> Neighbours:
    """The prior where history is short: each row times `HALF_EVENTS` / (`HALF_EVENTS` + the product's events).

    Args:
        events: (A,)
    """
    left = (HALF_EVENTS / (HALF_EVENTS + events)).astype(np.float32)
    return Neighbours(prior.starts, prior.products, prior.values * np.repeat(left, np.diff(prior.starts)))


def _shared_out(found: Sequence[Mapping[int, float]]) -> Neighbours:
    lengths, products, values = [0], list[int](), list[float]()
    for own in found:
        kept = sorted(sorted(own.items(), key=lambda entry: (-entry[1], entry[0]))[:KEPT])
        total = sum(own.values()) + SHRINK
        lengths.append(len(kept))
        products += [row for row, _ in kept]
        values += [strength / total for _, strength in kept]
    return Neighbours(np.cumsum(lengths).astype(np.int32), np.array(products, np.int32), np.array(values, np.float32))
