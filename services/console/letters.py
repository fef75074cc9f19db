"""Dead letters: read from the log, shown and edited as lines of JSON, put back as live events.

`DeadLetters` reads the topic to its end and puts repaired letters back. All else is pure: record → `Letter` → line of
JSON → live event.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from confluent_kafka import Message
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError

from services.console.topics import PATIENCE_SECONDS
from shared.log.clients import CountedProducer, producer_config
from shared.log.follow import read_to_end
from shared.log.limits import limits_of
from shared.log.records import REASONS, check_event, check_not_ahead, key_of
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Event
from shared.pb.freshet.v1.recommender_pb2 import RecordEventsRequest
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings

MOST_EVENT_ID_BYTES = limits_of(Event, "event_id").max_bytes
MOST_RECORD_BYTES = limits_of(RecordEventsRequest, "events").max_bytes

# The reason of a record in the dead letters that no service of ours wrote; its own position names it.
STRAY = "stray"
LETTER_REASONS = ("undecodable", *REASONS, STRAY)

# Header of a record without a value in the dead letters: the letter at this position was put back.
PUT_BACK = "put-back"
# Headers of a record that was put back.
FROM_LETTER, FROM_REASON = "dead-letter", "dead-letter-reason"


class LetterPosition(NamedTuple):
    """The position of the record that became a dead letter; it names the letter."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    place: LetterPosition
    recorded_ms: int  # wall clock of the dead letter itself
    reason: str
    message: str
    key: bytes | None
    value: bytes | None
    size: int = 0  # of key and value as they were, where the letter holds only their beginning; else 0


class Repaired(NamedTuple):
    """A letter's place, why it became one, and the live event to put back."""

    place: LetterPosition
    reason: str
    event: Event


class DeadLetters:
    """The dead letters of one installation. A record in the same topic notes each letter that was put back.

    Raises:
        Unavailable: no broker answers, or the topic can't be read to its end.
        Unusable: the topics are not as the settings say.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        ensure_topics(kafka, patience_seconds=PATIENCE_SECONDS)
        self._kafka = kafka
        self.topics = Topics.of(kafka)
        notes = (put_back_place(record) for record in self._records())
        self._put_back = {place for place in notes if place is not None}

    def was_put_back(self, place: LetterPosition) -> bool:
        """Whether the letter was put back before."""
        return str(place) in self._put_back

    def letters(self) -> Iterator[Letter]:
        """Every letter once, oldest first: a features worker that was killed may have written some twice."""
        seen: set[LetterPosition] = set()
        for record in self._records():
            if put_back_place(record) is None:
                letter = letter_of(record)
                if letter.place not in seen:
                    seen.add(letter.place)
                    yield letter

    def put_back(
        self, repaired: Sequence[Repaired], on_acknowledged: Callable[[LetterPosition, Message], None]
    ) -> None:
        """Send events to the log and return once the broker has all of them, and the notes that they were put back.

        Killed in between, the notes are missing: then the same event_ids, sent again, count once.

        Raises:
            Unavailable: the broker is away or refuses one.
        """
        producer = CountedProducer(producer_config(self._kafka))
        stored: list[tuple[LetterPosition, Message]] = []
        for place, reason, event in repaired:
            producer.send(
                self.topics.events,
                key=key_of(event),
                value=event.SerializeToString(),
                headers=[(FROM_LETTER, str(place).encode()), (FROM_REASON, reason.encode())],
                on_acknowledged=lambda message, place=place: stored.append((place, message)),  # type: ignore[misc]
            )
        try:
            producer.flush(PATIENCE_SECONDS)
        finally:
            for place, message in stored:
                self._put_back.add(str(place))
                on_acknowledged(place, message)
                producer.send(self.topics.dead_letters, key=None, value=None, headers=[(PUT_BACK, str(place).encode())])
        producer.flush(PATIENCE_SECONDS)

    def _records(self) -> Iterator[Message]:
        return read_to_end(self._kafka, {(self.topics.dead_letters, 0): -1}, patience_seconds=PATIENCE_SECONDS)


# From the record to the line, and from the line to the event. Pure.


def letter_of(record: Message) -> Letter:
    """The letter in a record of the dead letters; one without their headers is a stray."""
    headers = _headers(record)
    recorded_ms, key, value = record.timestamp()[1], record.key(), record.value()
    try:
        place = LetterPosition(headers["topic"].decode(), int(headers["partition"]), int(headers["offset"]))
        reason, size = headers["reason"].decode(), int(headers.get("size", b"0"))
    except (KeyError, ValueError):
        place = LetterPosition(str(record.topic()), int(record.partition() or 0), int(record.offset() or 0))
        return Letter(place, recorded_ms, STRAY, "a record without a dead letter's headers", key, value)
    return Letter(place, recorded_ms, reason, headers.get("message", b"").decode(errors="replace"), key, value, size)


def put_back_place(record: Message) -> str | None:
    """The position, as text, of the letter that this record notes as put back; None for any other record."""
    place = _headers(record).get(PUT_BACK)
    return None if place is None else place.decode(errors="replace")


def to_json(letter: Letter) -> dict[str, Any]:
    """What a person reads and edits: the event as far as it decodes, and the bytes where that is not all of them."""
    shown: dict[str, Any] = {
        **letter.place._asdict(),
        "recorded": moment(letter.recorded_ms),
        "reason": letter.reason,
        "message": letter.message,
    }
    if letter.size:
        shown["cut_from_bytes"] = letter.size
    if letter.key is not None:
        shown |= _text_or_base64("key", letter.key)
    if letter.value is None:
        return shown
    try:
        event = Event.FromString(letter.value)
    except DecodeError:
        return shown | {"value_base64": base64.b64encode(letter.value).decode()}
    shown["event"] = MessageToDict(event, preserving_proto_field_name=True)
    known = event.ByteSize()
    event.DiscardUnknownFields()
    if event.ByteSize() < known:  # of another schema, or of a newer one
        shown["value_base64"] = base64.b64encode(letter.value).decode()
    return shown


def to_line(letter: Letter) -> str:
    """The letter as one line of JSON."""
    return json.dumps(to_json(letter), ensure_ascii=False)


def read_line(line: bytes) -> tuple[LetterPosition, str, Event]:
    """The letter's position, its reason and the event, from a line that somebody may have edited.

    The event is read from `event` where there is one, else from `value_base64`.

    Raises:
        BadEvent: it is not such a line, or holds no event.
    """
    try:
        edited = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadEvent("not_json", f"not a line of JSON: {error}") from None
    if not isinstance(edited, dict):
        raise BadEvent("not_json", f"a {type(edited).__name__}, not an object as `freshet dead-letters show` writes it")
    place, reason = _place(edited), str(edited.get("reason", ""))
    if "event" in edited:
        if not isinstance(edited["event"], dict):
            raise BadEvent("undecodable", "event: must be an object with an event's fields")
        try:
            return place, reason, ParseDict(edited["event"], Event())
        except (ParseError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise BadEvent("undecodable", f"event: {error}") from None
    try:
        value = base64.b64decode(edited.get("value_base64", ""), validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise BadEvent("undecodable", "value_base64: not base64") from None
    return place, reason, _decoded(value, int(bool(edited.get("cut_from_bytes"))))


def event_in(letter: Letter) -> Event:
    """The event in a letter, unchanged.

    Raises:
        BadEvent: the letter holds none.
    """
    return _decoded(letter.value or b"", letter.size)


def as_live(event: Event, place: LetterPosition, events_topic: str, now_ms: int) -> Event:
    """The event as a live one, valid wherever events are checked.

    A repaired event of a replay would come after events with higher sequences, and readers would drop it as a repeat.
    So it loses its source and sequence and is known by its event_id; an event without one gets one that follows from
    the letter's position.

    Raises:
        BadEvent: it would be refused again.
    """
    if place.topic != events_topic:
        raise BadEvent("not_an_event", f"topic: the letter comes from {place.topic}; only events can be put back")
    live = Event()
    live.CopyFrom(event)
    live.ClearField("source")
    live.ClearField("sequence")
    live.event_id = live.event_id or f"dead-letter/{place}"[-MOST_EVENT_ID_BYTES:]
    check_event(live)
    if live.kind == EVENT_KIND_TICK:
        raise BadEvent("no_kind", "kind: only a replay sends ticks, and it sends new ones")
    check_not_ahead(live, now_ms)
    if live.ByteSize() > MOST_RECORD_BYTES:
        raise BadEvent("too_large", f"at most {MOST_RECORD_BYTES} bytes, got {live.ByteSize()}; cut the text")
    return live


def moment(time_ms: int) -> str:
    """Wall clock in UTC, to the second; empty where a record has none."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"
    except (ValueError, OverflowError, OSError):
        return ""


def printable(text: str) -> str:
    """The text without anything that would control a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _headers(record: Message) -> dict[str, bytes]:
    given = cast("Sequence[tuple[str, bytes | None]]", record.headers() or [])
    return {name: value or b"" for name, value in given}


def _place(edited: Mapping[str, Any]) -> LetterPosition:
    topic, partition, offset = (edited.get(name) for name in LetterPosition._fields)
    if not isinstance(topic, str) or type(partition) is not int or type(offset) is not int:
        raise BadEvent("no_place", "topic, partition, offset: must stay as they were, since they name the letter")
    return LetterPosition(topic, partition, offset)


def _decoded(value: bytes, cut_from_bytes: int) -> Event:
    if cut_from_bytes:
        raise BadEvent("cut", "the letter holds only the beginning of the record; write the whole event into it")
    if not value:
        raise BadEvent("undecodable", "event: missing, and there is no value to take it from")
    try:
        return Event.FromString(value)
    except DecodeError as error:
        raise BadEvent("undecodable", f"not an Event: {error}") from None


def _text_or_base64(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}
