"""What wishes may hold beyond the protos' limits: fields that exist, ranges that are none. Pure."""

from __future__ import annotations

from typing import Any

from shared.errors import BadRequest
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import Product

PRODUCT_FIELDS = tuple(Product.DESCRIPTOR.fields_by_name)


def check_wishes(wishes: pb.Wishes, path: str = "wishes") -> None:
    """Refuse wishes that are within the limits and yet can't be met.

    Raises:
        BadRequest: a field is wrong.
    """
    if wishes.HasField("filter"):
        check_filter(wishes.filter, f"{path}.filter")
    for n, boost in enumerate(wishes.boosts):
        check_filter(boost.products, f"{path}.boosts[{n}].products")
    for n, name in enumerate(wishes.product_fields.paths):
        if name not in PRODUCT_FIELDS:
            known = ", ".join(PRODUCT_FIELDS)
            raise BadRequest(f"{path}.product_fields.paths[{n}]", f"Product has {known}, but not {name!r:.80}")


def check_filter(condition: pb.Filter, path: str) -> None:
    """Refuse a filter that is within the limits and yet can't be met.

    Raises:
        BadRequest: a range in it ends before it begins.
    """
    kind = condition.WhichOneof("condition")
    assert kind is not None, "the limits ask for one"  # noqa: S101
    path, inner = f"{path}.{kind}", getattr(condition, kind)
    if kind == "not":
        check_filter(inner, path)
    elif kind in ("all_of", "any_of"):
        for n, one in enumerate(inner.filters):
            check_filter(one, f"{path}.filters[{n}]")
    elif kind == "price":
        _check_range(inner, path, "at_least", "at_most")
    elif kind == "age":
        _check_range(inner, path, "at_least_days", "at_most_days")


def _check_range(ends: Any, path: str, least: str, most: str) -> None:
    if ends.HasField(least) and ends.HasField(most) and getattr(ends, most) < getattr(ends, least):
        raise BadRequest(
            f"{path}.{most}",
            f"must not be below {least} ({getattr(ends, least):g}), got {getattr(ends, most):g}",
        )
