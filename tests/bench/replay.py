"""Replay: `--speed max` from an ordered copy against a bare producer of the same bytes on the same broker."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from replay.metrics import ReplayMetrics
from replay.order.ordered_copy import Selection
from replay.sending.producer import Sender
from replay.sending.progress import ReplayTask
from replay.sending.run import beginning
from replay.sending.script import PaceOptions, ReplayPace, Script
from replay.settings import ReplaySettings
from shared.log.clients import CountedProducer, LogReader, producer_config
from shared.log.topics import Topics, ensure_topics
from shared.process.settings import KafkaSettings
from shared.process.terminal import Watch
from tests.bench.bare_producer import Record, send
from tests.bench.figures import BenchSettings, Figure
from tests.bench.log import fresh_kafka
from tests.bench.repeats import interleaved
from tests.bench.reviews import ordered_reviews

WANTED = 0.5
EVENTS, EVENTS_QUICK = 100_000, 20_000


def run(settings: BenchSettings) -> list[Figure]:
    """Send the reviews again and again until there are enough, by replay and bare."""
    copy, origin = ordered_reviews(settings)
    replay = ReplaySettings(state_dir=settings.folder / "replay")
    everything = Selection()
    extent = copy.extent(everything)
    pace = ReplayPace.of(
        PaceOptions(), extent.first_ms, extent.last_ms + copy.summary.tables.resolution_ms, extent.events
    )
    script = Script(copy.summary.fingerprint, extent, pace, replay.tick_events, replay.tick_seconds)
    wanted = EVENTS_QUICK if settings.quick else EVENTS
    task = ReplayTask(copy, everything, script, max(1, wanted // extent.events))
    events = task.loops * extent.events
    with fresh_kafka(settings) as kafka:
        records = _records(task, kafka.partitions)

        def measured(ready: Callable[[KafkaSettings, CountedProducer], Callable[[], None]]) -> Callable[[], float]:
            def measure() -> float:
                broker = kafka.model_copy(update={"topic_prefix": f"b{uuid.uuid4().hex[:8]}"})
                ensure_topics(broker, patience_seconds=20)
                # Made before: it takes a second until the broker has given it an id.
                producer = CountedProducer(producer_config(broker, queue_messages=replay.queue_messages))
                time.sleep(1.0)
                send = ready(broker, producer)
                start = time.perf_counter()
                send()
                seconds = time.perf_counter() - start
                _require_all(broker, records)
                return events / seconds

            return measure

        def by_replay(broker: KafkaSettings, producer: CountedProducer) -> Callable[[], None]:
            start = beginning(task, broker, replay.state_dir, threading.Event(), resume=False)
            return Sender(
                task, start, producer, replay, broker, Watch(threading.Event()), ReplayMetrics(CollectorRegistry())
            ).run

        def bare(broker: KafkaSettings, producer: CountedProducer) -> Callable[[], None]:
            return lambda: send(records, producer._producer, Topics.of(broker).events)

        spreads = interleaved(
            {"replay": measured(by_replay), "bare producer": measured(bare)},
            1 if settings.quick else 5,
            say=settings.say,
        )
    size = sum(len(record.value) for record in records) / len(records)
    return [
        Figure(
            "replay --speed max",
            spreads["replay"].median,
            "events/s",
            spreads["bare producer"].median,
            "confluent-kafka, same bytes",
            WANTED,
            at_least=True,
            note=f"{events:,} events of {origin}, {size:.0f} bytes each; {spreads['replay']} "
            f"beside {spreads['bare producer']}",
        )
    ]


def _records(task: ReplayTask, partitions: int) -> list[Record]:
    """What a replay sends, ticks included."""
    records = []
    for loop in range(task.loops):
        for cue in task.script.loop(loop, task.copy.events(task.selection, task.script.extent)):
            if cue.key is None:
                records += [Record(None, cue.value, partition) for partition in range(partitions)]
            else:
                records.append(Record(cue.key, cue.value, -1))
    return records


def _require_all(kafka: KafkaSettings, records: Sequence[Record]) -> None:
    """Fail unless the log holds just these bytes, each key and value once."""
    topic = Topics.of(kafka).events
    reader = LogReader(kafka, {(topic, partition): -1 for partition in range(kafka.partitions)})
    stored = []
    while not reader.caught_up:
        stored += [(message.key() or b"", message.value()) for message in reader.poll(0.2, 10_000)]
    reader.close()
    if sorted(stored) != sorted((record.key or b"", record.value) for record in records):
        raise AssertionError("replay and the bare producer did not store the same bytes")
