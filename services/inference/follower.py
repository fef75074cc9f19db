"""Follows `freshet.states` and `freshet.products` from their beginning and hands what comes to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError

from confluent_kafka import Message

from services.inference import metrics
from services.inference.knowledge import Knowledge
from services.inference.lag import Lag, seconds_since
from shared.errors import BadEvent
from shared.kafka.clients import LogReader
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, StateVector
from shared.products import parse_product
from shared.settings import KafkaSettings
from shared.states import parse_state
from shared.topics import Topics

log = logging.getLogger("inference")

POLL_SECONDS = 0.2
# Applied in one go on the event loop; calls wait for no more than this.
MOST_AT_ONCE = 200


class Follower(threading.Thread):
    """Reads and parses; the event loop applies, a batch at a time, and the next is read when it has.

    Args:
        on_ready: runs on the loop once every partition was read to its end.
        on_failure: runs on the loop when the log can't be followed any longer.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        kafka: KafkaSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        on_ready: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._knowledge = knowledge
        self._topics = Topics.of(kafka)
        self._positions = {(self._topics.states, p): -1 for p in range(kafka.partitions)}
        self._positions[self._topics.products, 0] = -1
        self._kafka = kafka
        self._loop = loop
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._lag = Lag()

    async def stop(self) -> None:
        """Follow no longer; the loop must still run, since the thread may be handing something over."""
        self._stopping.set()
        if self.is_alive():
            await asyncio.to_thread(self.join)

    def run(self) -> None:
        """Follow until stopped."""
        try:
            self._follow()
        except CancelledError:
            pass  # the loop ended first
        except Exception as error:  # noqa: BLE001  # a thread's boundary: the process ends with it
            self._loop.call_soon_threadsafe(self._on_failure, error)

    def _follow(self) -> None:
        reader = LogReader(self._kafka, self._positions)
        ready = False
        try:
            while not self._stopping.is_set():
                messages = reader.poll(POLL_SECONDS, MOST_AT_ONCE)
                if messages:
                    asyncio.run_coroutine_threadsafe(self._apply(messages), self._loop).result()
                if all(place in reader.at_end for place in self._positions if place[0] == self._topics.states):
                    self._lag.at_end()
                elif not messages:
                    self._lag.nothing_came()
                if not ready and reader.caught_up:
                    ready = True
                    self._loop.call_soon_threadsafe(self._on_ready)
        finally:
            reader.close()

    async def _apply(self, messages: Sequence[Message]) -> None:
        for message in messages:
            try:
                if message.topic() == self._topics.products:
                    self._apply_product(message)
                else:
                    self._apply_state(parse_state(message.value()), int(message.partition() or 0))
            except BadEvent as error:
                kind = "products" if message.topic() == self._topics.products else "states"
                metrics.UNREADABLE.labels(kind).inc()
                log.warning(
                    "%s [%d] offset %d left out: %s", message.topic(), message.partition(), message.offset(), error
                )
        self._knowledge.wake()
        metrics.USERS.set(len(self._knowledge.histories.users))
        metrics.PRODUCTS.set(self._knowledge.catalogue.known)

    def _apply_state(self, state: StateVector, partition: int) -> None:
        late = self._knowledge.histories.late
        if not self._knowledge.apply(state, partition):
            metrics.REPEATS.inc()
            return
        metrics.LATE.inc(self._knowledge.histories.late - late)
        self._lag.applied(state)
        if state.kind == EVENT_KIND_TICK:
            return
        metrics.APPLIED.inc()
        metrics.EVENT_TIME.set(state.event_time_ms / 1000)
        if state.recorded_ms:
            metrics.FRESHNESS_SECONDS.observe(seconds_since(state.recorded_ms))

    def _apply_product(self, message: Message) -> None:
        product_id, product = parse_product(message.key(), message.value())
        if product is not None:
            self._knowledge.catalogue.upsert(product)
        else:
            self._knowledge.catalogue.remove(product_id)
