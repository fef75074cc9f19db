"""Features: one worker against a bare Faust app that consumes the same records and sends as many bytes."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from services.features.core import SourceRecord, describe
from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from shared.log.clients import CountedProducer, LogReader, producer_config
from shared.log.records import key_of
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1.events_pb2 import Event
from shared.process.settings import KafkaSettings, load
from tests.bench.figures import BenchSettings, Figure
from tests.bench.log import fresh_kafka
from tests.bench.repeats import interleaved
from tests.bench.reviews import events, ordered_reviews
from tests.support.processes import ROOT, kafka_environment, running

WANTED = 0.7
EVENTS, EVENTS_QUICK = 20_000, 8_000
WARM_UP = 0.2  # share of the records, first in time, that is not measured
PATIENCE_SECONDS = 120.0


def run(settings: BenchSettings) -> list[Figure]:
    """With the reviews' texts and without."""
    copy, origin = ordered_reviews(settings)
    reviews = events(copy)
    count = EVENTS_QUICK if settings.quick else EVENTS
    figures = []
    with fresh_kafka(settings) as kafka:
        for name, texts in (("with texts", True), ("without texts", False)):
            sent = _sequence(reviews, count, texts=texts)
            state_bytes = _mean_state_bytes(sent)

            def worker(broker: KafkaSettings) -> AbstractContextManager[object]:
                return running("services.features", kafka_environment(broker), settings.folder / "features.log")

            def bare(broker: KafkaSettings, size: int = state_bytes) -> AbstractContextManager[object]:
                return _bare(broker, size, settings)

            words = sum(len(event.text.split()) for event in sent) / len(sent)
            spreads = interleaved(
                {
                    "features": _measured(kafka, sent, worker),
                    "bare Faust": _measured(kafka, sent, bare),
                },
                1 if settings.quick else 3,
                warm_ups=0,  # each starts a process of its own, and its first records do not count
                say=settings.say,
            )
            figures.append(
                Figure(
                    f"features worker, {name}",
                    spreads["features"].median,
                    "events/s",
                    spreads["bare Faust"].median,
                    "bare Faust app",
                    WANTED,
                    at_least=True,
                    note=f"{count:,} events of {origin}, {words:.0f} words each; {spreads['features']} "
                    f"beside {spreads['bare Faust']}",
                )
            )
    return figures


def _sequence(reviews: Sequence[Event], count: int, *, texts: bool) -> list[Event]:
    """The reviews again and again."""
    made = []
    for sequence in range(1, count + 1):
        event = Event()
        event.CopyFrom(reviews[(sequence - 1) % len(reviews)])
        event.source, event.sequence = "bench/0", sequence
        if not texts:
            event.ClearField("text")
        made.append(event)
    return made


def _mean_state_bytes(sent: Sequence[Event]) -> int:
    """How long the states of the first events are."""
    settings, sentiment = load(FeaturesSettings, {}), Sentiment()
    origin = SourceRecord("freshet.events", 0, 1000, 1_700_000_000_000)
    some = sent[:200]
    return sum(describe(event, origin, settings, sentiment).ByteSize() for event in some) // len(some)


def _measured(
    kafka: KafkaSettings, sent: Sequence[Event], work: Callable[[KafkaSettings], AbstractContextManager[object]]
) -> Callable[[], float]:
    """Events per second by the times of the records that came of them, the first left out."""

    def measure() -> float:
        broker = kafka.model_copy(update={"topic_prefix": f"b{uuid.uuid4().hex[:8]}"})
        ensure_topics(broker, patience_seconds=20)
        topics = Topics.of(broker)
        producer = CountedProducer(producer_config(broker, queue_messages=len(sent) + 1))
        for event in sent:
            producer.send(topics.events, key=key_of(event), value=event.SerializeToString())
        producer.flush(60)
        with work(broker):
            times = _times(broker, topics.states, len(sent))
        first = int(WARM_UP * len(times))
        return (len(times) - first) / ((times[-1] - times[first]) / 1000)

    return measure


def _times(kafka: KafkaSettings, topic: str, count: int) -> list[int]:
    """When each of `count` records was produced, ascending, ms."""
    reader = LogReader(kafka, {(topic, partition): -1 for partition in range(kafka.partitions)})
    times: list[int] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(times) < count:
        if time.monotonic() > deadline:
            raise AssertionError(f"{len(times)} of {count} records after {PATIENCE_SECONDS:g} s")
        times += [message.timestamp()[1] for message in reader.poll(0.2, 10_000)]
        time.sleep(0.1)  # the reader must not take the time of what is measured
    reader.close()
    return sorted(times)


@contextmanager
def _bare(kafka: KafkaSettings, size: int, settings: BenchSettings) -> Iterator[None]:
    topics = Topics.of(kafka)
    arguments = [kafka.bootstrap_servers, topics.events, topics.states, str(size)]
    with (settings.folder / "bare_faust.log").open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.bare_faust", *arguments], cwd=ROOT, stdout=sink, stderr=sink
        )
    try:
        yield
    finally:
        process.kill()
        process.wait(10)
