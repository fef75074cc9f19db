"""The least that sends records and knows that all were stored: the limit of whatever writes to the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import Producer


@dataclass(frozen=True, slots=True)
class Record:
    """One record to send."""

    key: bytes | None
    value: bytes
    partition: int = -1  # by the key


def send(records: Sequence[Record], producer: Producer, topic: str) -> None:
    """Send all, with a delivery report for each, counted.

    Raises:
        RuntimeError: not all were stored.
    """
    stored = 0

    def report(error: object, _: object) -> None:
        nonlocal stored
        stored += error is None

    for record in records:
        while True:
            try:
                producer.produce(
                    topic, key=record.key, value=record.value, partition=record.partition, on_delivery=report
                )
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(60)
    if left or stored != len(records):
        raise RuntimeError(f"{len(records) - stored} records not stored")
