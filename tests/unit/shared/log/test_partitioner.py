"""The partitioner puts keys where the producers put them."""

from __future__ import annotations

from confluent_kafka import Message

from shared.log.clients import CountedProducer, murmur2, partition_of, producer_config
from shared.log.topics import Topics
from shared.process.settings import KafkaSettings


def test_murmur2_gives_the_values_of_kafkas_own_tests() -> None:
    # org.apache.kafka.common.utils.UtilsTest.testMurmur2, as signed integers there.
    expected = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    assert {key: murmur2(key) for key in expected} == {key: value % 2**32 for key, value in expected.items()}


def test_keys_lie_where_a_real_producer_puts_them(kafka: KafkaSettings) -> None:
    producer = CountedProducer(producer_config(kafka))
    placed: dict[bytes, int] = {}

    def note(message: Message) -> None:
        placed[message.key() or b""] = int(message.partition() or 0)

    keys = [f"A{n * 7919:x}{'ü' * (n % 5)}".encode() for n in range(200)]
    for key in keys:
        producer.send(Topics.of(kafka).events, key=key, value=b"x", on_acknowledged=note)
    producer.flush(20)
    assert placed == {key: partition_of(key, kafka.partitions) for key in keys}
    assert len(set(placed.values())) == kafka.partitions
