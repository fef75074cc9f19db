"""The loop from `freshet.events` to `freshet.states`, and to `freshet.dead-letters`."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from confluent_kafka import Message

from services.features import metrics
from services.features.app import FeaturesApp
from services.features.core import Origin, describe, parse_event
from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from shared.errors import BadEvent, Unavailable
from shared.events import key_of
from shared.first_few import FirstFew
from shared.kafka.clients import CountedProducer
from shared.topics import Topics

log = logging.getLogger("features")

# Brokers take records of 1 MiB by default, headers included; what is larger is cut, and the header `size` says so.
MOST_LETTER_BYTES = 1_000_000

POLL_SECONDS = 0.1


class _TimedSentiment(Sentiment):
    def compound(self, text: str) -> float:
        with metrics.VADER_SECONDS.time():
            return super().compound(text)


class Describer:
    """Describes records of events and sends what came of them."""

    def __init__(
        self,
        settings: FeaturesSettings,
        topics: Topics,
        producer: CountedProducer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._producer = producer
        self._sentiment = _TimedSentiment()
        self._newest_ms = 0  # latest event time of any partition
        self._lines = FirstFew(log.warning, clock)  # the dead letters hold each, `freshet dead-letters show` lists them

    async def publish(self, batch: Sequence[Any]) -> None:
        """Publish Faust's messages in order and return once the broker has all that came of them.

        A broker that is away is waited for.

        Raises:
            Unavailable: the broker refused something for good.
        """
        self._lines.due()
        oldest = min(message.timestamp for message in batch)
        for message in batch:
            self._publish(message)
            await asyncio.sleep(0)  # a stop is heard, and the group kept, between long texts
        while self._producer.in_flight:
            metrics.LAG.set(max(0.0, time.time() - oldest))
            await asyncio.to_thread(self._producer.poll, POLL_SECONDS)
        metrics.LAG.set(max(0.0, time.time() - oldest))
        if self._producer.failed:
            raise Unavailable(f"{self._producer.failed} records refused: {self._producer.last_error}")

    def _publish(self, message: Any) -> None:
        """Send one record's state to the partition the record came from, or the record to the dead letters."""
        origin = Origin(message.topic, message.partition, message.offset, round(message.timestamp * 1000))
        try:
            event = parse_event(message.value)
        except BadEvent as error:
            self._dead_letter(message.key, message.value, origin, error)
            return
        state = describe(event, origin, self._settings, self._sentiment)
        self._producer.send(
            self._topics.states,
            key=key_of(event) or None,  # as the record's own, which nothing has checked
            value=state.SerializeToString(),
            partition=origin.partition,
            on_acknowledged=_count_acknowledged,
        )
        metrics.count(state)
        self._newest_ms = max(self._newest_ms, event.event_time_ms)
        metrics.EVENT_TIME_LAG.set((self._newest_ms - event.event_time_ms) / 1000)

    def _dead_letter(self, key: bytes | None, value: bytes | None, origin: Origin, error: BadEvent) -> None:
        where = f"{origin.topic} [{origin.partition}] offset {origin.offset}"
        self._lines.add(error.reason, f"{where} goes to the dead letters ({error.reason}): {error}")
        headers = [
            ("topic", origin.topic.encode()),
            ("partition", str(origin.partition).encode()),
            ("offset", str(origin.offset).encode()),
            ("reason", error.reason.encode()),
            ("message", str(error).encode(errors="replace")),
        ]
        size = len(key or b"") + len(value or b"")
        if size > MOST_LETTER_BYTES:
            headers.append(("size", str(size).encode()))
            key = key[:MOST_LETTER_BYTES] if key else key
            value = value[: MOST_LETTER_BYTES - len(key or b"")] if value else value
        self._producer.send(self._topics.dead_letters, key=key, value=value, headers=headers)
        metrics.DEAD_LETTERS[error.reason].inc()


def add_agent(app: FeaturesApp, settings: FeaturesSettings, topics: Topics, producer: CountedProducer) -> None:
    """Have the app describe `freshet.events`, a batch at a time."""
    describer = Describer(settings, topics, producer)
    source = app.topic(
        topics.events, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=False
    )

    async def describe_events(stream: Any) -> None:
        """Describe each event; a bad one goes to the dead letters inside `publish`, and nothing else may leave."""
        batches: AsyncIterator[Sequence[Any]] = stream.take_events(settings.batch, within=settings.linger_seconds)
        async for batch in batches:
            with end_process_on_error():  # leaving the body, even by an exception, would acknowledge the batch
                messages = [event.message for event in batch]
                with metrics.BATCH_SECONDS.time():
                    await describer.publish(messages)

    app.agent(source, name="describe", concurrency=1)(describe_events)


def _count_acknowledged(_: Message) -> None:
    metrics.STATES.inc()


@contextmanager
def end_process_on_error() -> Iterator[None]:
    """End the process at once when the block fails: what was not acknowledged is read again by whoever starts next.

    A cancellation is a failure too: an orderly stop cancels nothing that is at work.
    """
    try:
        yield
    except BaseException:
        log.critical("can't go on; the events since the last commit will be described again", exc_info=True)
        end_process(1)


def end_process(status: int) -> NoReturn:
    """End without Faust's shutdown, which would acknowledge what it holds."""
    logging.shutdown()
    os._exit(status)
