"""What wishes may hold: filters, boosts and the rest. Pure; every refusal names the path of the field."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from services.inference.bad_request import MOST_BATCH, MOST_COUNT, BadRequest
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import Availability, Product

MOST_BOOSTS = 100
MOST_FACTOR = 1_000_000.0
MOST_FILTERS = 100  # in one all_of or any_of
MOST_VALUES = 1000  # of one condition
MOST_DEPTH = 10
MOST_CONDITIONS = 1000  # in all

_CONDITIONS = tuple(pb.Filter.DESCRIPTOR.fields_by_name)
PRODUCT_FIELDS = tuple(Product.DESCRIPTOR.fields_by_name)


def check_wishes(wishes: pb.Wishes, path: str = "wishes") -> None:
    """Refuse wishes that can't be met.

    Raises:
        BadRequest: a field is wrong.
    """
    if wishes.count > MOST_COUNT:
        raise BadRequest(f"{path}.count: 0 to {MOST_COUNT}, got {wishes.count}")
    if len(wishes.exclude_product_ids) > MOST_BATCH:
        raise BadRequest(f"{path}.exclude_product_ids: at most {MOST_BATCH}, got {len(wishes.exclude_product_ids)}")
    if wishes.HasField("filter"):
        check_filter(wishes.filter, f"{path}.filter")
    if len(wishes.boosts) > MOST_BOOSTS:
        raise BadRequest(f"{path}.boosts: at most {MOST_BOOSTS}, got {len(wishes.boosts)}")
    for n, boost in enumerate(wishes.boosts):
        if not boost.HasField("products"):
            raise BadRequest(f"{path}.boosts[{n}].products: say which products are boosted")
        check_filter(boost.products, f"{path}.boosts[{n}].products")
        if not 0.0 < boost.factor <= MOST_FACTOR:
            raise BadRequest(f"{path}.boosts[{n}].factor: above 0, at most {MOST_FACTOR:,.0f}, got {boost.factor:g}")
    if not 0.0 <= wishes.diversity <= 1.0:
        raise BadRequest(f"{path}.diversity: 0 to 1, got {wishes.diversity:g}")
    if wishes.HasField("minimum_score") and not math.isfinite(wishes.minimum_score):
        raise BadRequest(f"{path}.minimum_score: a finite number, got {wishes.minimum_score:g}")
    for n, name in enumerate(wishes.product_fields.paths):
        if name not in PRODUCT_FIELDS:
            known = ", ".join(PRODUCT_FIELDS)
            raise BadRequest(f"{path}.product_fields.paths[{n}]: Product has {known}, but not {name!r:.80}")


def check_filter(condition: pb.Filter, path: str) -> None:
    """Refuse a filter that can't be met or can't be afforded.

    Raises:
        BadRequest: a field is wrong, or there is too much of it.
    """
    _check_condition(condition, path, MOST_DEPTH, MOST_CONDITIONS)


def _check_condition(condition: pb.Filter, path: str, depth: int, left: int) -> int:
    """How many conditions there may still be after this one and those in it."""
    kind = condition.WhichOneof("condition")
    if kind is None:
        raise BadRequest(f"{path}: must hold one of {', '.join(_CONDITIONS)}")
    if not depth:
        raise BadRequest(f"{path}: a filter nests at most {MOST_DEPTH} deep")
    if not left:
        raise BadRequest(f"{path}: a filter has at most {MOST_CONDITIONS} conditions in all")
    path, inner, left = f"{path}.{kind}", getattr(condition, kind), left - 1
    if kind == "not":
        return _check_condition(inner, path, depth - 1, left)
    if kind in ("all_of", "any_of"):
        if not 1 <= len(inner.filters) <= MOST_FILTERS:
            raise BadRequest(f"{path}.filters: 1 to {MOST_FILTERS}, got {len(inner.filters)}")
        for n, one in enumerate(inner.filters):
            left = _check_condition(one, f"{path}.filters[{n}]", depth - 1, left)
        return left
    _LEAVES[kind](inner, path)
    return left


def _check_values(values: pb.Values, path: str) -> None:
    if not 1 <= len(values.values) <= MOST_VALUES:
        raise BadRequest(f"{path}.values: 1 to {MOST_VALUES}, got {len(values.values)}")
    if "" in values.values:
        raise BadRequest(f"{path}.values[{list(values.values).index('')}]: must not be empty")


def _check_availability(asked: pb.Availabilities, path: str) -> None:
    if not 1 <= len(asked.values) <= len(Availability.values()):
        raise BadRequest(f"{path}.values: 1 to {len(Availability.values())}, got {len(asked.values)}")
    for n, value in enumerate(asked.values):
        if value not in Availability.values():
            raise BadRequest(f"{path}.values[{n}]: must be one of Availability, got {value}")


def _check_range(asked: Any, path: str, least: str, most: str) -> None:
    ends = [name for name in (least, most) if asked.HasField(name)]
    if not ends:
        raise BadRequest(f"{path}: give {least}, {most} or both")
    for name in ends:
        if not 0.0 <= getattr(asked, name) < math.inf:
            raise BadRequest(f"{path}.{name}: a finite number, not negative, got {getattr(asked, name):g}")
    if len(ends) == 2 and getattr(asked, most) < getattr(asked, least):
        raise BadRequest(
            f"{path}.{most}: must not be below {least} ({getattr(asked, least):g}), got {getattr(asked, most):g}"
        )


_LEAVES: dict[str, Callable[[Any, str], None]] = {
    "category": _check_values,
    "brand": _check_values,
    "price": lambda asked, path: _check_range(asked, path, "at_least", "at_most"),
    "age": lambda asked, path: _check_range(asked, path, "at_least_days", "at_most_days"),
    "availability": _check_availability,
}
