"""Blocks of `name: value` lines, as in finefoods.txt and movies.txt."""

from __future__ import annotations

import gzip
from pathlib import Path

from replay.reading.records import blocks
from shared.pb.freshet.v1 import events_pb2 as pb
from tests.support.events import events_of

BLOCK = b"""\
product/productId: B001E4KFG0
review/userId: A3SGXH7AUHU8GW
review/profileName: delmartian
review/helpfulness: 1/2
review/score: 5.0
review/time: 1303862400
review/summary: Good &amp; cheap
review/text: I have bought several.<br />Twice: again
"""


def with_(name: bytes, value: bytes) -> bytes:
    """The block with another value of one field."""
    lines = [name + b": " + value if line.startswith(name + b":") else line for line in BLOCK.splitlines()]
    return b"\n".join(lines) + b"\n"


def test_a_block_is_an_event(tmp_path: Path) -> None:
    parsed = events_of(tmp_path / "foods.txt", BLOCK)
    assert parsed.format.name == "reviews in blocks, as finefoods.txt"
    assert parsed.events == [
        pb.Event(
            kind=pb.EVENT_KIND_REVIEW,
            user_id="A3SGXH7AUHU8GW",
            product_id="B001E4KFG0",
            event_time_ms=1_303_862_400_000,
            text="Good & cheap\nI have bought several.\nTwice: again",
            rating=5.0,
            helpful_votes=1,
            total_votes=2,
        )
    ]


def test_blocks_are_parted_by_blank_lines_and_begin_with_their_product(tmp_path: Path) -> None:
    content = b"\n\r\n" + BLOCK + b"\n\n" + BLOCK + BLOCK.replace(b"\n", b"\r\n") + b"   \n" + BLOCK
    parsed = events_of(tmp_path / "foods.gz", gzip.compress(content))
    assert parsed.at == [3, 13, 21, 30]
    assert (parsed.account.lines, parsed.left_out) == (4, [])


def test_a_value_goes_on_in_lines_that_begin_with_no_field(tmp_path: Path) -> None:
    parsed = events_of(tmp_path / "r", BLOCK + b"on and on: yes\n")
    assert parsed.events[0].text.endswith("Twice: again\non and on: yes")


def test_what_is_not_utf8_is_latin_1(tmp_path: Path) -> None:
    content = with_(b"review/summary", b"Am\xe9lie") + b"\n" + with_(b"review/summary", "Amélie".encode())
    parsed = events_of(tmp_path / "movies.txt", content)
    assert [event.text.split("\n")[0] for event in parsed.events] == ["Amélie", "Amélie"]


def test_a_bad_block_is_left_out_alone_with_its_line_and_reason(tmp_path: Path) -> None:
    bad = [
        (with_(b"review/userId", b"unknown"), "no_user"),
        (b"review/text: of nothing\n", "no_user"),
        (with_(b"product/productId", b""), "no_product"),
        (with_(b"review/score", b"6"), "bad_rating"),
        (with_(b"review/score", b"nan"), "bad_rating"),
        (with_(b"review/time", b"-1"), "bad_time"),
        (with_(b"review/helpfulness", b"1 of 2"), "bad_votes"),
        (with_(b"review/helpfulness", b"x/2"), "bad_votes"),
        (b"nonsense\n" + BLOCK.replace(b"product/productId:", b"product/title:"), "bad_block"),
        (with_(b"review/text", b"\x00"), "nul_bytes"),
        (with_(b"review/text", b"x" * 3000), "too_long"),
    ]
    content, wanted, line = BLOCK, [], BLOCK.count(b"\n") + 1
    for block, reason in bad:
        content += b"\n" + block
        wanted.append((line + 1, reason))
        line += block.count(b"\n") + 1
    parsed = events_of(tmp_path / "r", content + b"\n" + BLOCK, most_line_bytes=2048)
    assert parsed.left_out == wanted
    assert parsed.at == [1, line + 1]
    assert parsed.account.lines == len(bad) + 2


def test_a_block_has_no_more_bytes_than_allowed_over_all_its_lines() -> None:
    lines = [(n, line) for n, line in enumerate([b"product/productId: 1", b"x" * 50, b"y" * 50, b"", b"z"], start=1)]
    assert [(n, content) for n, content, _ in blocks(lines, 80)] == [(1, b""), (5, b"z")]
    assert [n for n, _, _ in blocks([(1, None), (2, b"a"), (3, None), (4, b""), (5, b"b")], 80)] == [1, 5]
