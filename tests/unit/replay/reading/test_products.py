"""Product metadata of every edition becomes products."""

from __future__ import annotations

from typing import Any

import pytest

from replay.reading.records import parse_record
from replay.reading.snap import to_product
from shared.pb.freshet.v1.events_pb2 import Product
from shared.process.errors import BadEvent


def test_metadata_of_2014_in_python_literals() -> None:
    line = b"""{'asin': '0000031852', 'title': "Girls Ballet Tutu", 'price': 3.17, 'brand': 'Coxlures',
        'categories': [['Sports', 'Dance'], ['Toys']], 'salesRank': {'Toys': 211836}}""".replace(b"\n", b"")
    assert to_product(parse_record(line)) == Product(
        product_id="0000031852",
        title="Girls Ballet Tutu",
        price=3.17,
        brand="Coxlures",
        categories=["Sports", "Dance"],
    )


def test_metadata_of_2018() -> None:
    record = {"asin": "B1", "title": "A &amp;\n B", "price": "$1,012.34", "category": ["Gift Cards", "Gift Cards"]}
    assert to_product(record) == Product(
        product_id="B1", title="A & B", price=1012.34, categories=["Gift Cards"]
    )  # fmt: skip


def test_metadata_of_2023() -> None:
    record = {
        "main_category": "All Beauty", "title": "Salt", "price": 12.5, "store": "Crystal", "categories": [],
        "details": {"Brand": "x"}, "parent_asin": "B09", "bought_together": None,
    }  # fmt: skip
    assert to_product(record) == Product(
        product_id="B09", title="Salt", price=12.5, brand="Crystal", categories=["All Beauty"]
    )
    assert to_product(record | {"categories": ["Beauty", "Bath"], "price": None}).categories == ["Beauty", "Bath"]
    assert to_product({"parent_asin": "", "asin": "B1"}).product_id == "B1"


def test_metadata_with_nulls() -> None:
    record = {"asin": "B1", "title": None, "price": None, "category": "tablets", "brand": None}
    assert to_product(record) == Product(product_id="B1", categories=["tablets"])


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ("$229.00", 229.0),
        ("229", 229.0),
        ("$12.50 - $40.00", 12.5),
        (0, 0.0),
        ("", None),
        (".a-box-inner{background-color:#fff}", None),
        ("free", None),
        (-1.0, None),
        (float("nan"), None),
        (10**400, None),
        (True, None),
        ([5], None),
    ],
)
def test_prices(given: Any, price: float | None) -> None:
    product = to_product({"asin": "B1", "price": given})
    assert (product.price if product.HasField("price") else None) == price


def test_odd_categories_and_endless_titles_are_tamed() -> None:
    product = to_product({"asin": "B1", "title": "x" * 10_000, "categories": {"a": 1}, "category": [1, None, "c"]})
    assert len(product.title) == 500
    assert list(to_product({"asin": "B1", "category": [1, None, "c"]}).categories) == ["c"]


@pytest.mark.parametrize(("reason", "record"), [("no_product", {"title": "t"}), ("bad_id", {"asin": "a\tb"})])
def test_a_line_that_names_no_product_is_refused(reason: str, record: dict[str, Any]) -> None:
    with pytest.raises(BadEvent) as refused:
        to_product(record)
    assert refused.value.reason == reason
