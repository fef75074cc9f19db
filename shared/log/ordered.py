"""Reads `freshet.states` in the one order that `shared.log.merge` gives all partitions, and shows how far it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypedDict

from confluent_kafka import Message
from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.log.clients import LogReader
from shared.log.follow import RecordProcessor
from shared.log.merge import AppliedMarks, MarksSnapshot, OrderedMerge, Positioned, is_live
from shared.log.records import parse_state
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings

log = logging.getLogger("ordered")

# A partition this far ahead of the slowest is not fetched until the others catch up.
MOST_AHEAD = 20_000
LEAST_AHEAD = 5_000


class ReaderSnapshot(TypedDict):
    """Where a reader stands, as JSON keeps it; keys are partitions."""

    positions: dict[str, int]
    watermarks: dict[str, int]
    marks: dict[str, MarksSnapshot]
    ordered: bool


class OrderedReader:
    """Reads `freshet.states` in order, each event once.

    Its snapshot covers exactly what `poll` has handed out, so whoever applies all of a poll's records and keeps the
    snapshot beside its own state resumes with nothing left out and nothing applied twice.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        *,
        snapshot: ReaderSnapshot | None = None,
        silence_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        partitions = range(settings.partitions)
        self._topic = topic
        self._clock = clock
        self._silence_seconds = silence_seconds
        self.positions = {p: int(snapshot["positions"][str(p)]) if snapshot else -1 for p in partitions}
        self._watermarks = {p: int(snapshot["watermarks"][str(p)]) if snapshot else 0 for p in partitions}
        self._marks = {p: AppliedMarks(snapshot["marks"][str(p)] if snapshot else None) for p in partitions}
        self._merge = OrderedMerge(self._watermarks)
        self._merge.ordered = snapshot["ordered"] if snapshot else True
        self._reader = LogReader(settings, {(topic, p): offset for p, offset in self.positions.items()})
        self._records = RecordProcessor(self._push, count=self._count_unreadable, say=log.warning, clock=clock)
        self._in_the_way: dict[int, float] = {}  # partition at its end → since when it holds others back
        self._paused: set[int] = set()
        self.repeats = 0
        self.unreadable = 0
        self.newest_ms = 0  # latest event time read, handed out or not

    @property
    def source_positions(self) -> dict[int, int]:
        """Partition of the source topic → the offset after the newest record whose state was handed out.

        They do not depend on how often a state was written, so two logs of the same events agree on them.
        """
        return {p: marks.source_offset + 1 for p, marks in self._marks.items()}

    @property
    def ordered(self) -> bool:
        """Whether every record so far came in the one order."""
        return self._merge.ordered

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read to its end at least once."""
        return self._reader.caught_up

    @property
    def waiting(self) -> int:
        """Records read and held back because a partition has not passed them yet."""
        return sum(self._merge.waiting(p) for p in self.positions)

    @property
    def at_end(self) -> bool:
        """Whether every partition was read to its end and nothing has come since."""
        return len(self._reader.at_end) == len(self.positions)

    @property
    def oldest_waiting(self) -> list[StateVector]:
        """Of each partition the first state held back that is no tick, where there is one."""
        return self._merge.oldest_waiting()

    def poll(self, seconds: float, most: int = 10_000) -> list[Positioned]:
        """The next states in order, `most` at most, repeats left out; waits up to `seconds` when none is ready.

        Ticks are handed out too: they say how far event time has come.
        """
        released = self._release(most)
        if not released:
            self._records.poll(self._reader, seconds)
            released = self._release(most)
        self._hold_back_the_fast()
        return released

    def _push(self, message: Message) -> None:
        partition, offset = int(message.partition() or 0), int(message.offset() or 0)
        state = parse_state(message.value(), len(self.positions))
        if not is_live(state):
            self._in_the_way.pop(partition, None)
        self.newest_ms = max(self.newest_ms, state.event_time_ms)
        self._merge.push(Positioned(state, partition, offset, message.timestamp()[1]))

    def _count_unreadable(self, _: Message, __: BadEvent) -> None:
        self.unreadable += 1

    def _release(self, most: int) -> list[Positioned]:
        released: list[Positioned] = []
        for event_time_ms, item in self._merge.release(self._is_at_end, self._is_silent):
            self.positions[item.partition] = item.offset + 1
            self._watermarks[item.partition] = event_time_ms
            if self._marks[item.partition].accept(item.state):
                released.append(item)
                if len(released) == most:
                    break
            else:
                self.repeats += 1
        return released

    def snapshot(self) -> ReaderSnapshot:
        """Where the reader stands after the last `poll`."""
        return {
            "positions": {str(p): offset for p, offset in self.positions.items()},
            "watermarks": {str(p): t for p, t in self._watermarks.items()},
            "marks": {str(p): marks.snapshot() for p, marks in self._marks.items()},
            "ordered": self.ordered,
        }

    def close(self) -> None:
        """Leave the cluster."""
        self._reader.close()

    def _is_at_end(self, partition: int) -> bool:
        return (self._topic, partition) in self._reader.at_end

    def _is_silent(self, partition: int) -> bool:
        since = self._in_the_way.setdefault(partition, self._clock())
        return self._clock() - since > self._silence_seconds

    def _hold_back_the_fast(self) -> None:
        ahead = {p for p in self.positions if p not in self._paused and self._merge.waiting(p) > MOST_AHEAD}
        back = {p for p in self._paused if self._merge.waiting(p) < LEAST_AHEAD}
        if ahead:
            self._reader.pause((self._topic, p) for p in ahead)
        if back:
            self._reader.resume((self._topic, p) for p in back)
        self._paused = (self._paused | ahead) - back


class ReaderMetrics:
    """What a service tells Prometheus of its ordered reader, as `freshet_<service>_…`."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        def gauge(name: str, about: str) -> Gauge:
            return Gauge(f"freshet_{service}_{name}", about, registry=registry)

        def counter(name: str, about: str) -> Counter:
            return Counter(f"freshet_{service}_{name}_total", about, registry=registry)

        self._ordered = gauge("ordered", "1 while every state came in the one order, else 0.")
        self._waiting = gauge("waiting_states", "States read and held back until all partitions have passed them.")
        self._repeats = counter("repeats", "States left out because they were applied before.")
        self._unreadable = counter("unreadable", "States left out because they could not be read.")
        self._lag = gauge(
            "lag_seconds",
            "Wall time since the last applied state was recorded, or while none comes out since the oldest event held "
            "back was; 0 when nothing but ticks waits at the log's end.",
        )
        self._event_time = gauge("event_time_seconds", "Event time applied up to, Unix time.")
        self._event_time_lag = gauge(
            "event_time_lag_seconds", "Event time between the newest state read and the last one applied."
        )
        self._counted = (0, 0)  # repeats and unreadable of the reader, when last shown
        self._recorded_ms = 0  # of the last state applied, 0 before any
        self._event_time_ms = 0

    def show(self, reader: OrderedReader, items: Sequence[Positioned]) -> None:
        """Show where the reader stands after `items`, the states of one poll, were applied."""
        self._ordered.set(reader.ordered)
        self._waiting.set(reader.waiting)
        repeats, unreadable = self._counted
        self._counted = (reader.repeats, reader.unreadable)
        self._repeats.inc(reader.repeats - repeats)
        self._unreadable.inc(reader.unreadable - unreadable)
        if items:
            newest = items[-1].state
            self._event_time_ms = newest.event_time_ms
            self._event_time.set(newest.event_time_ms / 1000)
            self._recorded_ms = newest.recorded_ms or self._recorded_ms
            self._show_lag(reader, self._recorded_ms)
            return
        held_back = reader.oldest_waiting
        if held_back or not reader.at_end:
            # An idle shop's last event may be hours old: what waits tells better how far behind this is.
            recorded = [state.recorded_ms for state in held_back if state.recorded_ms]
            self._show_lag(reader, min(recorded, default=self._recorded_ms))
        else:
            self._lag.set(0.0)
            self._event_time_lag.set(0.0)

    def _show_lag(self, reader: OrderedReader, since_ms: int) -> None:
        if since_ms:
            self._lag.set(max(0.0, time.time() - since_ms / 1000))
        if self._event_time_ms:
            self._event_time_lag.set(max(0.0, (reader.newest_ms - self._event_time_ms) / 1000))
