"""Pages of the catalogue, while products come and go."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from services.inference.calls.listing import CatalogueListing, last_of, token
from services.inference.knowledge.catalogue import Catalogue
from shared.pb.freshet.v1.events_pb2 import Product
from shared.process.errors import BadRequest


def shop(*products: str) -> Catalogue:
    catalogue = Catalogue()
    for product in products:
        catalogue.upsert(Product(product_id=product))
    return catalogue


def pages(
    listing: CatalogueListing, catalogue: Catalogue, after: str = "", size: int = 2, query: str = ""
) -> tuple[list[str], str | None, int]:
    page = asyncio.run(listing.page(after, size, query, np.ones(len(catalogue), np.bool_)))
    return [catalogue.ids[row] for row in page.rows], page.last, page.total


def test_pages_go_on_where_the_last_one_ended_whatever_came_or_went() -> None:
    catalogue = shop("d", "b", "f", "h", "ü")
    listing = CatalogueListing(catalogue)
    assert pages(listing, catalogue) == (["b", "d"], "d", 5)
    for product in ("a", "e", "g"):
        catalogue.upsert(Product(product_id=product))
    catalogue.remove("d")
    catalogue.remove("f")
    assert pages(listing, catalogue, "d") == (["e", "g"], "g", 6)
    assert pages(listing, catalogue, "g") == (["h", "ü"], None, 6)
    catalogue.upsert(Product(product_id="f"))
    assert pages(listing, catalogue, "d", 9) == (["e", "f", "g", "h", "ü"], None, 7)
    assert pages(listing, catalogue, "ü") == ([], None, 7)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "B01 x y"),
        ("RED", "B01 x"),
        ("red  shoes", "B01"),
        ("b0", "B01"),
        ("acme", "y"),
        ("gard", "x"),
        ("STRASSE", "y"),
        ("red nothing", ""),
        ("shoe\nacme", ""),
    ],
)
def test_a_query_finds_products_that_have_all_its_words(query: str, expected: str) -> None:
    catalogue = Catalogue()
    catalogue.upsert(Product(product_id="B01", title="Red Shoes"))
    catalogue.upsert(Product(product_id="x", title="Red rake", categories=["Garden", "Tools"]))
    catalogue.upsert(Product(product_id="y", title="Straße", brand="Acme"))
    listing = CatalogueListing(catalogue)
    assert pages(listing, catalogue, query=query, size=9)[0] == expected.split()
    catalogue.upsert(Product(product_id="x", title="Blue rake"))
    assert pages(listing, catalogue, query="red", size=9)[0] == ["B01"], "as it is now"


def test_a_token_belongs_to_what_was_asked() -> None:
    assert token(None, b"asked") == ""
    assert last_of("", b"asked") == ""
    for last in ("p", "ü" * 100, "=" * 256):
        given = token(last, b"asked")
        assert last not in given
        assert last_of(given, b"asked") == last
        with pytest.raises(BadRequest, match="page_token: not a token of this query and filter"):
            last_of(given, b"other")
    for wrong in ("p", "AAAAAA", "é", "!!!!", token("p", b"asked") + "A"):
        with pytest.raises(BadRequest, match="page_token: "):
            last_of(wrong, b"asked")
