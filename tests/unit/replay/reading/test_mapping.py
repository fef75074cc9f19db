"""Mapping files: what they may say, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.reading.mapping import (
    ColumnMapping,
    Columns,
    FileRules,
    KindCondition,
    KindRules,
    TimeRules,
    UserRules,
    as_toml,
    load_mapping,
)
from shared.process.errors import Unusable

WHOLE = """\
[columns]
user = "CustomerID"
product = "StockCode"
time = 5
text = ["Summary", "Text"]
[file]
delimiter = ";"
decimal = ","
encoding = "Windows-1252"
[time]
format = "%d.%m.%Y %H:%M"
zone = "Europe/London"
[user]
missing = "reject"
[kind]
default = "purchase"
[[kind.when]]
column = "InvoiceNo"
starts_with = "C"
kind = "return"
[[kind.when]]
column = "Quantity"
below = 0
kind = "dislike"
"""


def load(folder: Path, text: str) -> ColumnMapping:
    path = folder / "shop.toml"
    path.write_text(text, encoding="utf-8")
    return load_mapping(path)


def test_all_that_a_mapping_says(tmp_path: Path) -> None:
    assert load(tmp_path, WHOLE) == ColumnMapping(
        columns=Columns(user="CustomerID", product="StockCode", time=5, text=("Summary", "Text")),
        file=FileRules(delimiter=";", decimal=",", encoding="cp1252"),
        time=TimeRules(format="%d.%m.%Y %H:%M", zone="Europe/London"),
        user=UserRules(missing="reject"),
        kind=KindRules(
            default="purchase",
            when=(
                KindCondition(column="InvoiceNo", starts_with="C", kind="return"),
                KindCondition(column="Quantity", below=0, kind="dislike"),
            ),
        ),
    )


def test_a_product_is_enough(tmp_path: Path) -> None:
    mapping = load(tmp_path, '[columns]\nproduct = "sku"\n')
    assert (mapping.file.header, mapping.user.missing, mapping.time.zone) == (True, "guest", "UTC")


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        '[columns]\nproduct = 2\nkind = 1\n[file]\nheader = false\ndelimiter = "\\t"\n[kind]\nvalues = { pv = "view" }',
        '[columns]\nproduct = "say \\"é\\" \\\\ now"\nkind = 3\n[kind]\nvalues = { "a b" = "cart" }',
    ],
)
def test_it_is_written_as_it_is_read(tmp_path: Path, text: str) -> None:
    mapping = load(tmp_path, text)
    assert load(tmp_path, as_toml(mapping)) == mapping


BASE = '[columns]\nproduct = "p"\n'
WRONG = [
    ("[columns", "no TOML file"),
    ("", "columns: is required"),
    ("[columns]\nuser = 1", r"columns\.product: is required"),
    ('[columns]\nproduct = "p"\nprodukt = "p"', r"columns\.produkt: no such key; did you mean product\?"),
    (BASE + "[fiel]\nheader = true", r"fiel: no such key; did you mean file\?"),
    (BASE + "[user]\nzzz = 1", r"user\.zzz: no such key; there are missing"),
    (BASE + '[user]\nmissing = "ignore"', r"user\.missing: .*'guest' or 'reject'"),
    (BASE + '[file]\ndelimiter = "x"', r"file\.delimiter: .*','"),
    (BASE + '[file]\nencoding = "utf-16"', r"file\.encoding: utf-16 can't be read line by line; convert"),
    (BASE + '[file]\nencoding = "utf-99"', r"file\.encoding: 'utf-99' is no encoding; common ones"),
    (BASE + '[time]\nzone = "Mars/Olympus"', r"time\.zone: 'Mars/Olympus' is no time zone"),
    (BASE + '[time]\nzone = "../../etc"', r"time\.zone: .* is no time zone"),
    (BASE + '[kind]\ndefault = "bought"', r"kind\.default: no kind of event is called 'bought'; there are review, "),
    (BASE + '[kind]\ndefault = "tick"', r"kind\.default: no kind of event is called 'tick'"),
    (BASE + 'kind = "k"\n[kind]\nvalues = { a = "b" }', r"kind\.values\.a: no kind of event is called 'b'"),
    (BASE + '[kind]\nvalues = { a = "view" }', r"kind\.values needs columns\.kind"),
    (BASE + '[[kind.when]]\ncolumn = "a"\nkind = "view"', r"kind\.when\.0: name one condition"),
    (BASE + '[[kind.when]]\ncolumn = "a"\nkind = "view"\nstarts = "C"', r"kind\.when\.0\.starts: .*mean starts_with\?"),
    (BASE + "time = 0", r"columns\.time: must be a column's name, or its number from 1"),
    (BASE + "time = true", r"columns\.time: must be a column's name"),
    (BASE + 'time = ""', r"columns\.time: "),
    (BASE + "[file]\nheader = false", "a file without header has columns by number, from 1: 'p' is none"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_told_with_its_key_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Unusable, match=message) as refused:
        load(tmp_path, text)
    assert str(refused.value).startswith(f"the mapping {tmp_path}/shop.toml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="can't be read: No such file"):
        load_mapping(tmp_path / "absent.toml")
