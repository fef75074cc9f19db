"""Files of every format that replay reads, each with good records and one of every kind of bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

FIRST_SECONDS = 1_300_000_000
HUGE = "x" * 10 * 2**20

Fields = Mapping[str, Any]

# What is wrong → its reason and the fields that say so, in the names of `GOOD`; None takes a field away.
BAD_FIELDS: dict[str, tuple[str, Fields]] = {
    "stars that are no number": ("bad_rating", {"rating": "many"}),
    "infinite stars": ("bad_rating", {"rating": float("inf")}),
    "more than five stars": ("bad_rating", {"rating": 6}),
    "no star": ("bad_rating", {"rating": 0}),
    "a time before 1970": ("bad_time", {"time": -1}),
    "the time 0": ("bad_time", {"time": 0}),
    "an infinite time": ("bad_time", {"time": float("inf")}),
    "a time in the far future": ("bad_time", {"time": 99_999_999_999_999_999}),
    "no time": ("no_time", {"time": None}),
    "no user": ("no_user", {"user": None}),
    "no product": ("no_product", {"product": None}),
    "an endless id": ("bad_id", {"user": "u" * 300}),
    "a text of 10 MB": ("too_long", {"text": HUGE}),
}
NUL, NOT_UTF8 = "nul_bytes", "not_utf8"


def good(n: int) -> dict[str, Any]:
    """Record `n` in our own names."""
    return {
        "user": f"A{n % 5}", "product": f"B{n % 7:09}", "rating": 1 + n % 5, "time": FIRST_SECONDS + 60 * n,
        "title": "Fine", "text": f"I love it, great sound {n}",
    }  # fmt: skip


@dataclass(frozen=True)
class FileFormat:
    """How records of one format are written.

    Attributes:
        beginning: what comes before the first record.
        written: a record in our own names → its bytes, with their end.
        broken: what is wrong → reason and bytes of records that only this format can hold.
        mapping: what --mapping gets, where the format needs one.
        reads_any_bytes: whether invalid UTF-8 is read as another encoding.
    """

    name: str
    beginning: bytes
    written: Callable[[Fields], bytes]
    broken: Mapping[str, tuple[str, bytes]]
    mapping: str = ""
    reads_any_bytes: bool = False
    cut_after: int = 40  # bytes, of a record that breaks off
    cut_reason: str = "not_json"

    def bad(self) -> list[tuple[str, str, bytes]]:
        """What is wrong, the reason, the bytes."""
        cases = [
            (what, reason, self.written({k: v for k, v in (good(1) | fields).items() if v is not None}))
            for what, (reason, fields) in BAD_FIELDS.items()
        ]
        cases.append(("NUL bytes", NUL, self.written(good(2)).replace(b"sound", b"so\x00nd")))
        if not self.reads_any_bytes:
            cases.append(("invalid UTF-8", NOT_UTF8, self.written(good(3)).replace(b"sound", b"so\xff\xfend")))
        return cases + [(what, reason, content) for what, (reason, content) in self.broken.items()]


def _json(names: Mapping[str, str], unit: int) -> Callable[[Fields], bytes]:
    def written(fields: Fields) -> bytes:
        record = {names[name]: value for name, value in fields.items()}
        time = fields.get("time")
        if isinstance(time, int):
            record[names["time"]] = time * unit
        return json.dumps(record).encode() + b"\n"

    return written


_SNAP = _json(
    {"user": "reviewerID", "product": "asin", "rating": "overall", "time": "unixReviewTime", "title": "summary",
     "text": "reviewText"}, 1,
)  # fmt: skip
_SNAP_2023 = _json(
    {"user": "user_id", "product": "parent_asin", "rating": "rating", "time": "timestamp", "title": "title",
     "text": "text"}, 1000,
)  # fmt: skip

_NO_JSON = {
    "no JSON": ("not_json", b'{"reviewerID": "A1", "asin\n'),
    "no object": ("not_object", b"[1, 2]\n"),
    "NaN": ("bad_rating", _SNAP(good(4) | {"rating": float("nan")})),
    "an object as an id": ("bad_id", _SNAP(good(4) | {"user": {"a": 1}})),
    "a list as a text": ("bad_text", _SNAP(good(4) | {"text": ["a"]})),
}


def _csv(columns: str, delimiter: str = ",") -> Callable[[Fields], bytes]:
    def written(fields: Fields) -> bytes:
        row = [str(fields.get(name, "")) if name != "0" else "0" for name in columns.split()]
        return delimiter.join(row).replace("love it,", "love it").encode() + b"\n"

    return written


def _block(fields: Fields) -> bytes:
    names = {"product": "productId", "user": "userId", "rating": "score", "time": "time", "title": "summary"}
    lines = [f"product/productId: {fields['product']}"] if "product" in fields else []
    lines += [f"review/{names.get(k, 'text')}: {v}" for k, v in fields.items() if k != "product"]
    return "\n".join(lines).encode() + b"\n\n"


_NO_ROW = {
    "too few fields": ("bad_fields", b"1,2\n"),
    "a quote that is not closed": ("bad_csv", b'1,"B1,A1\n'),
}

FORMATS = (
    FileFormat("reviews of 2014, JSON lines", b"", _SNAP, _NO_JSON),
    FileFormat("reviews of 2023, JSON lines", b"", _SNAP_2023, {"no JSON": ("not_json", b'{"user_id": "A1", "asi\n')}),
    FileFormat(
        "Kaggle's Reviews.csv",
        b"Id,ProductId,UserId,ProfileName,HelpfulnessNumerator,HelpfulnessDenominator,Score,Time,Summary,Text\n",
        _csv("0 product user 0 0 0 rating time title text"),
        _NO_ROW,
        cut_after=20,
        cut_reason="bad_fields",
    ),
    FileFormat(
        "a shop's CSV by a mapping",
        b"customer;article;stars;when;comment\n",
        _csv("user product rating time text", ";"),
        {"too few fields": ("bad_fields", b"1;2\n")},
        mapping='[columns]\nuser = "customer"\nproduct = "article"\nrating = "stars"\ntime = "when"\ntext = "comment"\n'
        '[time]\nformat = "seconds"\n[user]\nmissing = "reject"\n',
        cut_after=12,
        cut_reason="bad_fields",
    ),
    FileFormat(
        "blocks of finefoods.txt",
        b"",
        _block,
        {"a block of another kind": ("bad_block", b"nothing: of ours\n\n")},
        reads_any_bytes=True,
        cut_reason="no_user",
    ),
)
