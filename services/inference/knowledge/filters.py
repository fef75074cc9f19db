"""From a `Filter` to the products that meet it. Pure.

What is not known of a product meets no condition that asks for it; so it meets one that is turned round by `not`.
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


class Facts(NamedTuple):
    """What a filter looks at."""

    attributes: Attributes  # with a place for each row
    born_ms: NDArray[np.int64]  # (A,) from when ages count, 0 where unknown
    now_ms: int  # to when they count


class Mask(NamedTuple):
    """Which products meet a filter, and how long that stays so while the columns do not change."""

    met: Bools  # (A,)
    until_ms: float = np.inf  # from when on an age may have passed a limit
    aged: bool = False  # whether ages were asked for


def mask_of(condition: pb.Filter, facts: Facts) -> Mask:
    """The products that meet a filter, which was found valid."""
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
    asked, price = condition.price, facts.attributes.price[: len(facts.born_ms)]
    met: Bools = ~np.isnan(price)
    if asked.HasField("at_least"):
        met &= price >= asked.at_least
    if asked.HasField("at_most"):
        met &= price <= asked.at_most
    return Mask(met)


def _age(condition: pb.Filter, facts: Facts) -> Mask:
    asked: Any = condition.age
    known = facts.born_ms > 0
    met: Bools = known.copy()
    until_ms = np.inf
    for field, turns_true in (("at_least_days", True), ("at_most_days", False)):
        if asked.HasField(field):
            limit_ms = facts.born_ms + getattr(asked, field) * DAY_MS
            turns_ms = np.ceil(limit_ms) if turns_true else np.floor(limit_ms) + 1  # (A,) the first ms of it
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


# The masks of filters asked for lately: a shop asks the same few again and again.

MOST_BYTES = 64 * 2**20
KEPT_BYTES = 5  # of each product and filter


@dataclass(frozen=True, slots=True)
class _Kept:
    mask: Mask
    bars: NDArray[np.float32]
    changes: int  # of the catalogue's attributes, when it was made
    births: int
    from_ms: int

    def holds(self, catalogue: Catalogue, rows: int, now_ms: int) -> bool:
        if self.changes != catalogue.attributes.changes or len(self.mask.met) != rows:
            return False
        return not self.mask.aged or (self.births == catalogue.births and self.from_ms <= now_ms < self.mask.until_ms)


class Masks:
    """Keeps what `mask_of` gave for as long as it is right: no attribute changed, no age passed a limit."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def met(self, condition: pb.Filter, rows: int, now_ms: int) -> NDArray[np.bool_]:
        """Which of the first `rows` products meet a valid filter, (A,); not to be changed.

        Args:
            now_ms: to when ages count.
        """
        return self._of(condition, rows, now_ms).mask.met

    def bars(self, condition: pb.Filter, rows: int, now_ms: int) -> NDArray[np.float32]:
        """The same as what scores are added to: 0 for those that meet it, minus infinity for the others."""
        return self._of(condition, rows, now_ms).bars

    def _of(self, condition: pb.Filter, rows: int, now_ms: int) -> _Kept:
        key = condition.SerializeToString(deterministic=True)
        kept = self._kept.get(key)
        if kept is None or not kept.holds(self._catalogue, rows, now_ms):
            attributes = self._catalogue.attributes
            attributes.grow_to(rows)
            mask = mask_of(condition, Facts(attributes, self._catalogue.born_ms(rows), now_ms))
            bars = np.where(mask.met, np.float32(0.0), np.float32(-np.inf))
            kept = self._kept[key] = _Kept(mask, bars, attributes.changes, self._catalogue.births, now_ms)
        self._kept.move_to_end(key)
        while len(self._kept) > max(8, MOST_BYTES // max(1, KEPT_BYTES * rows)):
            self._kept.popitem(last=False)
        return kept
