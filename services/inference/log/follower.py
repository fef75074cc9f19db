"""Follows `freshet.states`, from a snapshot or from the beginning, and `freshet.products`.

A thread reads and parses; the event loop applies, a batch at a time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message

from services.inference.knowledge.knowledge import Knowledge
from services.inference.knowledge.snapshot import (
    Keeper,
    KnowledgeSnapshot,
    ListedProducts,
    ProductFigures,
    RestoredKnowledge,
)
from services.inference.metrics import InferenceMetrics
from shared.log.clients import LogReader
from shared.log.follow import RecordProcessor
from shared.log.records import parse_product, parse_state
from shared.log.topics import Topics
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, StateVector
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings

log = logging.getLogger("inference")
POLL_SECONDS = 0.2
# A broker that answers reports a partition's end within this time, unless the requested position lies beyond it.
SILENCE_SECONDS = 5.0
# Messages applied at a time on the event loop: calls wait for no more.
MOST_AT_ONCE = 200


class Follower(threading.Thread):
    """Reads and parses the log in a thread; reads on once the event loop has applied a batch.

    Args:
        keeper: returns the keeper of the snapshots; None where there are none, or the event was set meanwhile.
        on_begun: runs on the loop once the start of the log is known and every row of a snapshot is restored.
        on_ready: runs on the loop once every partition is read to its end.
        on_failure: runs on the loop when the log can't be followed any longer.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        kafka: KafkaSettings,
        loop: asyncio.AbstractEventLoop,
        metrics: InferenceMetrics,
        *,
        keeper: Callable[[threading.Event], Keeper | None],
        on_begun: Callable[[], None],
        on_ready: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._knowledge = knowledge
        self._topics = Topics.of(kafka)
        self._positions: dict[int, int] = {}  # partition of `freshet.states` → next offset
        self._applied = 0  # states since the start
        self._listed = ListedProducts()
        self._open_keeper = keeper
        self._kafka = kafka
        self._loop = loop
        self._metrics = metrics
        self._on_begun = on_begun
        self._on_ready = on_ready
        self._ready = False
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._lag = Lag(metrics)
        # This thread polls and the event loop applies, so `RecordProcessor.poll`, which does both, is of no use here.
        self._records = RecordProcessor(self._apply_record, count=self._count_unreadable, say=log.warning)

    async def stop(self) -> None:
        """Stop following; the loop must still run, since the thread may be handing over a batch."""
        self._stopping.set()
        if self.is_alive():
            await asyncio.to_thread(self.join)

    def run(self) -> None:
        """Follow until stopped."""
        try:
            self._follow()
        except CancelledError:
            pass  # the loop ended before the thread
        except Exception as error:  # noqa: BLE001  # the boundary of a thread: its failure ends the process
            self._loop.call_soon_threadsafe(self._on_failure, error)

    def _follow(self) -> None:
        keeper = self._open_keeper(self._stopping)
        opened = open_log(self._kafka, keeper, self._stopping)
        reader, messages = opened.reader, opened.messages
        self._positions.update(opened.positions)
        if opened.restored is not None:
            self._listed = opened.restored.listed
            asyncio.run_coroutine_threadsafe(self._resume(opened.restored), self._loop).result()
        self._loop.call_soon_threadsafe(self._on_begun)
        states = {(self._topics.states, p) for p in opened.positions}
        try:
            while not self._stopping.is_set():
                for start in range(0, len(messages), MOST_AT_ONCE):
                    batch = messages[start : start + MOST_AT_ONCE]
                    asyncio.run_coroutine_threadsafe(self._apply(batch), self._loop).result()
                if states <= reader.at_end:
                    self._lag.at_end()
                elif not messages:
                    self._lag.nothing_came()
                if not self._ready and reader.caught_up:
                    self._ready = True
                    asyncio.run_coroutine_threadsafe(self._catch_up(), self._loop).result()
                if keeper is not None and self._ready:
                    keeper.take_if_due(self._applied, self._snapshot)
                self._records.log_due()
                messages = reader.poll(POLL_SECONDS, MOST_AT_ONCE)
            if keeper is not None and self._ready:
                keeper.take_last(self._applied, self._snapshot)
        finally:
            reader.close()
            if keeper is not None:
                keeper.close()

    def _snapshot(self) -> KnowledgeSnapshot:
        """A snapshot of what is known. Nothing is applied meanwhile, though calls are answered."""
        products = asyncio.run_coroutine_threadsafe(self._product_figures(), self._loop).result()
        return KnowledgeSnapshot.take(self._knowledge, products, self._listed, self._positions)

    async def _product_figures(self) -> ProductFigures:
        return ProductFigures.copy(self._knowledge)

    async def _resume(self, restored: RestoredKnowledge) -> None:
        restored.hand_over(self._knowledge)
        self._metrics.restored.set(len(restored.histories.users))
        log.info("restored %d users and %d products", len(restored.histories.users), len(restored.products))

    async def _catch_up(self) -> None:
        for product_id in self._listed.vanished():
            self._knowledge.catalogue.remove(product_id)
        self._on_ready()

    async def _apply(self, messages: Sequence[Message]) -> None:
        self._records.process(messages)
        self._knowledge.positions.wake()
        self._metrics.users.set(len(self._knowledge.histories.users))
        self._metrics.products.set(self._knowledge.catalogue.known)
        self._metrics.tally.show(self._knowledge.tally.bytes, self._knowledge.tally.refused)

    def _apply_record(self, message: Message) -> None:
        if message.topic() == self._topics.products:
            self._apply_product(message)
            return
        partition = int(message.partition() or 0)
        self._positions[partition] = int(message.offset() or 0) + 1
        self._apply_state(parse_state(message.value(), self._knowledge.positions.partitions), partition)

    def _count_unreadable(self, message: Message, _: BadEvent) -> None:
        self._metrics.unreadable.labels("products" if message.topic() == self._topics.products else "states").inc()

    def _apply_state(self, state: StateVector, partition: int) -> None:
        late = self._knowledge.histories.late
        if not self._knowledge.apply_once(state, partition):
            self._metrics.repeats.inc()
            return
        self._applied += 1
        self._metrics.late.inc(self._knowledge.histories.late - late)
        self._lag.applied(state)
        if state.kind == EVENT_KIND_TICK:
            return
        self._metrics.applied.inc()
        self._metrics.event_time.set(state.event_time_ms / 1000)
        if state.recorded_ms:
            self._metrics.freshness_seconds.observe(seconds_since(state.recorded_ms))

    def _apply_product(self, message: Message) -> None:
        product_id, product = parse_product(message.key(), message.value())
        if product is not None:
            self._listed.upsert(product_id)
            self._knowledge.catalogue.upsert(product)
        else:
            self._listed.remove(product_id)
            self._knowledge.catalogue.remove(product_id)


@dataclass(frozen=True, slots=True)
class LogStart:
    """A reader of states and products, and where it starts."""

    reader: LogReader
    positions: Mapping[int, int]  # partition of `freshet.states` → next offset; -1: the first
    messages: Sequence[Message] = ()  # already read
    restored: RestoredKnowledge | None = None


def open_log(kafka: KafkaSettings, keeper: Keeper | None, stopping: threading.Event) -> LogStart:
    """Open the log at the newest snapshot; at its beginning if the log no longer holds what follows the snapshot."""
    beginning = dict.fromkeys(range(kafka.partitions), -1)
    snapshot = keeper.newest() if keeper is not None else None
    if keeper is None or snapshot is None:
        return LogStart(_reader(kafka, beginning), beginning)
    reader = _reader(kafka, snapshot.positions)
    try:
        messages = _first(reader, {(Topics.of(kafka).states, p) for p in snapshot.positions}, stopping)
    except _OutOfRange as error:
        reader.close()
        keeper.reject_newest(f"the log no longer holds what follows it ({error})")
        return LogStart(_reader(kafka, beginning), beginning)
    return LogStart(reader, snapshot.positions, messages, snapshot.restore(keeper.origin))


def _reader(kafka: KafkaSettings, positions: Mapping[int, int]) -> LogReader:
    topics = Topics.of(kafka)
    places = {(topics.states, p): offset for p, offset in positions.items()}
    return LogReader(kafka, places | {(topics.products, 0): -1})


def _first(reader: LogReader, places: set[tuple[str, int]], stopping: threading.Event) -> list[Message]:
    """Read until every position is known to lie in the log; the messages read.

    Raises:
        _OutOfRange: one does not: the broker says so, or its partition is silent while the broker answers.
    """
    messages: list[Message] = []
    waiting = set(places)
    answers_since = 0.0  # monotonic seconds; 0: no partition was read to its end yet
    while waiting and not stopping.is_set():
        try:
            polled = reader.poll(POLL_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._AUTO_OFFSET_RESET:
                raise
            raise _OutOfRange(error.args[0].str()) from error
        messages += polled
        waiting -= reader.at_end
        waiting -= {(str(message.topic()), int(message.partition() or 0)) for message in polled}
        if reader.at_end and not answers_since:
            answers_since = time.monotonic()
        if waiting and answers_since and time.monotonic() - answers_since > SILENCE_SECONDS:
            raise _OutOfRange(f"partition {min(waiting)[1]} is silent")
    return messages


class _OutOfRange(Exception):
    """A snapshot's position lies outside the log."""


class Lag:
    """Measures how far inference is behind the log, in wall time and in event time."""

    def __init__(self, metrics: InferenceMetrics) -> None:
        self._metrics = metrics
        self._recorded_ms = 0  # of the latest applied state, 0 before the first
        self._newest_ms = 0  # latest event time of any partition

    def applied(self, state: StateVector) -> None:
        """A state or a tick was applied."""
        self._newest_ms = max(self._newest_ms, state.event_time_ms)
        self._metrics.event_time_lag.set((self._newest_ms - state.event_time_ms) / 1000)
        if state.recorded_ms:
            self._recorded_ms = state.recorded_ms
            self._metrics.lag.set(seconds_since(state.recorded_ms))

    def at_end(self) -> None:
        """The log was read to its end."""
        self._metrics.lag.set(0.0)
        self._metrics.event_time_lag.set(0.0)

    def nothing_came(self) -> None:
        """The log goes on, but nothing came: the broker is away, for example."""
        if self._recorded_ms:
            self._metrics.lag.set(seconds_since(self._recorded_ms))


def seconds_since(recorded_ms: int) -> float:
    """Wall time since a record was written, at least 0."""
    return max(0.0, time.time() - recorded_ms / 1000)
