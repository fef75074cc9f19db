"""Who is in the log: users with their events, and what products are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import Message

from shared.errors import BadEvent, Unavailable
from shared.kafka.clients import LogReader
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK
from shared.products import parse_product
from shared.settings import KafkaSettings
from shared.states import parse_state
from shared.topics import Topics

LEAST_EVENTS = 3
_QUIET_POLLS = 60  # of half a second each, without a message or an end: the broker is gone


@dataclass(frozen=True, slots=True)
class Person:
    """A user as the log shows them."""

    user_id: str
    events: int
    newest_ms: int  # event time of the last


def read_people(kafka: KafkaSettings) -> dict[str, Person]:
    """Every user of `freshet.states`; guests are nobody.

    Raises:
        Unavailable: the log can't be read to its end.
    """
    people: dict[str, Person] = {}
    for message in _whole(kafka, {(Topics.of(kafka).states, p): -1 for p in range(kafka.partitions)}):
        try:
            state = parse_state(message.value())
        except BadEvent:
            continue
        if state.kind != EVENT_KIND_TICK and state.user_id:
            known = people.get(state.user_id, Person(state.user_id, 0, 0))
            newest_ms = max(known.newest_ms, state.event_time_ms)
            people[state.user_id] = Person(state.user_id, known.events + 1, newest_ms)
    return people


def read_titles(kafka: KafkaSettings) -> dict[str, str]:
    """product_id → title, of the products that have one.

    Raises:
        Unavailable: the log can't be read to its end.
    """
    titles: dict[str, str] = {}
    for message in _whole(kafka, {(Topics.of(kafka).products, 0): -1}):
        try:
            product_id, product = parse_product(message.key(), message.value())
        except BadEvent:
            continue  # inference counts and names it
        if product is not None and product.title:
            titles[product_id] = product.title
    return titles


def choose(people: Mapping[str, Person], count: int) -> list[Person]:
    """Up to `count` users with a history worth showing, those last seen first."""
    worth = [person for person in people.values() if person.events >= LEAST_EVENTS]
    return sorted(worth, key=lambda person: (-person.newest_ms, -person.events, person.user_id))[:count]


def share_of_single(people: Mapping[str, Person]) -> float:
    """Of the users, the share that has one event."""
    return sum(person.events == 1 for person in people.values()) / len(people) if people else 0.0


def _whole(kafka: KafkaSettings, positions: Mapping[tuple[str, int], int]) -> Iterator[Message]:
    reader = LogReader(kafka, positions)
    quiet = 0
    try:
        while not reader.caught_up:
            messages = reader.poll(0.5)
            yield from messages
            quiet = 0 if messages else quiet + 1
            if quiet > _QUIET_POLLS:
                raise Unavailable(f"the log at {kafka.bootstrap_servers} can't be read to its end")
    finally:
        reader.close()
