"""What a reader's metrics say while something lags, and when nothing does."""

from __future__ import annotations

import math
import time

from prometheus_client import CollectorRegistry

from services.embedded.broker import free_port
from shared.log.merge import Positioned
from shared.log.ordered import OrderedReader, ReaderMetrics
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import KafkaSettings
from tests.support.writing import writer


class Shown:
    """A reader and its metrics in a registry of their own."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.registry = CollectorRegistry()
        self.reader = OrderedReader(kafka, Topics.of(kafka).states, silence_seconds=1e9)
        self.metrics = ReaderMetrics("reader", self.registry)

    def __getitem__(self, name: str) -> float:
        value = self.registry.get_sample_value(f"freshet_reader_{name}")
        assert value is not None, name
        return value

    def read_on(self) -> None:
        """Until nothing comes out and the log's end is reached."""
        idle = 0
        while idle < 3:
            items = self.reader.poll(0.1)
            self.metrics.show(self.reader, items)
            idle = 0 if items or not self.reader.at_end else idle + 1


def write(kafka: KafkaSettings, *records: tuple[int, pb.StateVector]) -> None:
    """(partition, state) each."""
    producer = writer(kafka)
    for partition, state in records:
        producer.send(Topics.of(kafka).states, key=b"u", value=state.SerializeToString(), partition=partition)
    producer.flush(20)


def state(seconds: int, *, ago: float, offset: int, kind: int = pb.EVENT_KIND_REVIEW) -> pb.StateVector:
    """At this event time, recorded so many seconds ago, or up to a millisecond more."""
    made = pb.StateVector(event_time_ms=seconds * 1000, recorded_ms=math.floor((time.time() - ago) * 1000))
    made.kind, made.source_offset, made.source = kind, offset, "test/0"  # type: ignore[assignment]
    if kind != pb.EVENT_KIND_TICK:
        made.user_id, made.product_id, made.sequence = "u", "p", offset + 1
    return made


def tick(kafka: KafkaSettings, seconds: int, offset: int) -> None:
    write(
        kafka,
        *((p, state(seconds, ago=0, offset=offset, kind=pb.EVENT_KIND_TICK)) for p in range(kafka.partitions)),
    )


def test_what_is_held_back_lags_and_ticks_at_the_end_do_not(kafka: KafkaSettings) -> None:
    shown = Shown(kafka)
    first = state(10, ago=500, offset=0)
    write(kafka, (0, first), (0, first))
    tick(kafka, 20, offset=1)
    shown.read_on()
    assert shown["waiting_states"] == 0
    assert (shown["lag_seconds"], shown["event_time_lag_seconds"]) == (0.0, 0.0)
    assert (shown["repeats_total"], shown["unreadable_total"]) == (1.0, 0.0)

    write(kafka, (0, state(50, ago=100, offset=2)))
    shown.read_on()  # the other partitions have not passed it
    assert 100.0 <= shown["lag_seconds"] < 500.0
    assert shown["event_time_lag_seconds"] == 30.0

    tick(kafka, 60, offset=3)
    shown.read_on()
    assert (shown["lag_seconds"], shown["event_time_lag_seconds"]) == (0.0, 0.0)
    assert shown["repeats_total"] == 1.0
    shown.reader.close()


def test_lag_grows_while_no_broker_gives_what_is_left() -> None:
    shown = Shown(KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}", partitions=1))
    shown.metrics.show(shown.reader, [])
    assert shown["lag_seconds"] == 0.0, "nothing to measure from"
    applied = state(10, ago=100, offset=0)
    shown.metrics.show(shown.reader, [Positioned(applied, 0, 0, 0)])
    before = shown["lag_seconds"]
    shown.metrics.show(shown.reader, shown.reader.poll(0.05))
    assert shown["lag_seconds"] > before >= 100.0
    shown.reader.close()
