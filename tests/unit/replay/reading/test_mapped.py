"""Rows of a CSV become events and products by their mapping; what is wrong is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.reading.formats import recognise_products
from replay.reading.lines import Lines
from replay.reading.mapped import MappedRows
from replay.reading.mapping import ColumnMapping, Columns, FileRules, KindCondition, KindRules, TimeRules, UserRules
from replay.reading.records import REASONS, Account
from replay.settings import ReplaySettings
from shared.log.records import check_event
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent, Unusable
from tests.support.events import events_of

NAMES = ["user", "sku", "when", "what", "stars", "title", "words", "cost", "units", "up", "all", "stay", "id"]
ROW = ["u1", "p1", "2011-12-09", "buy", "4", "Good", "Really", "2.50", "3", "1", "2", "9.5", "e1"]
MAPPING = ColumnMapping(
    columns=Columns(
        user="user", product="sku", time="when", kind="what", rating="stars", text=("title", "words"), price="cost",
        quantity="units", helpful="up", total_votes="all", dwell_seconds="stay", event_id="id",
    ),
    kind=KindRules(default="view", values={"buy": "purchase", "back": "return", "seen": "view"}),
)  # fmt: skip
MS = 1_323_388_800_000


def with_(**fields: str) -> list[str]:
    return [fields.get(name, value) for name, value in zip(NAMES, ROW, strict=True)]


def mapped(**parts: object) -> MappedRows:
    return MappedRows(MAPPING.model_copy(update=parts), NAMES)


def test_all_that_a_row_may_say() -> None:
    assert mapped().to_event(ROW) == pb.Event(
        kind=pb.EVENT_KIND_PURCHASE,
        user_id="u1",
        product_id="p1",
        event_time_ms=MS,
        rating=4.0,
        text="Good\nReally",
        price=2.5,
        quantity=3.0,
        helpful_votes=1,
        total_votes=2,
        dwell_seconds=9.5,
        event_id="e1",
    )


@pytest.mark.parametrize("nothing", ["", " ", "NULL", "null", "None", "NaN", "nan", "\\N"])
def test_what_says_nothing_is_nothing(nothing: str) -> None:
    row = [ROW[1] if name == "sku" else ROW[2] if name == "when" else nothing for name in NAMES]
    event = mapped(columns=MAPPING.columns.model_copy(update={"text": None, "event_id": None})).to_event(row)
    assert event == pb.Event(kind=pb.EVENT_KIND_VIEW, product_id="p1", event_time_ms=MS)


def test_without_a_user_it_is_a_guest_or_left_out() -> None:
    assert mapped().to_event(with_(user="")).user_id == ""
    with pytest.raises(BadEvent, match="user: missing") as refused:
        mapped(user=UserRules(missing="reject")).to_event(with_(user=" "))
    assert refused.value.reason == "no_user"
    no_column = MAPPING.columns.model_copy(update={"user": None})
    assert mapped(columns=no_column).to_event(ROW).user_id == ""


@pytest.mark.parametrize(
    ("written", "user_id"),
    [("17850.0", "17850"), ("17850", "17850"), (" 7 ", "7"), ("1.5", "1.5"), ("A.0", "A.0"), ("1.00", "1.00")],
)
def test_an_id_written_as_a_float_is_a_whole_number(written: str, user_id: str) -> None:
    event = mapped().to_event(with_(user=written, sku=written))
    assert (event.user_id, event.product_id) == (user_id, user_id)


@pytest.mark.parametrize(
    ("file", "written", "price"),
    [
        (FileRules(delimiter=","), "2.55", 2.55),
        (FileRules(delimiter=","), "1,234.50", 1234.5),
        (FileRules(delimiter="\t"), "1,234", 1234.0),
        (FileRules(delimiter=";"), "2,55", 2.55),
        (FileRules(delimiter=";"), "2.55", 2.55),
        (FileRules(delimiter=";"), "1.234,50", 1234.5),
        (FileRules(delimiter=";"), "1,234.50", 1234.5),
        (FileRules(delimiter="\t", decimal=","), "1.234,5", 1234.5),
        (FileRules(delimiter=";", decimal="."), "1,234", 1234.0),
        (FileRules(delimiter=","), "1e3", 1000.0),
    ],
)
def test_decimal_points_and_commas(file: FileRules, written: str, price: float) -> None:
    assert mapped(file=file).to_event(with_(cost=written)).price == price


def test_kinds_are_told_by_the_column_the_conditions_and_else_by_the_default() -> None:
    kind = MAPPING.kind.model_copy(
        update={
            "when": (
                KindCondition(column="id", starts_with="C", kind="return"),
                KindCondition(column="units", below=0, kind="dislike"),
                KindCondition(column="title", equals="Kept", kind="favourite"),
            )
        }
    )
    rows = mapped(kind=kind)
    products = [
        (with_(), pb.EVENT_KIND_PURCHASE),
        (with_(what="seen"), pb.EVENT_KIND_VIEW),
        (with_(what=""), pb.EVENT_KIND_VIEW),
        (with_(id="C1", units="-1"), pb.EVENT_KIND_RETURN),
        (with_(title="Kept "), pb.EVENT_KIND_FAVOURITE),
    ]
    assert [rows.to_event(row).kind for row, _ in products] == [kind for _, kind in products]
    own_names = mapped(kind=KindRules())
    assert own_names.to_event(with_(what="Cart")).kind == pb.EVENT_KIND_CART
    with pytest.raises(BadEvent, match="none of review, rating, view") as refused:
        own_names.to_event(with_(what="buy"))
    assert refused.value.reason == "bad_kind"


def test_without_any_kind_a_text_is_a_review_and_stars_are_a_rating() -> None:
    rows = mapped(kind=KindRules())
    assert rows.to_event(with_(what="")).kind == pb.EVENT_KIND_REVIEW
    assert rows.to_event(with_(what="", title="", words=" ")).kind == pb.EVENT_KIND_RATING
    with pytest.raises(BadEvent) as refused:
        rows.to_event(with_(what="", title="", words="", stars=""))
    assert refused.value.reason == "nothing_said"


def test_the_quantity_of_a_return_is_made_positive() -> None:
    assert mapped().to_event(with_(what="back", units="-3")).quantity == 3.0


BAD = [
    ("bad_fields", ROW[:-1]),
    ("bad_fields", [*ROW, ""]),
    ("no_product", with_(sku="nan")),
    ("bad_id", with_(sku="B" * 257)),
    ("bad_id", with_(user="a\tb")),
    ("bad_id", with_(id="e" * 129)),
    ("no_time", with_(when="")),
    ("bad_time", with_(when="soon")),
    ("bad_time", with_(when="1960-01-01")),
    ("bad_time", with_(when="2300-01-01")),
    ("bad_kind", with_(what="sold")),
    ("bad_rating", with_(stars="six")),
    ("bad_rating", with_(stars="5.5")),
    ("bad_rating", with_(stars="inf")),
    ("bad_price", with_(cost="-0.01")),
    ("bad_price", with_(cost="£2")),
    ("bad_price", with_(cost="1e999")),
    ("bad_quantity", with_(units="0")),
    ("bad_quantity", with_(units="-1")),
    ("bad_quantity", with_(what="back", units="0")),
    ("bad_votes", with_(up="1.5")),
    ("bad_votes", with_(all="-1")),
    ("bad_dwell", with_(stay="-1")),
]


@pytest.mark.parametrize(("reason", "row"), BAD, ids=[f"{n}-{reason}" for n, (reason, _) in enumerate(BAD)])
def test_what_is_wrong_is_refused_with_its_reason(reason: str, row: list[str]) -> None:
    with pytest.raises(BadEvent) as refused:
        mapped().to_event(row)
    assert refused.value.reason == reason
    assert reason in REASONS


FIELD = st.text(max_size=12) | st.sampled_from(["-1", "nan", "1e400", "2011-12-09", "buy"])


@given(st.lists(FIELD, min_size=13, max_size=13))
def test_whatever_the_fields_hold_the_event_is_valid_or_refused(row: list[str]) -> None:
    try:
        event = mapped().to_event([row[0], "p", "2011-12-09", *row[3:]])
    except BadEvent as error:
        assert error.reason in REASONS
        return
    event.source, event.sequence = "set/0", 1
    check_event(event)
    assert pb.Event.FromString(event.SerializeToString()) == event


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("usr", r"columns\.user: the file has no column 'usr'; did you mean 'user'\?; it has user, sku, when"),
        (14, r"columns\.user: the file has 13 columns, there is no 14"),
        ("twice", r"columns\.user: the file has several columns 'twice'; name one by its number"),
    ],
)
def test_a_column_that_is_not_there(column: str | int, message: str) -> None:
    names = NAMES if column != "twice" else ["twice", "twice", *NAMES[2:], "sku"]
    with pytest.raises(Unusable, match=message):
        MappedRows(MAPPING.model_copy(update={"columns": MAPPING.columns.model_copy(update={"user": column})}), names)


SHOP = """\
Kunde;Artikel;Zeit;Preis;Name
17850.0;85123A;01.12.2010 08:26;2,55;Lampe
;71053;01.07.2011 10:00;1.003,39;"Kerze; ""gro\xdf"" x"

18000;71053;2011-07-01;1;x
18000;;01.07.2011 10:00;1;x
18000;71053;01.07.2011 10:00;-1;x
18000;71053;01.07.2011 10:00
"""
SHOP_MAPPING = ColumnMapping(
    columns=Columns(user="Kunde", product="Artikel", time="Zeit", price="Preis", title="Name"),
    file=FileRules(encoding="cp1252"),
    time=TimeRules(format="%d.%m.%Y %H:%M", zone="Europe/Berlin"),
    kind=KindRules(default="purchase"),
)


def test_a_shops_export(tmp_path: Path) -> None:
    result = events_of(tmp_path / "shop.csv", SHOP.encode("cp1252"), SHOP_MAPPING)
    assert result.events == [
        pb.Event(
            kind=pb.EVENT_KIND_PURCHASE,
            user_id="17850",
            product_id="85123A",
            event_time_ms=1_291_188_360_000,
            price=2.55,
        ),
        pb.Event(kind=pb.EVENT_KIND_PURCHASE, product_id="71053", event_time_ms=1_309_507_200_000, price=1003.39),
    ]
    assert result.at == [2, 3]
    assert result.left_out == [(5, "bad_time"), (6, "no_product"), (7, "bad_price"), (8, "bad_fields")]
    assert result.messages[3] == "has 3 fields where the file has 5"
    assert result.format.mapping is not None
    assert result.format.mapping.file.delimiter == ";"


def test_its_products_are_what_its_usable_lines_say(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes(SHOP.encode("cp1252"))
    account = Account()
    format_ = recognise_products(path, SHOP_MAPPING, ReplaySettings())
    result = [product for _, _, product in format_.read(Lines(path, 10_000), account, reject=lambda _n, _error: None)]
    assert result == [
        pb.Product(product_id="85123A", title="Lampe", price=2.55),
        pb.Product(product_id="71053", title='Kerze; "groß" x', price=1003.39),
    ]
    assert account.rejected == {"bad_time": 1, "no_product": 1, "bad_price": 1, "bad_fields": 1}


def test_a_list_of_products_needs_no_times(tmp_path: Path) -> None:
    path = tmp_path / "products.csv"
    path.write_text("sku,name,group,maker,price\n1.0,A &amp; B,Toys,Acme,\n2,,nan,,free\n,x,,,\n")
    mapping = ColumnMapping(
        columns=Columns(product="sku", title="name", category=("group",), brand="maker", price="price")
    )
    account = Account()
    format_ = recognise_products(path, mapping, ReplaySettings())
    result = [product for _, _, product in format_.read(Lines(path, 10_000), account, reject=lambda _n, _error: None)]
    assert result == [
        pb.Product(product_id="1", title="A & B", categories=["Toys"], brand="Acme"),
        pb.Product(product_id="2"),
    ]
    assert account.rejected == {"no_product": 1}
