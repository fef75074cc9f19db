"""Reading a topic record by record: poll, parse, apply; count and log what can't be understood.

A record whose bytes are wrong stays wrong, so nobody waits for it and it ends nobody. `RecordProcessor` is used by
every reader that leaves such a record out. Only features does not: it forwards bad events to the dead letters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from confluent_kafka import Message

from shared.log.clients import LogReader
from shared.process.errors import BadEvent, Unavailable
from shared.process.settings import KafkaSettings
from shared.process.telemetry import FirstFew

POLL_SECONDS = 0.2


def record_name(topic: str | None, partition: int | None, offset: int | None) -> str:
    """Where a record lies, as log lines show it."""
    return f"{topic} [{partition}] offset {offset}"


class RecordProcessor:
    """Applies records in the order given; one that can't be understood is left out, counted and logged.

    Of each topic and reason the first few are logged one by one, the others summed up every few seconds: `FirstFew`.

    Args:
        apply: parses a record and applies it; raises BadEvent where it can't be understood.
        count: takes each record left out and its error; by default nothing counts them.
        say: takes a log line, as a logger's method does; by default nothing is logged.
    """

    def __init__(
        self,
        apply: Callable[[Message], object],
        *,
        count: Callable[[Message, BadEvent], object] = lambda *_: None,
        say: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._apply = apply
        self._count = count
        self._lines = FirstFew(say, clock)

    def poll(self, reader: LogReader, seconds: float, most: int = 1000) -> int:
        """Process the next records of a reader and return how many came; waits up to `seconds` for the first.

        Raises:
            KafkaException: a position lies outside the log, or the client can't go on.
        """
        self.log_due()
        messages = reader.poll(seconds, most)
        self.process(messages)
        return len(messages)

    def process(self, messages: Iterable[Message]) -> None:
        """Process records that were read already; call `log_due` now and then beside it."""
        for message in messages:
            try:
                self._apply(message)
            except BadEvent as error:
                self._count(message, error)
                name = record_name(message.topic(), message.partition(), message.offset())
                self._lines.add((message.topic(), error.reason), f"{name} left out: {error}")

    def log_due(self) -> None:
        """Log how many more records were left out, once it is time to."""
        self._lines.due()


def read_to_end(
    kafka: KafkaSettings, positions: Mapping[tuple[str, int], int], *, patience_seconds: float
) -> Iterator[Message]:
    """Every record from some positions on, until each partition was read to its end once.

    Args:
        positions: as `LogReader` takes them.
        patience_seconds: without a record for so long, the broker is taken to be away.

    Raises:
        Unavailable: the end was not reached.
    """
    reader = LogReader(kafka, positions)
    deadline = time.monotonic() + patience_seconds
    try:
        while not reader.caught_up:
            messages = reader.poll(POLL_SECONDS)
            yield from messages
            if messages:
                deadline = time.monotonic() + patience_seconds
            elif time.monotonic() > deadline:
                topics = ", ".join(sorted({topic for topic, _ in positions}))
                raise Unavailable(f"{topics} at {kafka.bootstrap_servers} can't be read to its end")
    finally:
        reader.close()
