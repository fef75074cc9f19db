"""How much content counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContentSettings:
    """Chosen on the first halves of a shop's sales and of a set of reviews; see docs/results.md."""

    neighbours: int = 8  # K, products beside a new one
    events: int = 3  # with so many of its own a product's content counts no longer
    prior: float = 2.0  # events that content is worth
    doubt: float = 0.2  # likeness, summed over the products beside it, at which half of their score counts
    discount: float = 0.1  # how much rarer a new product is chosen than those beside it: a first guess
    discount_events: float = 10.0  # first events of new products that this first guess is worth
    discount_shape: float = 0.2  # of the gamma distribution of products' own discounts: the less, the more they differ
    popularity_left: float = 0.5  # what a calibrated policy's shares leave of popularity's, at least
    at_once: int = 8  # products whose neighbours are looked for while one answer is made

    # When products with events have become so many times more, those beside a new one are looked for again.
    growth: float = 1.5
