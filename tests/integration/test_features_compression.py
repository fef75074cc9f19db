"""Shops compress what they produce as they like."""

from __future__ import annotations

from pathlib import Path

from shared.log.clients import CountedProducer, producer_config
from shared.log.records import key_of
from shared.log.topics import Topics
from shared.process.settings import KafkaSettings
from tests.integration.test_bad_topics import shopping
from tests.support.loop import figure
from tests.support.processes import kafka_environment, running


def test_events_are_read_however_their_producer_compressed_them(kafka: KafkaSettings, tmp_path: Path) -> None:
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    for n, codec in enumerate(codecs):
        producer = CountedProducer(producer_config(kafka) | {"compression.type": codec})
        for event in shopping(50, first=50 * n):
            producer.send(Topics.of(kafka).events, key=key_of(event), value=event.SerializeToString())
        producer.flush(30)
    with running("services.features", kafka_environment(kafka), tmp_path / "log") as worker:
        worker.wait_for(lambda: figure(worker, "freshet_features_states_total") == 50 * len(codecs), "all states")
        assert worker.stop() == 0
