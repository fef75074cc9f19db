"""The loop from `freshet.events` to `freshet.states`, and to `freshet.dead-letters`; and its metrics."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from confluent_kafka import Message
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.features.app import FeaturesApp
from services.features.core import SourceRecord, describe, parse_event
from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from shared.log.clients import CountedProducer
from shared.log.follow import record_name
from shared.log.records import REASONS, key_of
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent, Unavailable
from shared.process.telemetry import SECONDS_BUCKETS, FirstFew, Ready

log = logging.getLogger("features")

# Brokers take records of 1 MiB by default, headers included; what is larger is cut, and the header `size` says so.
MOST_LETTER_BYTES = 1_000_000

POLL_SECONDS = 0.1

# Compound scores from which a text counts as positive, and up to which as negative: Hutto & Gilbert's own bounds.
POSITIVE, NEGATIVE = 0.05, -0.05


class _TimedSentiment(Sentiment):
    def __init__(self, metrics: FeaturesMetrics) -> None:
        super().__init__()
        self._metrics = metrics

    def compound(self, text: str) -> float:
        with self._metrics.vader_seconds.time():
            return super().compound(text)


class Describer:
    """Describes records of events and sends their states, or the records to the dead letters."""

    def __init__(
        self,
        settings: FeaturesSettings,
        topics: Topics,
        producer: CountedProducer,
        metrics: FeaturesMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._producer = producer
        self._metrics = metrics
        self._sentiment = _TimedSentiment(metrics)
        self._newest_ms = 0  # latest event time of any partition
        self._lines = FirstFew(log.warning, clock)  # the dead letters hold each, `freshet dead-letters show` lists them

    async def publish(self, batch: Sequence[Any]) -> None:
        """Publish Faust's messages in order and return once the broker has acknowledged what was sent for them.

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
            self._metrics.lag.set(max(0.0, time.time() - oldest))
            await asyncio.to_thread(self._producer.poll, POLL_SECONDS)
        self._metrics.lag.set(max(0.0, time.time() - oldest))
        if self._producer.failed:
            raise Unavailable(f"{self._producer.failed} records refused: {self._producer.last_error}")

    def _publish(self, message: Any) -> None:
        """Send one record's state to the partition the record came from, or the record to the dead letters."""
        recorded_ms = round(message.timestamp * 1000)
        origin = SourceRecord(message.topic, message.partition, message.offset, recorded_ms)
        try:
            event = parse_event(message.value, clock_when(recorded_ms, time.time_ns() // 1_000_000))
        except BadEvent as error:
            self._dead_letter(message.key, message.value, origin, error)
            return
        state = describe(event, origin, self._settings, self._sentiment)
        self._producer.send(
            self._topics.states,
            key=key_of(event) or None,  # as the record's own, which nothing has checked
            value=state.SerializeToString(),
            partition=origin.partition,
            on_acknowledged=self._count_acknowledged,
        )
        self._metrics.count(state)
        self._newest_ms = max(self._newest_ms, event.event_time_ms)
        self._metrics.event_time_lag.set((self._newest_ms - event.event_time_ms) / 1000)

    def _dead_letter(self, key: bytes | None, value: bytes | None, origin: SourceRecord, error: BadEvent) -> None:
        name = record_name(origin.topic, origin.partition, origin.offset)
        self._lines.add(error.reason, f"{name} goes to the dead letters ({error.reason}): {error}")
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
        self._metrics.dead_letters[error.reason].inc()

    def _count_acknowledged(self, _: Message) -> None:
        self._metrics.states.inc()


def clock_when(recorded_ms: int, now_ms: int) -> int:
    """What the clock said when a record was written, as far as that can be known.

    That is its Kafka timestamp. A record without one (-1 or 0), or with one of a time to come, as a producer sets that
    stamps records with event times, was at any rate written before now.
    """
    return min(recorded_ms, now_ms) if recorded_ms > 0 else now_ms


def add_agent(
    app: FeaturesApp, settings: FeaturesSettings, topics: Topics, producer: CountedProducer, metrics: FeaturesMetrics
) -> None:
    """Have the app describe `freshet.events`, a batch at a time."""
    describer = Describer(settings, topics, producer, metrics)
    source = app.topic(
        topics.events, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", internal=False
    )

    async def describe_events(stream: Any) -> None:
        """Describe each event; a bad one goes to the dead letters inside `publish`, and nothing else may leave."""
        batches: AsyncIterator[Sequence[Any]] = stream.take_events(settings.batch, within=settings.linger_seconds)
        async for batch in batches:
            with end_process_on_error():  # leaving the body, even by an exception, would acknowledge the batch
                messages = [event.message for event in batch]
                with metrics.batch_seconds.time():
                    await describer.publish(messages)

    app.agent(source, name="describe", concurrency=1)(describe_events)


@contextmanager
def end_process_on_error() -> Iterator[None]:
    """End the process at once when the block fails: what was not acknowledged is read again by the next worker.

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


class FeaturesMetrics:
    """What one worker tells Prometheus, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.ready = Ready("features", registry)
        events = counter("freshet_features_events_total", "Events described, ticks included.", ["kind"])
        dead_letters = counter(
            "freshet_features_dead_letters_total", "Records that could not be understood.", ["reason"]
        )
        imputed = counter(
            "freshet_features_imputed_total", "State vectors that hold what the event did not say.", ["what"]
        )
        reviews = counter(
            "freshet_features_reviews_total", "Texts scored, by the sign of their sentiment.", ["sentiment"]
        )
        rewards = counter(
            "freshet_features_rewards_total", "Rewards added up, those below 0 apart and without their sign.", ["sign"]
        )

        # Each label value known in advance → its counter, so that all start at 0.
        self.events = {
            kind: events.labels(kind=name.removeprefix("EVENT_KIND_").lower())
            for name, kind in pb.EventKind.items()
            if kind != pb.EVENT_KIND_UNSPECIFIED
        }
        self.dead_letters = {reason: dead_letters.labels(reason=reason) for reason in ("undecodable", *REASONS)}
        self.imputed = {
            what: imputed.labels(what=name.removeprefix("IMPUTED_").lower())
            for name, what in pb.Imputed.items()
            if what != pb.IMPUTED_UNSPECIFIED
        }
        self.reviews = {sign: reviews.labels(sentiment=sign) for sign in ("positive", "neutral", "negative")}
        self.rewards = {sign: rewards.labels(sign=sign) for sign in ("positive", "negative")}

        # Both go below 0, so their sums can't be counters and are left out by the library.
        self.sentiment = histogram(
            "freshet_features_sentiment",
            "Compound sentiment of the texts scored, from -1 to 1.",
            buckets=(-0.75, -0.5, -0.25, NEGATIVE, POSITIVE, 0.25, 0.5, 0.75, 1.0),
        )
        self.reward = histogram(
            "freshet_features_reward",
            "Reward of the events described, ticks aside, from -1 to 1.",
            buckets=(-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0),
        )
        self.states = counter("freshet_features_states_total", "State vectors that the broker acknowledged.")
        self.vader_seconds = histogram(
            "freshet_features_vader_seconds", "Time to score the sentiment of one text.", buckets=SECONDS_BUCKETS
        )
        self.batch_seconds = histogram(
            "freshet_features_batch_seconds",
            "Time to describe a batch and have it acknowledged.",
            buckets=SECONDS_BUCKETS,
        )
        self.lag = gauge(
            "freshet_features_lag_seconds",
            "Wall time from the oldest record of the last batch to its acknowledged state, growing while that is not "
            "there. It stays as it is while no batch comes, since Faust does not tell whether more lies in the log.",
        )
        self.event_time = gauge(
            "freshet_features_event_time_seconds", "Event time of the newest event described, Unix time."
        )
        self.event_time_lag = gauge(
            "freshet_features_event_time_lag_seconds",
            "Event time between the newest event or tick of any partition and the one described last.",
        )
        self.partitions = gauge("freshet_features_partitions", "Partitions of events that this worker reads.")

    def count(self, state: pb.StateVector) -> None:
        """Count one described event."""
        self.events[state.kind].inc()
        self.event_time.set(state.event_time_ms / 1000)
        for what in state.imputed:
            self.imputed[what].inc()
        if state.kind == pb.EVENT_KIND_TICK:
            return
        self.reward.observe(state.reward)
        self.rewards["negative" if state.reward < 0.0 else "positive"].inc(abs(state.reward))
        if pb.IMPUTED_SENTIMENT not in state.imputed:
            self.sentiment.observe(state.sentiment)
            sign = (
                "positive" if state.sentiment >= POSITIVE else "negative" if state.sentiment <= NEGATIVE else "neutral"
            )
            self.reviews[sign].inc()
