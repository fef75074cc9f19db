"""What a file is, told from its content, and what is read from every real one."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from replay.reading.formats import recognise, recognise_products
from replay.reading.mapping import ColumnMapping, Columns, KindRules
from replay.settings import ReplaySettings
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import Unusable
from tests.support.events import Found, events_of
from tests.support.snap import review

KAGGLE = b'''\
Id,ProductId,UserId,ProfileName,HelpfulnessNumerator,HelpfulnessDenominator,Score,Time,Summary,Text
1,B001,A1,"Nat ""Nat"" C",1,2,4,1219017600,"""Delight"" says it all","Sweet.<br /><br />
Sticky, too"
2,B002,A2,x,0,0,7,1219017600,s,t
3,B003,A3,x,0,0,,1219017600,,
4,B004,,x,0,0,5,1219017600,s,t
5,B005,A5,x,0,0,5,1219017600,Nothing said more,
'''
RATINGS = b"A1AAAAAAAAAAAA,B001E4KFG0,5.0,1405209600\nA2AAAAAAAAAAAA,0132793040,1.0,1219017600\n"
RATINGS_2018 = b"B001E4KFG0,A1AAAAAAAAAAAA,5.0,1405209600\n0132793040,A2AAAAAAAAAAAA,1.0,1219017600\n"
RETAIL = b"""\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,LAMP,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
C536366,85123A,LAMP,-2,2011-07-01 10:00:00,2.55,17850.0,United Kingdom
536367,71053,,3,2011-07-01 10:00:00,0.0,,United Kingdom
536368,71053,check,-3,2011-07-01 10:00:00,0.0,,United Kingdom
A563186,B,Adjust,1,2011-07-01 10:00:00,-11062.06,,United Kingdom
"""
BEHAVIOUR = b"1,100,9,pv,1511544070\n1,101,9,buy,1511544071\n2,100,9,fav,1511544072\n2,100,9,cart,1511544073\n"


def test_json_lines_of_2023(tmp_path: Path) -> None:
    records = [
        {
            "rating": 4.0, "title": "Such a &#34;lovely&#34; scent", "text": "Nice.<br />Really", "images": [],
            "asin": "B00YQ6X8EO", "parent_asin": "B00YQ6X8E0", "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
            "timestamp": 1588687728923, "helpful_vote": 3, "verified_purchase": True,
        },
        {"rating": 5.0, "title": "", "text": "", "asin": "B2", "user_id": "AG2", "timestamp": 1588687728923},
        {"rating": 5.0, "parent_asin": "B3", "user_id": "AG3", "timestamp": 1588687728},
        {"rating": 0.0, "parent_asin": "B4", "user_id": "AG4", "timestamp": 1588687728923},
        {"rating": 3.0, "parent_asin": "B5", "user_id": None, "timestamp": 1588687728923},
        {"rating": 3.0, "parent_asin": "B6", "user_id": "AG6", "timestamp": 99999999999999},
        {"rating": 3.0, "parent_asin": "B7", "user_id": "AG7", "timestamp": 1588687728923, "helpful_vote": -1},
    ]  # fmt: skip
    content = b"\n".join(json.dumps(record).encode() for record in records) + b'\n{"cut'
    result = events_of(tmp_path / "r", gzip.compress(content))
    assert result.format.name == "reviews of 2023, JSON lines"
    assert result.events[:2] == [
        pb.Event(
            kind=pb.EVENT_KIND_REVIEW,
            user_id="AGKHLEW2SOWHNMFQIJGBECAF7INQ",
            product_id="B00YQ6X8E0",
            event_time_ms=1_588_687_728_923,
            text='Such a "lovely" scent\nNice.\nReally',
            rating=4.0,
            helpful_votes=3,
        ),
        pb.Event(
            kind=pb.EVENT_KIND_RATING, user_id="AG2", product_id="B2", event_time_ms=1_588_687_728_923, rating=5.0
        ),
    ]
    assert result.left_out == [(4, "bad_rating"), (5, "no_user"), (6, "bad_time"), (7, "bad_votes"), (8, "not_json")]


def test_kaggles_reviews(tmp_path: Path) -> None:
    result = events_of(tmp_path / "Reviews.csv", KAGGLE)
    assert result.format.name == "reviews as Kaggle's Reviews.csv"
    assert result.events[0] == pb.Event(
        kind=pb.EVENT_KIND_REVIEW,
        user_id="A1",
        product_id="B001",
        event_time_ms=1_219_017_600_000,
        text='"Delight" says it all\nSweet.\n\n\nSticky, too',
        rating=4.0,
        helpful_votes=1,
        total_votes=2,
    )
    assert result.at == [2, 7]
    assert result.left_out == [(4, "bad_rating"), (5, "nothing_said"), (6, "no_user")]
    assert result.account.lines == 5


def test_a_text_may_hold_lines_that_look_like_another_format(tmp_path: Path) -> None:
    texts = b"".join(f'{n},B{n},A{n},x,0,0,5,1219017600,s,"a\n{{b\nreview/c: d\n,""e"\n'.encode() for n in range(9))
    result = events_of(tmp_path / "r", KAGGLE.split(b"\n")[0] + b"\n" + texts)
    assert result.format.name == "reviews as Kaggle's Reviews.csv"
    assert [event.text for event in result.events] == ['s\na\n{b\nreview/c: d\n,"e'] * 9
    shop = b"product,when,note\n" + b'p,1219017600,"\n{\n{"\n' * 9
    mapping = ColumnMapping(columns=Columns(product="product", time="when"), kind=KindRules(default="view"))
    assert len(events_of(tmp_path / "r", shop, mapping).events) == 9


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (RATINGS, "ratings: user, product, stars, time"),
        (RATINGS_2018, "ratings: product, user, stars, time"),
        (
            b"user_id,parent_asin,rating,timestamp\n"
            + RATINGS.replace(b"1405209600", b"1405209600000").replace(b"1219017600", b"1219017600000"),
            "ratings of 2023 with their header",
        ),
    ],
)
def test_ratings_alone(tmp_path: Path, content: bytes, name: str) -> None:
    result = events_of(tmp_path / "ratings.csv", content + b"x,B1\n")
    assert result.format.name == name
    assert result.events == [
        pb.Event(
            kind=pb.EVENT_KIND_RATING, user_id=user, product_id=product, event_time_ms=time_ms, rating=rating
        )
        for user, product, rating, time_ms in (
            ("A1AAAAAAAAAAAA", "B001E4KFG0", 5.0, 1_405_209_600_000),
            ("A2AAAAAAAAAAAA", "0132793040", 1.0, 1_219_017_600_000),
        )
    ]  # fmt: skip
    assert [reason for _, reason in result.left_out] == ["bad_fields"]


def test_ratings_of_which_nobody_can_tell_who_is_who_ask_for_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_bytes(b"17,4,5.0,1405209600\n18,4,4.0,1405209601\n")
    with pytest.raises(Unusable, match=r"(?s)which column is the user.*--mapping FILE.*user = 1.*header = false"):
        recognise(path, None, ReplaySettings())


def test_sales(tmp_path: Path) -> None:
    second = (
        RETAIL.replace(b"InvoiceNo", b"Invoice").replace(b"UnitPrice", b"Price").replace(b"CustomerID", b"Customer ID")
    )
    american = (
        RETAIL.replace(b"2010-12-01 08:26:00", b"12/1/2010 8:26").replace(b"2011-07-01 10:00:00", b"7/1/2011 10:00")
    )  # fmt: skip
    for content in (RETAIL, second, american, b"\xef\xbb\xbf" + RETAIL.replace(b"\n", b"\r\n")):
        result = events_of(tmp_path / "retail.csv", content)
        assert result.format.name.startswith("sales as UCI's Online Retail")
        assert result.events == [
            pb.Event(
                kind=pb.EVENT_KIND_PURCHASE, user_id="17850", product_id="85123A", event_time_ms=1_291_191_960_000,
                price=2.55, quantity=6.0,
            ),
            pb.Event(
                kind=pb.EVENT_KIND_RETURN, user_id="17850", product_id="85123A", event_time_ms=1_309_510_800_000,
                price=2.55, quantity=2.0,
            ),
            pb.Event(
                kind=pb.EVENT_KIND_PURCHASE, product_id="71053", event_time_ms=1_309_510_800_000, price=0.0,
                quantity=3.0,
            ),
        ]  # fmt: skip
        assert result.left_out == [(5, "bad_quantity"), (6, "bad_price")]


def test_behaviour(tmp_path: Path) -> None:
    result = events_of(tmp_path / "b.csv", BEHAVIOUR * 5 + b"3,100,9,gaze,1511544074\n3,100,9,pv,-5\n")
    assert result.format.name == "behaviour as Alibaba's UserBehavior"
    assert [event.kind for event in result.events[:4]] == [
        pb.EVENT_KIND_VIEW, pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_FAVOURITE, pb.EVENT_KIND_CART,
    ]  # fmt: skip
    assert result.events[0].event_time_ms == 1_511_544_070_000
    assert result.left_out == [(21, "bad_kind"), (22, "bad_time")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,thing\n1,2\n", r"in no format that is known.*'id,thing'.*--mapping"),
        (b"\x00\x01\x02", "in no format"),
        (b"x" * 5000 + b"\n", "in no format.*a line that is too long"),
        (b'[\n{"a": 1}\n]\n'[:2], "one JSON array"),
        (b" \n\n", "blank lines only"),
        (b"PK\x03\x04....", "save it as CSV"),
        (b"BZh9....", "bunzip2"),
        ("a,b\n".encode("utf-16"), "iconv -f UTF-16"),
        (gzip.compress(b"{" * 500, mtime=0)[:12], "breaks off after line 0"),
    ],
)
def test_what_nobody_can_tell_says_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(Unusable, match=f"(?s){message}"):
        recognise(path, None, ReplaySettings(most_line_bytes=2048))


def test_a_mapping_is_for_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text(json.dumps(review()))
    with pytest.raises(Unusable, match="leave --mapping out"):
        recognise(path, ColumnMapping(columns=Columns(product=1)), ReplaySettings())


@pytest.mark.parametrize("record", [review(), {"parent_asin": "B1", "asin": "B2", "user_id": "A1", "rating": 5.0}])
def test_reviews_are_no_metadata(tmp_path: Path, record: dict[str, object]) -> None:
    path = tmp_path / "r"
    path.write_text("{cut\n" + json.dumps(record))
    with pytest.raises(Unusable, match="holds reviews, not what products are called"):
        recognise_products(path, None, ReplaySettings())
    path.write_text(json.dumps({"asin": "B1", "title": "A lamp", "reviews": 22}))
    assert recognise_products(path, None, ReplaySettings()).name == "product metadata, JSON lines"


def test_times_that_are_in_no_plain_format_ask_for_one(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text("p,t\na,1.12.2010\nb,2.12.2010\n")
    mapping = ColumnMapping(columns=Columns(product="p", time="t"), kind=KindRules(default="view"))
    with pytest.raises(Unusable, match=r"how times are written in t can't be told; the first is \"1\.12\.2010\""):
        recognise(path, mapping, ReplaySettings())


def test_a_mapping_is_completed_from_the_content_and_names_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text("p;t\na;1291191960000\n")
    mapping = ColumnMapping(columns=Columns(product="p", time="t"), kind=KindRules(default="view"))
    result = events_of(path, None, mapping).format
    assert result.mapping is not None
    assert (result.mapping.file.delimiter, result.mapping.time.format) == (";", "milliseconds")
    again = events_of(path, None, result.mapping).format
    other = events_of(path, None, mapping.model_copy(update={"kind": KindRules(default="cart")})).format
    assert result.reading == again.reading != other.reading
    assert events_of(tmp_path / "json", json.dumps(review()).encode()).format.reading == ""


# What the files are, their lines, users and products, lines left out and events by kind.
REAL = [
    ("amazon-2014/Musical_Instruments_5.json.gz", 10_261, 1_429, 900, {}, {"REVIEW": 10_261}),
    ("amazon-2018/All_Beauty_5.json.gz", 5_269, 991, 85, {}, {"REVIEW": 5_269}),
    ("amazon-2018/AMAZON_FASHION_5.json.gz", 3_176, 406, 31, {}, {"REVIEW": 3_176}),
    ("amazon-2018/Gift_Cards_5.json.gz", 2_972, 458, 148, {}, {"REVIEW": 2_972}),
    ("finefoods/Reviews_first5k.csv.gz", 5_003, 4_807, 731, {}, {"REVIEW": 5_003}),
    ("tablets/reviews_tablets.json.gz", 65_204, 54_182, 833, {"no_user": 25}, {"REVIEW": 65_179}),
    (
        "taobao/UserBehavior_users815_84475.csv.gz", 84_475, 815, 55_368, {},
        {"VIEW": 75_872, "CART": 4_497, "FAVOURITE": 2_356, "PURCHASE": 1_750},
    ),
]  # fmt: skip


def users(result: Found) -> int:
    return len({event.user_id for event in result.events} - {""})


def kinds(result: Found) -> dict[str, int]:
    counts = Counter(event.kind for event in result.events)
    return {pb.EventKind.Name(kind).removeprefix("EVENT_KIND_"): count for kind, count in counts.items()}


@pytest.mark.parametrize(("file", "lines", "people", "products", "left_out", "by_kind"), REAL)
def test_real_files(
    data: Path, file: str, lines: int, people: int, products: int, left_out: dict[str, int], by_kind: dict[str, int]
) -> None:
    result = events_of(data / file)
    assert (result.account.lines, users(result), result.account.broken) == (lines, people, "")
    assert len({event.product_id for event in result.events}) == products
    assert result.account.rejected == left_out
    assert kinds(result) == by_kind


def test_the_beginning_of_real_sales(data: Path, tmp_path: Path) -> None:
    with gzip.open(data / "online-retail/online_retail_541909.csv.gz") as source:
        head = b"".join(next(source) for _ in range(20_001))
    result = events_of(tmp_path / "head", head)
    assert result.account.lines == 20_000
    assert kinds(result) == {"PURCHASE": 19_691, "RETURN": 261}
    assert result.account.rejected == {"bad_quantity": 48}
    assert sum(not event.user_id for event in result.events) == 6_605
