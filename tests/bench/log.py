"""A broker of a benchmark's own, with empty topics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.embedded import broker
from shared.log.topics import ensure_topics
from shared.process.settings import KafkaSettings
from tests.bench.figures import BenchSettings


@contextmanager
def fresh_kafka(settings: BenchSettings, *, partitions: int = 6) -> Iterator[KafkaSettings]:
    """An embedded broker with its topics, for the length of the block."""
    with broker.running(settings.folder / "broker.log") as address:
        kafka = KafkaSettings(bootstrap_servers=address, partitions=partitions)
        ensure_topics(kafka, patience_seconds=20)
        yield kafka
