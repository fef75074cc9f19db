"""What every reader of a topic does with its records: the good are applied, the bad counted and logged."""

from __future__ import annotations

import itertools

import pytest
from confluent_kafka import Message

from services.embedded.broker import free_port
from shared.log.clients import CountedProducer, LogReader, producer_config
from shared.log.follow import RecordProcessor, read_to_end
from shared.log.topics import Topics
from shared.process.errors import BadEvent, Unavailable
from shared.process.settings import KafkaSettings
from shared.process.telemetry import FEW, SECONDS


class Sum:
    """Adds up records that are whole numbers, by a clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.total = 0
        self.bad: list[tuple[int | None, str]] = []  # offset, reason
        self.lines: list[str] = []
        self.records = RecordProcessor(self.add, count=self.count, say=self.lines.append, clock=lambda: self.now)

    def add(self, message: Message) -> None:
        value = message.value() or b""
        if not value.isdigit():
            raise BadEvent("empty" if not value else "no_number", f"got {value!r}")
        self.total += int(value)

    def count(self, message: Message, error: BadEvent) -> None:
        self.bad.append((message.offset(), error.reason))


def write(kafka: KafkaSettings, topic: str, values: list[bytes], partition: int = 0) -> None:
    producer = CountedProducer(producer_config(kafka))
    for value in values:
        producer.send(topic, key=b"k", value=value, partition=partition)
    producer.flush(30)


def test_bad_records_are_counted_and_logged_and_the_good_ones_applied(kafka: KafkaSettings) -> None:
    topic = Topics.of(kafka).states
    write(kafka, topic, [b"1", b"x", b"20", b"", b"300"])
    total = Sum()
    reader = LogReader(kafka, {(topic, 0): -1})
    came = 0
    while not reader.caught_up:
        came += total.records.poll(reader, 0.1)
    reader.close()
    assert (came, total.total) == (5, 321)
    assert total.bad == [(1, "no_number"), (3, "empty")]
    assert total.lines == [f"{topic} [0] offset 1 left out: got b'x'", f"{topic} [0] offset 3 left out: got b''"]


def test_of_a_flood_the_first_few_are_logged_and_the_others_summed_up(kafka: KafkaSettings) -> None:
    topics = Topics.of(kafka)
    write(kafka, topics.states, [b"x"] * 50)
    write(kafka, topics.products, [b"x"])
    total = Sum()
    everything = {(topics.states, 0): -1, (topics.products, 0): -1}
    total.records.process(read_to_end(kafka, everything, patience_seconds=30))
    assert len(total.bad) == 51
    assert len(total.lines) == FEW + 1, "of each topic the first few"
    total.records.log_due()
    assert len(total.lines) == FEW + 1
    total.now += SECONDS
    total.records.log_due()
    assert total.lines[FEW + 1 :] == [
        f"{50 - FEW} more in 10 s, the newest: {topics.states} [0] offset 49 left out: got b'x'"
    ]


def test_a_bug_is_not_taken_for_a_bad_record(kafka: KafkaSettings) -> None:
    topic = Topics.of(kafka).states
    write(kafka, topic, [b"0"])
    records = RecordProcessor(lambda message: 1 // int(message.value() or b""))
    with pytest.raises(ZeroDivisionError):
        records.process(read_to_end(kafka, {(topic, 0): -1}, patience_seconds=30))


def test_what_is_read_to_the_end_is_all_there_is(kafka: KafkaSettings) -> None:
    topic = Topics.of(kafka).states
    values = [[str(10 * partition + n).encode() for n in range(partition)] for partition in range(kafka.partitions)]
    for partition, of_one in enumerate(values):
        write(kafka, topic, of_one, partition)
    start = {(topic, partition): -1 for partition in range(kafka.partitions)}
    came = [message.value() or b"" for message in read_to_end(kafka, start, patience_seconds=30)]
    assert sorted(came) == sorted(itertools.chain(*values))
    later = [message.value() for message in read_to_end(kafka, {(topic, 2): 1}, patience_seconds=30)]
    assert later == values[2][1:]


def test_without_a_broker_reading_to_the_end_is_given_up() -> None:
    kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=rf"t at {kafka.bootstrap_servers} can't be read to its end"):
        list(read_to_end(kafka, {("t", 0): -1}, patience_seconds=0.5))
