"""Evaluates a `Filter` over the catalogue, and caches the masks of recent filters. Pure.

An unknown attribute matches no condition on it, and therefore matches that condition inside `not`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.knowledge.catalogue import Attributes, Catalogue
from shared.log.records import DAY_MS
from shared.pb.freshet.v1 import recommender_pb2 as pb

Bools = NDArray[np.bool_]
MOST_BYTES = 64 * 2**20  # of the cached masks
CACHED_BYTES = 5  # of a mask, per product


class Masks:
    """Caches the masks of recent filters, since a shop uses the same few again and again.

    A mask stays valid until an attribute changes or an age passes a limit.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._cached: OrderedDict[bytes, _CachedMask] = OrderedDict()

    def met(self, condition: pb.Filter, rows: int, now_ms: int) -> NDArray[np.bool_]:
        """Which of the first `rows` products match a validated filter, (A,); read-only.

        Args:
            now_ms: end of the ages.
        """
        return self._of(condition, rows, now_ms).mask.met

    def bars(self, condition: pb.Filter, rows: int, now_ms: int) -> NDArray[np.float32]:
        """The mask to add to scores: 0 where a product matches, minus infinity elsewhere."""
        return self._of(condition, rows, now_ms).bars

    def _of(self, condition: pb.Filter, rows: int, now_ms: int) -> _CachedMask:
        key = condition.SerializeToString(deterministic=True)
        cached = self._cached.get(key)
        if cached is None or not cached.holds(self._catalogue, rows, now_ms):
            attributes = self._catalogue.attributes
            attributes.grow_to(rows)
            mask = mask_of(condition, Facts(attributes, self._catalogue.born_ms(rows), now_ms))
            bars = np.where(mask.met, np.float32(0.0), np.float32(-np.inf))
            cached = self._cached[key] = _CachedMask(mask, bars, attributes.changes, self._catalogue.births, now_ms)
        self._cached.move_to_end(key)
        while len(self._cached) > max(8, MOST_BYTES // max(1, CACHED_BYTES * rows)):
            self._cached.popitem(last=False)
        return cached


@dataclass(frozen=True, slots=True)
class _CachedMask:
    """A mask, and the state of the catalogue that it was computed from."""

    mask: Mask
    bars: NDArray[np.float32]
    changes: int  # of the catalogue's attributes
    births: int
    from_ms: int

    def holds(self, catalogue: Catalogue, rows: int, now_ms: int) -> bool:
        if self.changes != catalogue.attributes.changes or len(self.mask.met) != rows:
            return False
        return not self.mask.aged or (self.births == catalogue.births and self.from_ms <= now_ms < self.mask.until_ms)


class Facts(NamedTuple):
    """The columns that a filter reads."""

    attributes: Attributes  # with an entry for each row
    born_ms: NDArray[np.int64]  # (A,) start of each product's age, 0 where unknown
    now_ms: int  # end of the ages


class Mask(NamedTuple):
    """Which products match a filter, and how long this holds while the columns don't change."""

    met: Bools  # (A,)
    until_ms: float = np.inf  # when the next age passes a limit
    aged: bool = False  # whether it depends on ages


def mask_of(condition: pb.Filter, facts: Facts) -> Mask:
    """The products that match a validated filter."""
    kind = condition.WhichOneof("condition")
    assert kind is not None, "a filter without a condition is refused"  # noqa: S101
    return _MASKS[kind](condition, facts)


def _all_of(condition: pb.Filter, facts: Facts) -> Mask:
    return _joined(np.logical_and, condition.all_of, facts)


def _any_of(condition: pb.Filter, facts: Facts) -> Mask:
    return _joined(np.logical_or, condition.any_of, facts)


def _joined(join: np.ufunc, filters: pb.Filters, facts: Facts) -> Mask:
    masks = [mask_of(one, facts) for one in filters.filters]
    met: Bools = join.reduce([mask.met for mask in masks])
    return Mask(met, min(mask.until_ms for mask in masks), any(mask.aged for mask in masks))


def _not(condition: pb.Filter, facts: Facts) -> Mask:
    inner = mask_of(getattr(condition, "not"), facts)
    return inner._replace(met=~inner.met)


def _category(condition: pb.Filter, facts: Facts) -> Mask:
    met: Bools = np.zeros(len(facts.born_ms), np.bool_)
    for rows in facts.attributes.category_rows(condition.category.values):
        met[rows] = True
    return Mask(met)


def _brand(condition: pb.Filter, facts: Facts) -> Mask:
    brands = facts.attributes.brand[: len(facts.born_ms)]
    return Mask(np.isin(brands, facts.attributes.brand_codes(condition.brand.values)))


def _price(condition: pb.Filter, facts: Facts) -> Mask:
    limits, price = condition.price, facts.attributes.price[: len(facts.born_ms)]
    met: Bools = ~np.isnan(price)
    if limits.HasField("at_least"):
        met &= price >= limits.at_least
    if limits.HasField("at_most"):
        met &= price <= limits.at_most
    return Mask(met)


def _age(condition: pb.Filter, facts: Facts) -> Mask:
    limits: Any = condition.age
    known = facts.born_ms > 0
    met: Bools = known.copy()
    until_ms = np.inf
    for field, turns_true in (("at_least_days", True), ("at_most_days", False)):
        if limits.HasField(field):
            limit_ms = facts.born_ms + getattr(limits, field) * DAY_MS
            turns_ms = np.ceil(limit_ms) if turns_true else np.floor(limit_ms) + 1  # (A,) first ms at which it changes
            met &= (turns_ms <= facts.now_ms) == turns_true
            until_ms = min(until_ms, float(turns_ms[known & (turns_ms > facts.now_ms)].min(initial=np.inf)))
    return Mask(met, until_ms, aged=True)


def _availability(condition: pb.Filter, facts: Facts) -> Mask:
    return Mask(np.isin(facts.attributes.availability[: len(facts.born_ms)], list(condition.availability.values)))


_MASKS: dict[str, Callable[[pb.Filter, Facts], Mask]] = {
    "all_of": _all_of,
    "any_of": _any_of,
    "not": _not,
    "category": _category,
    "brand": _brand,
    "price": _price,
    "age": _age,
    "availability": _availability,
}
