"""Conditions on products: `filters.brand("Acme") & ~filters.price(at_least=100)`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1 import recommender_pb2 as calls


class Availability(StrEnum):
    """How soon an available product can be delivered."""

    IN_STOCK = "in_stock"
    BACK_ORDER = "back_order"
    PRE_ORDER = "pre_order"


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """A condition; combine conditions by `&`, `|` and `~`. A condition on an unknown property of a product fails."""

    message: calls.Filter

    def __and__(self, other: Filter) -> Filter:
        """Match products that match both."""
        return Filter(calls.Filter(all_of=calls.Filters(filters=[self.message, other.message])))

    def __or__(self, other: Filter) -> Filter:
        """Match products that match at least one."""
        return Filter(calls.Filter(any_of=calls.Filters(filters=[self.message, other.message])))

    def __invert__(self) -> Filter:
        """Match products that do not match."""
        negated = calls.Filter()
        getattr(negated, "not").CopyFrom(self.message)  # a word of Python's own
        return Filter(negated)


def category(*names: str) -> Filter:
    """Products in one of these categories; case does not matter."""
    return Filter(calls.Filter(category=calls.Values(values=names)))


def brand(*names: str) -> Filter:
    """Products of one of these brands; case does not matter."""
    return Filter(calls.Filter(brand=calls.Values(values=names)))


def price(*, at_least: float | None = None, at_most: float | None = None) -> Filter:
    """Products with a price in a range, in the shop's currency."""
    return Filter(calls.Filter(price=calls.PriceRange(at_least=at_least, at_most=at_most)))


def age(*, at_least_days: float | None = None, at_most_days: float | None = None) -> Filter:
    """Products listed, or first seen in an event, so many days ago."""
    return Filter(calls.Filter(age=calls.AgeRange(at_least_days=at_least_days, at_most_days=at_most_days)))


def availability(*kinds: Availability) -> Filter:
    """Products with one of these availabilities."""
    values = [AVAILABILITIES[Availability(kind)] for kind in kinds]
    return Filter(calls.Filter(availability=calls.Availabilities(values=values)))


AVAILABILITIES = {kind: pb.Availability.Value(f"AVAILABILITY_{kind.name}") for kind in Availability}
