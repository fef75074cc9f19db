"""Follows `freshet.states`, from a snapshot or its beginning, and `freshet.products`; the loop applies what comes."""

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
from services.inference.knowledge.snapshot import Keeper, Listed, ProductFigures, Restored, Snapshot
from services.inference.metrics import InferenceMetrics
from shared.log.clients import LogReader
from shared.log.follow import RecordProcessor
from shared.log.records import parse_product, parse_state
from shared.log.topics import Topics
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, StateVector
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings

# Where a start reads the log from: where the newest snapshot ends, or from its beginning.

POLL_SECONDS = 0.2
# A broker that answers says within this where a partition ends, unless the position asked for lies beyond.
SILENCE_SECONDS = 5.0


class _Outside(Exception):
    """A snapshot's position lies outside the log."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """A reader of states and products, and what it starts from."""

    reader: LogReader
    positions: Mapping[int, int]  # partition of `freshet.states` → next offset; -1: the first there is
    messages: Sequence[Message] = ()  # what the reader gave already
    restored: Restored | None = None


def begin(kafka: KafkaSettings, keeper: Keeper | None, stopping: threading.Event) -> Beginning:
    """Open the log; a snapshot whose place in it is gone is left aside, since nothing is lost by reading all."""
    nowhere = dict.fromkeys(range(kafka.partitions), -1)
    found = keeper.newest() if keeper is not None else None
    if keeper is None or found is None:
        return Beginning(_reader(kafka, nowhere), nowhere)
    reader = _reader(kafka, found.positions)
    try:
        messages = _first(reader, {(Topics.of(kafka).states, p) for p in found.positions}, stopping)
    except _Outside as error:
        reader.close()
        keeper.leave_aside(f"the log no longer holds what follows it ({error})")
        return Beginning(_reader(kafka, nowhere), nowhere)
    return Beginning(reader, found.positions, messages, found.restore(keeper.origin))


def _reader(kafka: KafkaSettings, positions: Mapping[int, int]) -> LogReader:
    topics = Topics.of(kafka)
    places = {(topics.states, p): offset for p, offset in positions.items()}
    return LogReader(kafka, places | {(topics.products, 0): -1})


def _first(reader: LogReader, places: set[tuple[str, int]], stopping: threading.Event) -> list[Message]:
    """What comes until every place has said that it lies in the log.

    Raises:
        _Outside: one does not, by the broker's word, or because nothing comes of it while the broker answers.
    """
    messages: list[Message] = []
    waiting = set(places)
    answers_since = 0.0  # monotonic seconds; 0: nothing was read to its end yet
    while waiting and not stopping.is_set():
        try:
            came = reader.poll(POLL_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._AUTO_OFFSET_RESET:
                raise
            raise _Outside(error.args[0].str()) from error
        messages += came
        waiting -= reader.at_end
        waiting -= {(str(message.topic()), int(message.partition() or 0)) for message in came}
        if reader.at_end and not answers_since:
            answers_since = time.monotonic()
        if waiting and answers_since and time.monotonic() - answers_since > SILENCE_SECONDS:
            raise _Outside(f"partition {min(waiting)[1]} says nothing")
    return messages


# How far inference is behind the log, by the wall clock and in event time.


class Lag:
    """Shows the two lags as states are applied, and as none come."""

    def __init__(self, metrics: InferenceMetrics) -> None:
        self._metrics = metrics
        self._recorded_ms = 0  # of the state applied last, 0 before any
        self._newest_ms = 0  # latest event time of any partition

    def applied(self, state: StateVector) -> None:
        """One state was applied, or a tick."""
        self._newest_ms = max(self._newest_ms, state.event_time_ms)
        self._metrics.event_time_lag.set((self._newest_ms - state.event_time_ms) / 1000)
        if state.recorded_ms:
            self._recorded_ms = state.recorded_ms
            self._metrics.lag.set(seconds_since(state.recorded_ms))

    def at_end(self) -> None:
        """Nothing more lies in the log."""
        self._metrics.lag.set(0.0)
        self._metrics.event_time_lag.set(0.0)

    def nothing_came(self) -> None:
        """There is more in the log, and it does not come: the broker is away, say."""
        if self._recorded_ms:
            self._metrics.lag.set(seconds_since(self._recorded_ms))


def seconds_since(recorded_ms: int) -> float:
    """Wall time since a record's own, never below 0."""
    return max(0.0, time.time() - recorded_ms / 1000)


log = logging.getLogger("inference")

# Applied in one go on the event loop; calls wait for no more than this.
MOST_AT_ONCE = 200


class Follower(threading.Thread):
    """Reads and parses; the event loop applies, a batch at a time, and the next is read when it has.

    Args:
        keeper: gives the keeper of the snapshots, None where there are none or the event was set meanwhile.
        on_begun: runs on the loop once it is known what the log is read from, and every row of a snapshot is back.
        on_ready: runs on the loop once every partition was read to its end.
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
        self._listed = Listed()
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
        keeper = self._open_keeper(self._stopping)
        began = begin(self._kafka, keeper, self._stopping)
        reader, messages = began.reader, began.messages
        self._positions.update(began.positions)
        if began.restored is not None:
            self._listed = began.restored.listed
            asyncio.run_coroutine_threadsafe(self._resume(began.restored), self._loop).result()
        self._loop.call_soon_threadsafe(self._on_begun)
        states = {(self._topics.states, p) for p in began.positions}
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

    def _snapshot(self) -> Snapshot:
        """What is known now: nothing is applied meanwhile, but calls are answered."""
        products = asyncio.run_coroutine_threadsafe(self._product_figures(), self._loop).result()
        return Snapshot.take(self._knowledge, products, self._listed, self._positions)

    async def _product_figures(self) -> ProductFigures:
        return ProductFigures.copy(self._knowledge)

    async def _resume(self, restored: Restored) -> None:
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

    def _apply_record(self, message: Message) -> None:
        if message.topic() == self._topics.products:
            self._apply_product(message)
            return
        partition = int(message.partition() or 0)
        self._positions[partition] = int(message.offset() or 0) + 1
        self._apply_state(parse_state(message.value()), partition)

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
