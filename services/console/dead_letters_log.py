"""Reads `freshet.dead-letters` to its end, and puts repaired letters back into `freshet.events`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from confluent_kafka import Message

from services.console.dead_letters_letter import (
    FROM_LETTER,
    FROM_REASON,
    PUT_BACK,
    Letter,
    Place,
    letter_of,
    put_back_place,
)
from services.console.topics import PATIENCE_SECONDS
from shared.errors import Unavailable
from shared.events import key_of
from shared.kafka.clients import CountedProducer, LogReader, producer_config
from shared.pb.freshet.v1.events_pb2 import Event
from shared.settings import KafkaSettings
from shared.topics import Topics, ensure_topics


class Repaired(NamedTuple):
    """A letter's place, why it became one, and the live event to put back."""

    place: Place
    reason: str
    event: Event


class DeadLetters:
    """The dead letters of one installation. Those put back are known by records of their own in the same topic.

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

    def was_put_back(self, place: Place) -> bool:
        """Whether the letter was put back before."""
        return str(place) in self._put_back

    def letters(self) -> Iterator[Letter]:
        """Every letter once, oldest first: a features worker that was killed may have written some twice."""
        seen: set[Place] = set()
        for record in self._records():
            if put_back_place(record) is None:
                letter = letter_of(record)
                if letter.place not in seen:
                    seen.add(letter.place)
                    yield letter

    def put_back(self, repaired: Sequence[Repaired], on_acknowledged: Callable[[Place, Message], None]) -> None:
        """Send events to the log and return once the broker has all of them, and the notes that they were put back.

        Killed in between, the notes are missing: then the same event_ids, sent again, count once.

        Raises:
            Unavailable: the broker is away or refuses one.
        """
        producer = CountedProducer(producer_config(self._kafka))
        stored: list[tuple[Place, Message]] = []
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
        topic = self.topics.dead_letters
        reader = LogReader(self._kafka, {(topic, 0): -1})
        deadline = time.monotonic() + PATIENCE_SECONDS
        try:
            while not reader.caught_up:
                records = reader.poll(0.2)
                yield from records
                if records:
                    deadline = time.monotonic() + PATIENCE_SECONDS
                elif time.monotonic() > deadline:
                    raise Unavailable(f"{topic} at {self._kafka.bootstrap_servers} can't be read to its end")
        finally:
            reader.close()
