"""Writes to the log from asyncio; a write returns once the broker has acknowledged all its records."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shared.log.clients import producer_config
from shared.pb.freshet.v1.events_pb2 import LogPosition
from shared.process.errors import BadEvent, Unavailable
from shared.process.settings import KafkaSettings

log = logging.getLogger("inference")

POLL_SECONDS = 0.1
PAUSE_SECONDS = 0.01
# Records that may wait for a broker that is away; further ones are refused.
QUEUE_MESSAGES = 50_000
QUEUE_KBYTES = 128 * 1024
# Records handed over before other calls get their turn.
AT_ONCE = 500


class OutgoingRecord(NamedTuple):
    """One record to write."""

    topic: str
    key: bytes
    value: bytes | None


class LogWriter(threading.Thread):
    """An idempotent producer, whose delivery reports this thread serves rather than the event loop.

    Nothing is produced before `open`: a producer that requests a missing topic makes the broker create it, with the
    broker's default number of partitions.
    """

    def __init__(self, kafka: KafkaSettings, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="log-writer", daemon=True)
        self._config = producer_config(kafka, linger_ms=1, queue_messages=QUEUE_MESSAGES) | {
            "queue.buffering.max.kbytes": QUEUE_KBYTES
        }
        self._producer = Producer(self._config)
        self._loop = loop
        self._opened = asyncio.Event()
        self._stopping = threading.Event()

    def open(self) -> None:
        """Begin to write, now that the topics exist; called on the loop."""
        self._opened.set()

    def run(self) -> None:
        """Serve delivery reports until stopped."""
        while not self._stopping.is_set():
            self._producer.poll(POLL_SECONDS)

    async def stop(self, seconds: float) -> None:
        """Stop, after at most `seconds` for the records in flight."""
        left = await asyncio.to_thread(self._producer.flush, seconds)
        if left:
            log.warning("the broker never acknowledged %d records", left)
        self._stopping.set()
        if self.is_alive():
            await asyncio.to_thread(self.join)

    async def write(self, records: Sequence[OutgoingRecord], seconds: float) -> list[LogPosition]:
        """Write the records; their positions, in order.

        Raises:
            Unavailable: not all were acknowledged within `seconds`; those in flight may still arrive.
            BadEvent: the broker rejects a record for good; the reason is `refused`.
        """
        deadline = time.monotonic() + seconds
        try:
            await asyncio.wait_for(self._opened.wait(), seconds)
        except TimeoutError:
            raise Unavailable(f"no broker has answered within {seconds:.1f} s") from None
        reports = _DeliveryReports(len(records), self._loop)
        for n, record in enumerate(records):
            while not self._hand_over(record, reports, n):
                if time.monotonic() + PAUSE_SECONDS > deadline:
                    raise Unavailable("too many records are waiting for the broker")
                await asyncio.sleep(PAUSE_SECONDS)
            if n % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        try:
            await asyncio.wait_for(asyncio.shield(reports.done), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise Unavailable(
                f"the broker has acknowledged {reports.acknowledged} of {len(records)} records within {seconds:.1f} s"
            ) from None
        if reports.refusal is not None:
            n, error = reports.refusal
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise BadEvent("refused", f"[{n}]: larger than the broker accepts")
            raise Unavailable(f"the broker did not take record {n}: {error.str()}")
        return [position for position in reports.positions if position is not None]

    def _hand_over(self, record: OutgoingRecord, reports: _DeliveryReports, n: int) -> bool:
        """Hand a record to the producer; False where its queue is full."""
        try:
            self._producer.produce(record.topic, record.value, record.key, on_delivery=partial(reports.report, n))
        except BufferError:
            return False
        except KafkaException as error:
            if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise BadEvent("refused", f"[{n}]: larger than the broker accepts") from error
            if error.args[0].fatal():
                log.error("the producer has failed (%s); creating a new one", error.args[0].str())  # noqa: TRY400
                self._producer = Producer(self._config)
            raise Unavailable(f"the broker did not take record {n}: {error.args[0].str()}") from error
        return True


class _DeliveryReports:
    """The delivery reports of one write; they all arrive in one thread."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.positions: list[LogPosition | None] = [None] * size
        self.refusal: tuple[int, KafkaError] | None = None
        self.acknowledged = 0
        self.done: asyncio.Future[None] = loop.create_future()
        self._left = size
        self._loop = loop

    def report(self, n: int, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged += 1
            self.positions[n] = LogPosition(partition=message.partition() or 0, offset=message.offset() or 0)
        else:
            self.refusal = self.refusal or (n, error)
        self._left -= 1
        if not self._left and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
