"""What Freshet needs of the embedded broker, tried on it."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from services.embedded import broker
from shared.log.clients import CountedProducer, LogReader, producer_config
from shared.log.topics import Topics, ensure_topics, log_identity
from shared.process.errors import Unavailable
from shared.process.settings import KafkaSettings


def test_what_is_written_is_read_back_in_order_to_the_end(kafka: KafkaSettings) -> None:
    topic = Topics.of(kafka).events
    producer = CountedProducer(producer_config(kafka))
    for n in range(500):
        producer.send(topic, key=b"user", value=str(n).encode(), headers=[("reason", b"because")])
    producer.flush(30)
    assert (producer.sent, producer.acknowledged, producer.failed) == (500, 500, 0)
    reader = LogReader(kafka, {(topic, p): -1 for p in range(kafka.partitions)})
    messages = []
    while not reader.caught_up:
        messages += reader.poll(0.5)
    reader.close()
    assert [int(message.value() or b"") for message in messages] == list(range(500))
    assert [message.offset() for message in messages] == list(range(500))
    assert messages[0].headers() == [("reason", b"because")]


def test_a_new_broker_is_another_log(tmp_path: Path) -> None:
    identities = []
    for _ in range(2):
        with broker.running(tmp_path / "broker.log") as address:
            kafka = KafkaSettings(bootstrap_servers=address, topic_prefix="same", partitions=1)
            ensure_topics(kafka, patience_seconds=20)
            identities.append(log_identity(kafka, Topics.of(kafka).events))
    assert identities[0] != identities[1]


def test_it_is_gone_after_the_block_even_after_an_error(tmp_path: Path) -> None:
    addresses = []
    with pytest.raises(RuntimeError), broker.running(tmp_path / "broker.log") as address:
        addresses.append(address)
        raise RuntimeError
    assert [broker.accepts(address) for address in addresses] == [False]


def test_a_broker_that_ends_at_once_is_named(tmp_path: Path) -> None:
    port = broker.free_port()
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]) as process:
        with pytest.raises(Unavailable, match="ended at once with status 7"):
            broker.wait_until_ready(port, process)
        process.wait()


def test_two_installations_share_it_by_their_prefixes(broker_address: str) -> None:
    names = [f"shop{uuid.uuid4().hex[:8]}" for _ in range(2)]
    kafkas = [KafkaSettings(bootstrap_servers=broker_address, topic_prefix=name, partitions=2) for name in names]
    for kafka in kafkas:
        ensure_topics(kafka, patience_seconds=20)
    producer = CountedProducer(producer_config(kafkas[0]))
    producer.send(Topics.of(kafkas[0]).events, key=b"user", value=b"first")
    producer.flush(30)
    reader = LogReader(kafkas[1], {(Topics.of(kafkas[1]).events, p): -1 for p in range(2)})
    while not reader.caught_up:
        assert reader.poll(0.5) == []
    reader.close()
