"""`freshet data inspect` as people run it: on files of every kind, good, broken and none."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from replay.reading.formats import recognise
from replay.reading.inspection import Ahead, Findings, Spread, inspect
from replay.reading.mapping import ColumnMapping, load_mapping
from replay.settings import ReplaySettings
from services.console.data import lines_of
from shared.process.errors import Unusable
from tests.support import snap
from tests.support.processes import ROOT
from tests.support.snap import DAY_SECONDS, FIRST_SECONDS, review

NOW_MS = 1_800_000_000_000  # 2027-01-15 08:00 UTC
ORDERS = """\
order_no;customer;sku;ordered_at;qty;unit_price
1001;c-7;S-1;13.04.2024 10:12;1;12,50
C1002;c-8;S-2;14.04.2024 10:13;-2;7,00
1003;;S-1;14.04.2024 09:00;1;12,50
1004;c-7;S-3;15.04.2024 09:00;3;1.250,00
1005;c-7;S-3;yesterday;3;1.250,00
""" + "".join(f"{n};c-{n};S-{n % 3};16.04.2024 09:00;1;3,50\n" for n in range(1006, 1020))


def found_in(path: Path, mapping: ColumnMapping | None = None, **settings: Any) -> Findings:
    used = ReplaySettings(**settings)
    return inspect(path, recognise(path, mapping, used), mapping, used, lambda *_: None, NOW_MS)


def freshet(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    return subprocess.run(
        [sys.executable, "-m", "services.console", "data", "inspect", *arguments],
        cwd=cwd, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_what_reviews_hold(tmp_path: Path) -> None:
    once = review(1, reviewerID="A0", asin="B0")
    path = snap.write(
        tmp_path / "r.gz",
        [
            review(0), review(2, helpful=None, vote="4"), review(3, overall=None), once, once,
            review(4, reviewerID="A0", asin="B0"), review(5, reviewerID=None), review(6, overall=9), b'{"cut',
        ],
    )  # fmt: skip
    findings = found_in(path)
    assert (findings.lines, findings.usable, findings.repeats) == (9, 6, 1)
    assert (findings.users, findings.products, findings.guests, findings.one_event_users, findings.seen_again) == (
        3,
        3,
        0,
        2,
        2,
    )
    assert (findings.first_ms, findings.last_ms) == (FIRST_SECONDS * 1000, (FIRST_SECONDS + 4 * DAY_SECONDS) * 1000)
    assert findings.whole_days
    assert (findings.kinds, findings.stars) == ({"review": 5}, {"4": 4})
    assert findings.missing["stars"] == pytest.approx(1 / 6)
    assert (findings.missing["price"], findings.missing["text"]) == (1, 0)
    assert findings.rejected == {"no_user": 1, "bad_rating": 1, "not_json": 1}
    assert findings.examples["no_user"] == ["line 7: reviewerID: missing"]
    assert findings.helpful == Spread(least=4, median=4, p99=4, most=4)
    assert findings.scales == {"FRESHET_FEATURES_HELPFUL_MAXIMUM": 4}


def test_what_is_said_of_reviews(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", [review(0), review(0), review(1), review(1, overall=9), b"{"])
    text = "\n".join(lines_of(found_in(path)))
    for part in (
        "5, 2 can't be used; 1 are exact copies", "users         2, 2 (100 %) with one event only",
        "2011-03-14 to 2011-03-15, whole days", "4: 100 %", "1  bad_rating", "line 4: rating: 1 to 5, got 9",
        "price, quantity, dwell time 100 %",
    ):  # fmt: skip
        assert part in text


def test_prices_and_guests_of_a_shops_export(tmp_path: Path) -> None:
    rng = random.Random(3)
    lines = ["user,item,at,price"]
    lines += [
        f"{'' if n % 4 == 0 else n % 7},i{n % 5},{1_700_000_000 + n},{rng.uniform(1, 80):.2f}" for n in range(400)
    ]
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(lines))
    mapping = ColumnMapping.model_validate(
        {
            "columns": {"user": "user", "product": "item", "time": "at", "price": "price"},
            "kind": {"default": "purchase"},
        }
    )
    findings = found_in(path, mapping)
    assert (findings.guests, findings.users, findings.whole_days) == (100, 7, False)
    assert findings.price is not None
    assert 75 < findings.price.p99 <= 80 == findings.scales["FRESHET_FEATURES_PRICE_MAXIMUM"]


SECONDS = NOW_MS // 1000


@pytest.mark.parametrize(
    ("written", "on_day", "two_days"),
    [
        ("seconds", str(SECONDS + DAY_SECONDS), str(SECONDS + 2 * DAY_SECONDS)),
        ("milliseconds", str(NOW_MS + DAY_SECONDS * 1000), str(NOW_MS + 2 * DAY_SECONDS * 1000)),
        ("iso", "2027-01-16T08:00:00", "2027-01-17 08:00:00Z"),
    ],
)
def test_lines_more_than_a_day_ahead_of_the_clock_are_counted_and_the_first_is_named(
    tmp_path: Path, written: str, on_day: str, two_days: str
) -> None:
    path = tmp_path / "sales.csv"
    times = [on_day, two_days, on_day, two_days]
    path.write_text("user,item,at\n" + "".join(f"u{n},i,{time}\n" for n, time in enumerate(times)))
    mapping = ColumnMapping.model_validate(
        {
            "columns": {"user": "user", "product": "item", "time": "at"},
            "time": {"format": written},
            "kind": {"default": "view"},
        }
    )
    findings = found_in(path, mapping)
    ahead_ms = NOW_MS + 2 * DAY_SECONDS * 1000
    assert findings.ahead == Ahead(lines=2, first_line=3, first_line_ms=ahead_ms, earliest_ms=ahead_ms)
    assert "will go to the dead letters: first line 3, 2027-01-17 08:00:00" in "\n".join(lines_of(findings))
    path.write_text(f"user,item,at\nu,i,{on_day}\n")
    findings = found_in(path, mapping)
    assert findings.ahead is None
    assert "future" not in "\n".join(lines_of(findings))


def test_one_line_of_2099_is_named_and_the_mapping_is_proposed_all_the_same(tmp_path: Path) -> None:
    head, line = "user_id,item_id,event,timestamp\n", "ann{0},lamp{0},view,170000{0:04}\n"
    good = head + "".join(line.format(n) for n in range(9))
    (tmp_path / "good.csv").write_text(good)
    (tmp_path / "bad.csv").write_text(good + "ann,clockless,view,4084000000\n")
    for name in ("good", "bad"):
        assert freshet(f"{name}.csv", "--write-mapping", f"{name}.toml", cwd=tmp_path).returncode == 0
    assert (tmp_path / "good.toml").read_text() == (tmp_path / "bad.toml").read_text()
    ran = freshet("bad.csv", "--mapping", "bad.toml", cwd=tmp_path).stdout
    assert "1 line, more than a day ahead of the clock, will go to the dead letters: line 11, 2099-06-01" in ran
    assert "bad.csv --mapping bad.toml --within 5m --until 2099-06-01T12:26:40" in ran
    document = json.loads(freshet("bad.csv", "--mapping", "bad.toml", "--json", cwd=tmp_path).stdout)
    in_2099_ms = 4_084_000_000_000
    assert document["ahead"] == {
        "lines": 1, "first_line": 11, "first_line_ms": in_2099_ms, "earliest_ms": in_2099_ms,
    }  # fmt: skip


def test_metadata_is_told_as_products(tmp_path: Path) -> None:
    goods = [{"asin": f"B{n}", "title": f"Thing {n}", "price": f"${n + 1}.00"} for n in range(99)] + [{"title": "none"}]
    findings = found_in(snap.write(tmp_path / "meta.gz", goods))
    assert (findings.holds, findings.products, findings.rejected) == ("products", 99, {"no_product": 1})
    assert findings.missing == {"title": 0, "category": 1, "brand": 1, "price": 0}
    assert findings.scales == {"FRESHET_FEATURES_PRICE_MAXIMUM": 99}


def test_a_file_of_which_nothing_can_be_used_is_refused(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r", [{"asin": "B1", "reviewText": "no user"}] * 3)
    with pytest.raises(Unusable, match=r"not one line of .* reviewerID: missing"):
        found_in(path)


def test_a_broken_file_says_how_far_it_could_be_read(tmp_path: Path) -> None:
    path = snap.write(tmp_path / "r.gz", snap.shop(400))
    path.write_bytes(path.read_bytes()[:-20])
    findings = found_in(path)
    assert 0 < findings.usable <= 400
    assert "breaks off after line" in "\n".join(lines_of(findings))


def test_more_than_memory_holds_is_counted_all_the_same(tmp_path: Path) -> None:
    findings = found_in(snap.write(tmp_path / "r", snap.shop(25_000, users=9_000, products=800)), ordering_memory_mb=64)
    assert (findings.usable, findings.users, findings.products) == (25_000, 9_000, 800)


def test_an_unknown_csv_gets_a_mapping_that_can_be_edited_and_handed_on(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(ORDERS)
    done = freshet("orders.csv", "--write-mapping", "shop.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "in no known format" in done.stdout
    assert "python -m replay run orders.csv --mapping shop.toml" in done.stdout
    assert "1  bad_time" in done.stdout
    assert "FRESHET_FEATURES_PRICE_MAXIMUM=" in done.stdout
    written = (tmp_path / "shop.toml").read_text()
    assert tomllib.loads(written)["columns"]["user"] == "customer"
    findings = found_in(tmp_path / "orders.csv", load_mapping(tmp_path / "shop.toml"))
    assert (findings.usable, findings.guests, findings.kinds) == (18, 1, {"purchase": 17, "return": 1})

    again = freshet("orders.csv", "--write-mapping", "shop.toml", cwd=tmp_path)
    assert again.returncode == 2
    assert "shop.toml exists" in again.stderr
    assert (tmp_path / "shop.toml").read_text() == written


def test_as_json(tmp_path: Path) -> None:
    snap.write(tmp_path / "r.gz", snap.shop(30))
    done = freshet("r.gz", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Findings.model_validate(json.loads(done.stdout)).usable == 30


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("picture.png", b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(4000), "in no format that is known"),
        ("letter.txt", b"Dear Sir,\nwe write to you\nabout nothing\n", "begins with 'Dear Sir,'"),
        ("book.xlsx", b"PK\x03\x04rest", "save it as CSV"),
        ("undated.json", b'{"parent_asin": "B1", "user_id": "A1", "title": "Nice"}\n', "timestamp: missing"),
        ("cities.csv", b"name,city\nAnn,Rome\nBob,Oslo\n", "no column looks like the time or the product"),
    ],
)
def test_what_is_no_dataset_is_refused_with_what_was_seen(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = freshet(name, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "lines", "usable", "users", "products"),
    [
        ("amazon-2014/Musical_Instruments_5.json.gz", 10_261, 10_261, 1_429, 900),
        ("amazon-2018/All_Beauty_5.json.gz", 5_269, 5_269, 991, 85),
        ("amazon-2018/Gift_Cards_5.json.gz", 2_972, 2_972, 458, 148),
        ("finefoods/Reviews_first5k.csv.gz", 5_003, 5_003, 4_807, 731),
    ],
)
def test_real_files(data: Path, file: str, lines: int, usable: int, users: int, products: int) -> None:
    findings = found_in(data / file)
    assert (findings.lines, findings.usable, findings.users, findings.products) == (lines, usable, users, products)
    assert findings.whole_days
