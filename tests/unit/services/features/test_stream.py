"""What may leave the loop from events to states: nothing, short of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from services.embedded.broker import free_port
from services.features.settings import FeaturesSettings
from services.features.stream import Describer, FeaturesMetrics
from shared.log.clients import CountedProducer, producer_config
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import Unavailable
from shared.process.settings import KafkaSettings, load
from shared.process.telemetry import FEW, SECONDS
from tests.support.processes import ROOT

FAILING = """
import asyncio
from services.features.stream import end_process_on_error
try:
    with end_process_on_error():
        {failure}
finally:
    print("acknowledged")
"""


@pytest.mark.parametrize(
    "failure", ["raise ValueError('a bug')", "raise asyncio.CancelledError", "raise SystemExit(0)"]
)
def test_a_failure_ends_the_process_before_anything_else_runs(failure: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILING.format(failure=failure)], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert ended.returncode == 1
    assert "acknowledged" not in ended.stdout
    assert failure.split()[1].split("(")[0].rpartition(".")[2] in ended.stderr, "it says what failed"


def test_what_was_refused_is_a_failure() -> None:
    """A producer that gives up at once, as none of ours does, with nobody there to take the record."""
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    producer = CountedProducer(producer_config(kafka) | {"delivery.timeout.ms": 50, "linger.ms": 0})
    registry = CollectorRegistry()
    describer = Describer(load(FeaturesSettings, {}), Topics.of(kafka), producer, FeaturesMetrics(registry))
    event = pb.Event(kind=pb.EVENT_KIND_VIEW, user_id="u", product_id="p", event_time_ms=1, event_id="e")
    message = SimpleNamespace(
        topic="events", partition=0, offset=0, timestamp=1.0, key=b"u", value=event.SerializeToString()
    )
    with pytest.raises(Unavailable, match="1 records refused"):
        asyncio.run(describer.publish([message]))
    assert (registry.get_sample_value("freshet_features_lag_seconds") or 0.0) > 1e9, "it grew while nothing was stored"


def test_event_time_lag_is_behind_the_newest_of_any_partition(kafka: KafkaSettings) -> None:
    producer = CountedProducer(producer_config(kafka))
    registry = CollectorRegistry()
    describer = Describer(load(FeaturesSettings, {}), Topics.of(kafka), producer, FeaturesMetrics(registry))

    def message(event: pb.Event, partition: int) -> SimpleNamespace:
        return SimpleNamespace(
            topic="events", partition=partition, offset=0, timestamp=1.0, key=b"u", value=event.SerializeToString()
        )

    tick = pb.Event(kind=pb.EVENT_KIND_TICK, event_time_ms=60_000)
    view = pb.Event(kind=pb.EVENT_KIND_VIEW, user_id="u", product_id="p", event_time_ms=20_000, event_id="e")
    asyncio.run(describer.publish([message(tick, 0), message(view, 1)]))
    assert registry.get_sample_value("freshet_features_event_time_lag_seconds") == 40.0
    asyncio.run(describer.publish([message(tick, 1)]))
    assert registry.get_sample_value("freshet_features_event_time_lag_seconds") == 0.0


def test_a_flood_of_bad_records_does_not_flood_the_log(kafka: KafkaSettings, caplog: pytest.LogCaptureFixture) -> None:
    producer = CountedProducer(producer_config(kafka))
    now = 7.0
    metrics = FeaturesMetrics(CollectorRegistry())
    describer = Describer(load(FeaturesSettings, {}), Topics.of(kafka), producer, metrics, clock=lambda: now)

    def batch(first: int) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                topic="events", partition=0, offset=n, timestamp=1.0, key=b"u", value=b"\xff" if n % 2 else b""
            )
            for n in range(first, first + 100)
        ]

    asyncio.run(describer.publish(batch(0)))
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2 * FEW, "the first of each reason"
    assert "offset 1 goes to the dead letters (undecodable)" in logged[1]
    now += SECONDS
    asyncio.run(describer.publish(batch(100)))
    logged = [record.getMessage() for record in caplog.records][2 * FEW :]
    assert len(logged) == 2
    assert all(line.startswith(f"{50 - FEW} more in 10 s, the newest: events [0] offset 9") for line in logged)
    assert producer.acknowledged == 200, "each is in the dead letters"
