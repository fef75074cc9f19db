"""Producers that account for every message, readers that know where they stand, topics that are created once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.embedded.broker import free_port
from shared.log.clients import CountedProducer, LogReader, partition_of, producer_config
from shared.log.topics import Topics, ensure_topics, log_identity, specifications
from shared.process.errors import Unavailable, Unusable
from shared.process.settings import KafkaSettings


def read_until(reader: LogReader, done: Callable[[list[bytes]], bool], *, most: int = 1000) -> list[bytes]:
    """Values in the order read, once `done` holds."""
    values: list[bytes] = []
    for _ in range(600):
        values += [message.value() or b"" for message in reader.poll(0.1, most)]
        if done(values):
            return values
    raise AssertionError(f"read {len(values)} values in vain")


def fill(kafka: KafkaSettings, count: int, partition: int = 0) -> None:
    producer = CountedProducer(producer_config(kafka))
    for n in range(count):
        producer.send(Topics.of(kafka).events, key=b"k", value=f"{n}".encode(), partition=partition)
    producer.flush(20)


def test_every_message_is_accounted_for(kafka: KafkaSettings) -> None:
    producer = CountedProducer(producer_config(kafka))
    topic = Topics.of(kafka).events
    places = []
    for n in range(200):
        producer.send(
            topic,
            key=f"user {n}".encode(),
            value=f"{n}".encode(),
            headers=[("reason", b"test")],
            on_acknowledged=lambda m: places.append((m.key(), m.partition(), m.offset())),
        )
    assert producer.in_flight == 200 - producer.acknowledged
    producer.flush(20)
    assert (producer.sent, producer.acknowledged, producer.failed, producer.in_flight) == (200, 200, 0, 0)
    assert all(partition == partition_of(key, kafka.partitions) for key, partition, _ in places)
    for partition in range(kafka.partitions):
        offsets = [offset for _, mine, offset in places if mine == partition]
        assert offsets == list(range(len(offsets)))
    reader = LogReader(kafka, {(topic, partition): -1 for partition in range(kafka.partitions)})
    values = read_until(reader, lambda values: len(values) >= 200)
    assert sorted(int(value) for value in values) == list(range(200))
    reader.close()


def test_a_full_queue_makes_the_sender_wait(kafka: KafkaSettings) -> None:
    producer = CountedProducer(producer_config(kafka, queue_messages=10, linger_ms=50))
    waits = []
    for n in range(100):
        producer.send(Topics.of(kafka).events, key=b"k", value=b"v", partition=0, on_wait=lambda n=n: waits.append(n))
        assert producer.in_flight <= 10
    producer.flush(20)
    assert producer.acknowledged == 100
    assert waits


def test_what_the_broker_does_not_take_is_told(kafka: KafkaSettings) -> None:
    producer = CountedProducer(producer_config(kafka))
    producer.send(Topics.of(kafka).events, key=b"k", value=b"v", partition=0)
    producer.send(Topics.of(kafka).events, key=b"k", value=b"v", partition=99)
    with pytest.raises(Unavailable, match="1 refused"):
        producer.flush(20)
    assert (producer.acknowledged, producer.failed) == (1, 1)
    assert producer.last_error
    producer.send(Topics.of(kafka).events, key=b"k", value=b"v", partition=99)  # by now that is known beforehand
    assert (producer.acknowledged, producer.failed, producer.in_flight) == (1, 2, 0)


def test_what_nobody_acknowledges_is_told() -> None:
    away = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    producer = CountedProducer(producer_config(away))
    producer.send("nowhere", key=b"k", value=b"v", partition=0)
    with pytest.raises(Unavailable, match=r"1 messages not acknowledged after 0\.2 s"):
        producer.flush(0.2)


def test_a_reader_knows_when_it_caught_up(kafka: KafkaSettings) -> None:
    topic = Topics.of(kafka).events
    fill(kafka, 50)
    reader = LogReader(kafka, {(topic, 0): -1, (topic, 1): -1})
    assert not reader.caught_up
    values = read_until(reader, lambda _: reader.caught_up)
    assert values == [f"{n}".encode() for n in range(50)]
    assert reader.at_end == {(topic, 0), (topic, 1)}
    fill(kafka, 3)
    more = read_until(reader, lambda values: len(values) == 3)
    assert more == [b"0", b"1", b"2"]
    assert reader.caught_up, "once and for all"
    read_until(reader, lambda _: len(reader.at_end) == 2)
    reader.close()


def test_a_partition_with_news_is_not_at_its_end(kafka: KafkaSettings) -> None:
    topic = Topics.of(kafka).events
    fill(kafka, 1)
    reader = LogReader(kafka, {(topic, 0): -1})
    read_until(reader, lambda _: reader.caught_up)
    fill(kafka, 2)
    assert read_until(reader, bool, most=1) == [b"0"]
    assert reader.at_end == set()
    reader.close()


def test_a_reader_starts_where_it_is_told(kafka: KafkaSettings) -> None:
    fill(kafka, 20)
    reader = LogReader(kafka, {(Topics.of(kafka).events, 0): 17})
    assert read_until(reader, lambda _: reader.caught_up) == [b"17", b"18", b"19"]
    reader.close()


def test_a_paused_partition_waits_for_resume(kafka: KafkaSettings) -> None:
    topic = Topics.of(kafka).events
    fill(kafka, 5, partition=0)
    fill(kafka, 5, partition=1)
    reader = LogReader(kafka, {(topic, 0): -1, (topic, 1): -1})
    reader.pause([(topic, 1)])
    result = [m.partition() for _ in range(10) for m in reader.poll(0.1)]
    assert result == [0] * 5
    reader.resume([(topic, 1)])
    assert len(read_until(reader, lambda values: len(values) == 5)) == 5
    reader.close()


def test_creating_topics_again_changes_nothing(kafka: KafkaSettings) -> None:
    before = log_identity(kafka, Topics.of(kafka).states)
    fill(kafka, 4)
    ensure_topics(kafka, patience_seconds=20)
    assert log_identity(kafka, Topics.of(kafka).states) == before
    reader = LogReader(kafka, {(Topics.of(kafka).events, 0): -1})
    assert len(read_until(reader, lambda _: reader.caught_up)) == 4
    reader.close()


@pytest.mark.parametrize("partitions", [2, 4])
def test_another_number_of_partitions_is_refused_with_the_way_out(kafka: KafkaSettings, partitions: int) -> None:
    other = kafka.model_copy(update={"partitions": partitions})
    with pytest.raises(Unusable, match=r"has 3 partitions, .* set FRESHET_KAFKA_PARTITIONS=3"):
        ensure_topics(other, patience_seconds=20)


def test_the_topics_keyed_by_user_have_the_same_partitions_and_compaction_is_for_the_latest_only() -> None:
    kafka = KafkaSettings(topic_prefix="shop", partitions=5, retention_hours=2, dead_letter_retention_hours=3)
    wanted = {spec.topic: spec for spec in specifications(kafka)}
    topics = Topics.of(kafka)
    assert set(wanted) == {
        f"shop.{n}" for n in ["events", "products", "states", "impressions", "models", "dead-letters"]
    }
    assert {wanted[name].num_partitions for name in topics.by_user} == {5}
    assert [name for name, spec in wanted.items() if spec.config["cleanup.policy"] == "compact"] == [
        topics.products,
        topics.models,
    ]
    assert wanted[topics.events].config["retention.ms"] == "7200000"
    assert wanted[topics.dead_letters].config["retention.ms"] == "10800000"


def test_a_broker_that_is_away_is_told_when_patience_ends() -> None:
    away = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=r"no Kafka broker answers at 127\.0\.0\.1:.*BOOTSTRAP_SERVERS"):
        ensure_topics(away, patience_seconds=0.0)
