"""What lies in a topic, read from its beginning to its end."""

from __future__ import annotations

from confluent_kafka import Message

from shared.log.clients import LogReader
from shared.process.settings import KafkaSettings


def read_all(kafka: KafkaSettings, topic: str) -> list[Message]:
    """Every record of a topic keyed by user."""
    reader = LogReader(kafka, {(topic, partition): -1 for partition in range(kafka.partitions)})
    messages: list[Message] = []
    while not reader.caught_up:
        messages += reader.poll(0.5)
    reader.close()
    return messages
