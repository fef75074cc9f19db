"""Conditions that products meet or do not: `filters.brand("Acme") & ~filters.price(at_least=100)`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1 import recommender_pb2 as calls


class Availability(StrEnum):
    """How soon a product that can be had can be had."""

    IN_STOCK = "in_stock"
    BACK_ORDER = "back_order"
    PRE_ORDER = "pre_order"


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """One condition; `&`, `|` and `~` make others of it. What is not known of a product meets no condition on it."""

    message: calls.Filter

    def __and__(self, other: Filter) -> Filter:
        """Both are met."""
        return Filter(calls.Filter(all_of=calls.Filters(filters=[self.message, other.message])))

    def __or__(self, other: Filter) -> Filter:
        """At least one is met."""
        return Filter(calls.Filter(any_of=calls.Filters(filters=[self.message, other.message])))

    def __invert__(self) -> Filter:
        """It is not met."""
        negated = calls.Filter()
        getattr(negated, "not").CopyFrom(self.message)  # a word of Python's own
        return Filter(negated)


def category(*names: str) -> Filter:
    """One of the product's categories is among these; upper and lower case are alike."""
    return Filter(calls.Filter(category=calls.Values(values=names)))


def brand(*names: str) -> Filter:
    """The product's brand is among these; upper and lower case are alike."""
    return Filter(calls.Filter(brand=calls.Values(values=names)))


def price(*, at_least: float | None = None, at_most: float | None = None) -> Filter:
    """The price lies in a range; in the shop's currency."""
    return Filter(calls.Filter(price=calls.PriceRange(at_least=at_least, at_most=at_most)))


def age(*, at_least_days: float | None = None, at_most_days: float | None = None) -> Filter:
    """The time since it was listed, or since its first event, lies in a range."""
    return Filter(calls.Filter(age=calls.AgeRange(at_least_days=at_least_days, at_most_days=at_most_days)))


def availability(*kinds: Availability) -> Filter:
    """It can be had so soon."""
    values = [AVAILABILITIES[Availability(kind)] for kind in kinds]
    return Filter(calls.Filter(availability=calls.Availabilities(values=values)))


AVAILABILITIES = {kind: pb.Availability.Value(f"AVAILABILITY_{kind.name}") for kind in Availability}
