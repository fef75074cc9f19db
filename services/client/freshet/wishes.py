"""What an answer is to be like, the same for every call that recommends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from google.protobuf.field_mask_pb2 import FieldMask

from freshet.errors import InvalidRequest
from freshet.filters import Filter
from shared.pb.freshet.v1 import recommender_pb2 as calls


class Wishes(TypedDict, total=False):
    """Keyword arguments; none must be given."""

    count: int  # products wanted, 1 to 1,000; 10 unless told
    exclude: Iterable[str]  # products that must not be in this answer
    filter: Filter  # only products that meet it
    boosts: Mapping[Filter, float]  # what the odds of the products that meet each filter are multiplied by, above 0
    diversity: float  # how much an answer avoids products that are like those above them, 0 to 1
    minimum_score: float  # leave out products whose score is lower
    fields: Iterable[str]  # of each product, such as "title" and "price", to be told beside its id
    explain: bool  # say what made each score


def wishes_message(wishes: Wishes) -> calls.Wishes:
    """Wishes as they are sent.

    Raises:
        TypeError: there is no such wish.
        InvalidRequest: a count that can't be sent; the service refuses what can be, and is too much.
    """
    unknown = [name for name in wishes if name not in Wishes.__annotations__]
    if unknown:
        raise TypeError(f"there is no argument {unknown[0]!r}; there are {', '.join(Wishes.__annotations__)}")
    count = wishes.get("count", 0)
    if count < 0:
        raise InvalidRequest(f"wishes.count: must not be negative, got {count}")
    wanted = wishes.get("filter")
    fields = list(wishes.get("fields", ()))
    return calls.Wishes(
        count=count,
        exclude_product_ids=wishes.get("exclude", ()),
        filter=None if wanted is None else wanted.message,
        boosts=[
            calls.Boost(products=which.message, factor=factor) for which, factor in wishes.get("boosts", {}).items()
        ],
        diversity=wishes.get("diversity", 0.0),
        minimum_score=wishes.get("minimum_score"),
        product_fields=FieldMask(paths=fields) if fields else None,
        explain=wishes.get("explain", False),
    )
