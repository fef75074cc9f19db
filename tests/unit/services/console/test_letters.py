"""A dead letter between its record, the line that a person edits, and the event that is put back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.console.letters import STRAY, Letter, LetterPosition, as_live, event_in, letter_of, read_line, to_line
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent

NOW_MS = 1_800_000_000_000
PLACE = LetterPosition("t.events", 2, 17)
BAD = pb.Event(
    kind=pb.EVENT_KIND_REVIEW, user_id="ünï", product_id="p\u2028", event_time_ms=1_300_000_000_123, rating=9.5,
    text="two\nlines 💡", source="set/0", sequence=2**63 + 1,
)  # fmt: skip


def letter(value: bytes | None, **more: Any) -> Letter:
    return Letter(PLACE, NOW_MS, "bad_rating", "rating: 1 to 5, got 9.5", b"k", value, **more)


def edited(of: Letter, **event: Any) -> bytes:
    line = json.loads(to_line(of))
    line["event"] = line.get("event", {}) | event
    return json.dumps(line).encode()


def test_an_event_survives_its_line_whole() -> None:
    line = to_line(letter(BAD.SerializeToString()))
    assert line.encode().count(b"\n") == 0
    assert "value_base64" not in line
    assert json.loads(line)["recorded"] == "2027-01-15T08:00:00Z"
    assert read_line(line.encode()) == (PLACE, "bad_rating", BAD)


def test_numbers_that_are_none_and_kinds_that_are_unknown_are_shown() -> None:
    event = pb.Event(kind=77, rating=float("nan"), price=float("-inf"))  # type: ignore[arg-type]
    shown = json.loads(to_line(letter(event.SerializeToString())))["event"]
    assert shown == {"kind": 77, "rating": "NaN", "price": "-Infinity"}


@pytest.mark.parametrize("value", [b"\xff\xfe", pb.Event(user_id="u").SerializeToString() + b"\xa2\x06\x01x"])
def test_what_the_event_does_not_hold_is_kept_as_bytes(value: bytes) -> None:
    assert "value_base64" in to_line(letter(value))


def test_a_key_that_is_no_text_is_kept_as_bytes() -> None:
    assert json.loads(to_line(Letter(PLACE, 0, "r", "m", b"\xff", None)))["key_base64"] == "/w=="


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not_json"),
        (b"\xff", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"[1]", "not_json"),
        (b"null", "not_json"),
        (b"{}", "no_place"),
        (b'{"topic": "t", "partition": "0", "offset": 1}', "no_place"),
        (b'{"topic": "t", "partition": 0, "offset": true}', "no_place"),
        (b'{"topic": "t", "partition": 0, "offset": 1}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "event": []}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "event": "text"}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "event": {"nosuch": 1}}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "event": {"rating": "many"}}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "event": {"text": "\\ud800"}}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "event": {"sequence": -1}}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "value_base64": "!"}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "value_base64": 7}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "value_base64": "//4="}', "undecodable"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "value_base64": "aa==", "cut_from_bytes": 9}', "cut"),
    ],
)
def test_a_line_that_can_not_be_used_is_refused_with_its_reason(line: bytes, reason: str) -> None:
    with pytest.raises(BadEvent) as refused:
        read_line(line)
    assert refused.value.reason == reason


def test_the_repaired_is_a_live_event_known_by_its_place() -> None:
    place, _, event = read_line(edited(letter(BAD.SerializeToString()), rating=4, product_id="p1"))
    live = as_live(event, place, "t.events", NOW_MS)
    assert live == pb.Event(
        kind=pb.EVENT_KIND_REVIEW, user_id="ünï", product_id="p1", event_time_ms=1_300_000_000_123, rating=4.0,
        text="two\nlines 💡", event_id="dead-letter/t.events/2/17",
    )  # fmt: skip
    assert as_live(event, place, "t.events", NOW_MS) == live, "each time the same"
    event.event_id = "own"
    assert as_live(event, place, "t.events", NOW_MS).event_id == "own"


def test_ids_of_long_topics_still_differ_by_place() -> None:
    event = pb.Event(kind=pb.EVENT_KIND_VIEW, user_id="u", product_id="p", event_time_ms=1)
    ids = {as_live(event, LetterPosition("t" * 249, 0, n), "t" * 249, NOW_MS).event_id for n in range(3)}
    assert len(ids) == 3
    assert max(map(len, ids)) == 128


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rating": 9}, "bad_rating"),
        ({"user_id": "u" * 257}, "bad_id"),
        ({"event_time_ms": NOW_MS + 2 * 86_400_000}, "future_time"),
        ({"text": "x" * 1_000_001}, "too_large"),
    ],
)
def test_what_a_door_would_refuse_is_refused(change: dict[str, Any], reason: str) -> None:
    line = edited(letter(BAD.SerializeToString()), **({"rating": 4, "product_id": "p1"} | change))
    with pytest.raises(BadEvent) as refused:
        as_live(read_line(line)[2], PLACE, "t.events", NOW_MS)
    assert refused.value.reason == reason


def test_ticks_and_other_topics_are_not_put_back() -> None:
    tick = pb.Event(kind=pb.EVENT_KIND_TICK, event_time_ms=1)
    for event, topic, reason in ((tick, "t.events", "no_kind"), (BAD, "t.states", "not_an_event")):
        with pytest.raises(BadEvent) as refused:
            as_live(event, PLACE._replace(topic=topic), "t.events", NOW_MS)
        assert refused.value.reason == reason


def test_what_was_cut_is_not_put_back() -> None:
    with pytest.raises(BadEvent, match="only the beginning"):
        event_in(letter(b"x", size=2_000_000))


class Record:
    """As confluent-kafka gives them."""

    def __init__(self, headers: list[tuple[str, bytes | None]] | None) -> None:
        self._headers = headers

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def topic(self) -> str:
        return "t.dead-letters"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 5

    def timestamp(self) -> tuple[int, int]:
        return 1, NOW_MS

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return b"v"


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [("topic", b"t"), ("partition", b"x"), ("offset", b"1"), ("reason", b"r")],
        [("topic", b"\xff"), ("partition", b"1"), ("offset", b"1"), ("reason", b"r")],
        [("topic", None), ("partition", None), ("offset", None)],
        [("topic", b"t"), ("partition", b"1"), ("offset", b"9" * 5000), ("reason", b"r")],
    ],
)
def test_what_somebody_else_wrote_into_the_dead_letters_is_a_stray(headers: Any) -> None:
    letter = letter_of(Record(headers))  # type: ignore[arg-type]
    assert (letter.reason, letter.place, letter.value) == (STRAY, LetterPosition("t.dead-letters", 0, 5), b"v")
