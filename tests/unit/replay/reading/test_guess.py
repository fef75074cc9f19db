"""The mapping proposed for a CSV that nobody knows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from replay.reading.formats import Head
from replay.reading.guess import Guess, guess
from replay.reading.mapping import ColumnMapping
from shared.process.errors import Unusable

SHOP = """\
order_no;customer;sku;ordered_at;qty;unit_price;article_name
1001;c-7;S-1;13.04.2024 10:12;1;12,50;Red chair
C1002;c-8;S-2;14.04.2024 10:13;-2;7,00;Blue lamp
1003;;S-1;14.04.2024 09:00;1;12,50;Red chair
1004;c-7;S-3;15.04.2024 09:00;3;1.250,00;Table
"""


def guessed(tmp_path: Path, text: str) -> Guess:
    path = tmp_path / "shop.csv"
    path.write_text(text)
    return guess(Head(path, 10_000))


def columns(proposal: Guess) -> dict[str, object]:
    return proposal.mapping.columns.model_dump(exclude_none=True)


def test_a_shops_orders(tmp_path: Path) -> None:
    proposal = guessed(tmp_path, SHOP)
    assert columns(proposal) == {
        "user": "customer", "product": "sku", "time": "ordered_at", "price": "unit_price", "quantity": "qty",
        "title": "article_name",
    }  # fmt: skip
    mapping = proposal.mapping
    assert (mapping.file.delimiter, mapping.time.format, mapping.kind.default) == (";", "%d.%m.%Y %H:%M", "purchase")
    assert [(when.column, when.starts_with, when.kind) for when in mapping.kind.when] == [("order_no", "C", "return")]
    assert any("zone" in doubt for doubt in proposal.doubts)


def test_returns_by_a_negative_quantity(tmp_path: Path) -> None:
    proposal = guessed(tmp_path, SHOP.replace("C1002", "1002"))
    assert [(when.column, when.below, when.kind) for when in proposal.mapping.kind.when] == [("qty", 0, "return")]


def test_its_toml_reads_as_the_mapping_itself_with_the_reasons(tmp_path: Path) -> None:
    proposal = guessed(tmp_path, SHOP)
    assert ColumnMapping.model_validate(tomllib.loads(proposal.as_toml())) == proposal.mapping
    assert "# price: 'unit_price', by its name" in proposal.as_toml()


def test_events_of_a_shops_site(tmp_path: Path) -> None:
    proposal = guessed(
        tmp_path,
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
        "1433224214164,992329,addtocart,248676,\n1433221999827,111016,transaction,318965,4000\n",
    )
    assert columns(proposal) == {"user": "visitorid", "product": "itemid", "time": "timestamp", "kind": "event"}
    assert proposal.mapping.time.format == "milliseconds"
    assert proposal.mapping.kind.values == {"view": "view", "addtocart": "cart", "transaction": "purchase"}


def test_reviews_need_no_kind(tmp_path: Path) -> None:
    proposal = guessed(
        tmp_path,
        "ReviewerID,ProductID,Stars,ReviewText,ReviewDate\na,p,5,it is a very good thing to have at home,2024-01-31\n"
        "b,q,1,it broke after three days of careful use,2024-02-01\n",
    )
    assert columns(proposal) == {
        "user": "ReviewerID", "product": "ProductID", "rating": "Stars", "text": "ReviewText", "time": "ReviewDate",
    }  # fmt: skip
    assert proposal.mapping.kind.default is None


def test_without_a_header_by_what_the_columns_hold(tmp_path: Path) -> None:
    proposal = guessed(tmp_path, "u1,p1,view,1700000000\nu2,p2,purchase,1700000100\nu1,p3,cart,1700000200\n")
    assert columns(proposal) == {"user": 1, "product": 2, "kind": 3, "time": 4}
    assert not proposal.mapping.file.header
    assert len([doubt for doubt in proposal.doubts if "by its place" in doubt]) == 2


def test_days_and_months_that_could_be_either_are_told(tmp_path: Path) -> None:
    proposal = guessed(tmp_path, "user,sku,date\na,x,01/02/2024\nb,y,03/04/2024\n")
    assert proposal.mapping.time.format == "%d/%m/%Y"
    assert any("%m/%d/%Y" in doubt for doubt in proposal.doubts)
    certain = guessed(tmp_path, "user,sku,date\na,x,01/22/2024\nb,y,03/24/2024\n")
    assert certain.mapping.time.format == "%m/%d/%Y"
    assert not any("could also be" in doubt for doubt in certain.doubts)


def test_what_a_value_of_the_kind_means_is_asked_where_it_is_not_known(tmp_path: Path) -> None:
    proposal = guessed(tmp_path, "user,item,action,ts\na,x,view,1700000000\nb,y,teleport,1700000001\n")
    assert proposal.mapping.kind.values == {"view": "view"}
    assert any("teleport" in doubt for doubt in proposal.doubts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,city\nAnn,Rome\nBob,Oslo\n", "no column looks like the time or the product"),
        ("user,sku,amount\na,x,1.5\nb,y,2.5\n", "no column looks like the time"),
        ("just a line\nand another\n", "has no columns"),
    ],
)
def test_what_can_not_be_guessed_is_shown(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Unusable, match=message):
        guessed(tmp_path, text)
