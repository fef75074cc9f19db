"""Where a start reads the log from: where the newest snapshot ends, or from its beginning."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message

from services.inference.keeper import Keeper
from services.inference.snapshot import Restored
from shared.kafka.clients import LogReader
from shared.settings import KafkaSettings
from shared.topics import Topics

POLL_SECONDS = 0.2
# A broker that answers says within this where a partition ends, unless the position asked for lies beyond.
SILENCE_SECONDS = 5.0


class _Outside(Exception):
    """A snapshot's position lies outside the log."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """A reader of states and products, and what it starts from."""

    reader: LogReader
    positions: Mapping[int, int]  # partition of `freshet.states` → next offset; -1: the first there is
    messages: Sequence[Message] = ()  # what the reader gave already
    restored: Restored | None = None


def begin(kafka: KafkaSettings, keeper: Keeper | None, stopping: threading.Event) -> Beginning:
    """Open the log; a snapshot whose place in it is gone is left aside, since nothing is lost by reading all."""
    nowhere = dict.fromkeys(range(kafka.partitions), -1)
    found = keeper.newest() if keeper is not None else None
    if keeper is None or found is None:
        return Beginning(_reader(kafka, nowhere), nowhere)
    reader = _reader(kafka, found.positions)
    try:
        messages = _first(reader, {(Topics.of(kafka).states, p) for p in found.positions}, stopping)
    except _Outside as error:
        reader.close()
        keeper.leave_aside(f"the log no longer holds what follows it ({error})")
        return Beginning(_reader(kafka, nowhere), nowhere)
    return Beginning(reader, found.positions, messages, found.restore(keeper.origin))


def _reader(kafka: KafkaSettings, positions: Mapping[int, int]) -> LogReader:
    topics = Topics.of(kafka)
    places = {(topics.states, p): offset for p, offset in positions.items()}
    return LogReader(kafka, places | {(topics.products, 0): -1})


def _first(reader: LogReader, places: set[tuple[str, int]], stopping: threading.Event) -> list[Message]:
    """What comes until every place has said that it lies in the log.

    Raises:
        _Outside: one does not, by the broker's word, or because nothing comes of it while the broker answers.
    """
    messages: list[Message] = []
    waiting = set(places)
    answers_since = 0.0  # monotonic seconds; 0: nothing was read to its end yet
    while waiting and not stopping.is_set():
        try:
            came = reader.poll(POLL_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._AUTO_OFFSET_RESET:
                raise
            raise _Outside(error.args[0].str()) from error
        messages += came
        waiting -= reader.at_end
        waiting -= {(str(message.topic()), int(message.partition() or 0)) for message in came}
        if reader.at_end and not answers_since:
            answers_since = time.monotonic()
        if waiting and answers_since and time.monotonic() - answers_since > SILENCE_SECONDS:
            raise _Outside(f"partition {min(waiting)[1]} says nothing")
    return messages
