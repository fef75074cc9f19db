"""A refusal of wishes names the field by its path."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from services.inference.calls.requests import check_wishes, recommend_wishes
from shared.log.limits import check
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.errors import BadRequest

CHEAP = {"price": {"at_most": 5}}
BOTH = {"price": {"at_least": 10, "at_most": 5}}


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        (
            {"filter": {"all_of": {"filters": [CHEAP, CHEAP, BOTH]}}},
            "wishes.filter.all_of.filters[2].price.at_most: must not be below at_least (10), got 5",
        ),
        (
            {"filter": {"not": {"any_of": {"filters": [{}]}}}},
            "wishes.filter.not.any_of.filters[0]: must hold one of all_of, any_of, not, category, brand, price, age, "
            "availability",
        ),
        ({"filter": {"age": {}}}, "wishes.filter.age: give at_least_days, at_most_days or both"),
        ({"filter": {"brand": {"values": ["a", ""]}}}, "wishes.filter.brand.values[1]: must not be empty"),
        ({"boosts": [{"products": CHEAP, "factor": 2}, {"factor": 2}]}, "wishes.boosts[1].products: must be given"),
        ({"boosts": [{"products": BOTH, "factor": 2}]}, "wishes.boosts[0].products.price.at_most: must not be below"),
        ({"boosts": [{"products": CHEAP}]}, "wishes.boosts[0].factor: above 0, at most 1,000,000, got 0"),
        ({"diversity": 1.5}, "wishes.diversity: 0 to 1, got 1.5"),
        ({"count": 1001}, "wishes.count: 0 to 1000, got 1001"),
        (
            {"product_fields": "title,titel"},
            "wishes.product_fields.paths[1]: Product has product_id, title, categories, brand, price, unavailable, "
            "availability, listed_ms, description, but not 'titel'",
        ),
        ({"product_fields": "title,"}, "wishes.product_fields.paths[1]: Product has product_id, "),
        ({"product_fields": ","}, "wishes.product_fields.paths[0]: Product has product_id, "),
    ],
)
def test_a_refusal_says_where_and_what(wishes: dict[str, Any], message: str) -> None:
    parsed = ParseDict(wishes, pb.Wishes())
    with pytest.raises(BadRequest) as refused:
        check(parsed, "wishes")
        check_wishes(parsed)
    assert str(refused.value).startswith(message)


def test_an_empty_mask_asks_for_no_fields() -> None:
    check_wishes(pb.Wishes(product_fields={"paths": []}))


def test_wishes_that_passed_are_kept_and_what_is_refused_is_refused_again() -> None:
    good, bad = ({"filter": {"price": {"at_least": least, "at_most": 5}}} for least in (4, 6))
    for _ in range(2):
        wishes = ParseDict(good, pb.Wishes())
        assert recommend_wishes(pb.RecommendRequest(user_id="ann", wishes=wishes), 1) == wishes
        with pytest.raises(BadRequest, match="at_most"):
            recommend_wishes(pb.RecommendRequest(user_id="ann", wishes=ParseDict(bad, pb.Wishes())), 1)
