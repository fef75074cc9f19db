"""Reviews of 2004 on a broker that looks every second for what is too old to keep: all of them stay."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from shared.log.clients import consumer_config, producer_config
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Event, StateVector
from shared.process.settings import KafkaSettings
from tests.kafka.log import read_all
from tests.support import apache_kafka
from tests.support.apache_kafka import Cluster
from tests.support.loop import figure, loop

DESCRIBED = "freshet_features_states_total"
EVENTS = 10_261
FIRST_DAY_MS = 1_095_465_600_000  # 2004-09-18
PATIENCE_SECONDS = 60.0


def write_as_of_2004(kafka: KafkaSettings) -> None:
    """A record that the broker must find too old, since Kafka's own timestamp says so."""
    producer = Producer(producer_config(kafka))
    producer.produce(Topics.of(kafka).impressions, b"old", partition=0, timestamp=FIRST_DAY_MS)
    assert producer.flush(30) == 0


def wait_for_a_check(kafka: KafkaSettings) -> None:
    """Return once the broker has deleted a record that was written now and says it is of 2004."""
    consumer = Consumer(consumer_config(kafka))
    place = TopicPartition(Topics.of(kafka).impressions, 0)
    write_as_of_2004(kafka)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        first, end = consumer.get_watermark_offsets(place, timeout=20)
        if first == end > 0:
            break
        assert time.monotonic() < deadline, "no retention check"
        time.sleep(0.1)
    consumer.close()


@pytest.mark.timeout(240)
def test_a_replay_of_reviews_since_2004_outlives_the_retention_checks(
    distribution: Path, data: Path, tmp_path: Path
) -> None:
    reviews = data / "amazon-2014" / "Musical_Instruments_5.json.gz"
    every_second = {"log.retention.check.interval.ms": "1000", "log.initial.task.delay.ms": "1000"}
    with apache_kafka.running(Cluster(distribution, tmp_path, settings=every_second)) as cluster:
        kafka = KafkaSettings(bootstrap_servers=cluster.addresses(), partitions=3)
        ensure_topics(kafka, patience_seconds=30)
        with loop(kafka, tmp_path / "loop") as system:
            features = system.start("services.features")
            replay = system.start("replay", "run", str(reviews), "--speed", "max")
            replay.wait_for(lambda: replay.process.poll() == 0, "end of the replay")
            features.wait_for(lambda: figure(features, DESCRIBED) >= EVENTS, "all states")
            for _ in range(2):
                wait_for_a_check(kafka)
            topics = Topics.of(kafka)
            events = [Event.FromString(m.value()) for m in read_all(kafka, topics.events)]
            states = [StateVector.FromString(m.value()) for m in read_all(kafka, topics.states)]
            assert features.stop() == 0, features.log
    for written in (events, states):
        reviews_there = [e for e in written if e.kind != EVENT_KIND_TICK]
        assert min(e.event_time_ms for e in reviews_there) == FIRST_DAY_MS
        assert sorted(e.sequence for e in reviews_there) == list(range(1, EVENTS + 1))
