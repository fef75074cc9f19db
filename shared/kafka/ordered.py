"""One order over all partitions: the smallest (event time, partition, offset) that all partitions have passed.

Live events stand at their place in the log: see `OrderedMerge`.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from shared.errors import BadEvent
from shared.kafka.clients import LogReader
from shared.kafka.marks import AppliedMarks, MarksSnapshot
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, StateVector
from shared.settings import KafkaSettings
from shared.states import parse_state

log = logging.getLogger("ordered")

# A partition this far ahead of the slowest is not fetched until the others catch up.
MOST_AHEAD = 20_000
LEAST_AHEAD = 5_000


@dataclass(frozen=True, slots=True)
class Positioned:
    """A state and where it stood in `freshet.states`."""

    state: StateVector
    partition: int
    offset: int
    recorded_ms: int


class Place(NamedTuple):
    """Where a record comes in the order of one partition; `OrderedMerge` says what the parts are."""

    event_time_ms: int
    within: int


_TICK = 0
_REPLAYED = 2**63


class OrderedMerge:
    """Merges partitions by event time without waiting for their ends.

    A replayed record comes at its event time; a tick comes before all of its time. A live record has no place among
    replayed ones but that of the log: it comes at the event time that the replay had reached in its partition, ordered
    among its like by when it was recorded. So a shop's events of today and a backfill of last year's can share the log,
    and neither waits for the other. Within a partition the log's own order is always kept: what is late counts as if
    it came at the place already reached.

    `ordered` turns False for good once a replayed record did not wait for a silent partition, or a live one for a
    partition that a replay has left behind.
    """

    def __init__(self, watermarks: Mapping[int, int]) -> None:
        """`watermarks`: partition → event time already reached by replays, ms; 0 before any."""
        self._queues: dict[int, deque[tuple[Place, Positioned]]] = {p: deque() for p in watermarks}
        self._reached = {p: Place(t, _TICK) for p, t in watermarks.items()}
        self._fronts = [(place, p) for p, place in self._reached.items()]
        heapq.heapify(self._fronts)
        self.ordered = True

    def push(self, item: Positioned) -> None:
        """Add the partition's next record."""
        state, reached = item.state, self._reached[item.partition]
        if is_live(state):
            place = Place(reached.event_time_ms, state.recorded_ms)
        else:
            place = Place(state.event_time_ms, _TICK if state.kind == EVENT_KIND_TICK else _REPLAYED)
        place = self._reached[item.partition] = max(place, reached)
        self._queues[item.partition].append((place, item))

    def waiting(self, partition: int) -> int:
        """Records of the partition that were pushed and not released."""
        return len(self._queues[partition])

    def oldest_waiting(self) -> list[StateVector]:
        """Of each partition the first state that waits and is no tick, where there is one."""
        firsts = (
            next((item.state for _, item in queue if item.state.kind != EVENT_KIND_TICK), None)
            for queue in self._queues.values()
        )
        return [state for state in firsts if state is not None]

    def release(
        self, is_at_end: Callable[[int], bool], is_silent: Callable[[int], bool]
    ) -> Iterator[tuple[int, Positioned]]:
        """What can go now, in order, each with the event time it counts as.

        The front of a partition is its oldest waiting record, or the place it has reached when none waits; the smallest
        front goes first. A front without a record holds the others back, unless its partition was read to its end and
        either the record, a live one or a tick, needs no more than that event time has come as far there, or the
        partition is silent.

        Args:
            is_at_end: whether a partition was read to its end.
            is_silent: whether a partition at its end, which holds a record back, need not be waited for any longer.
        """
        passed: list[tuple[Place, int]] = []
        try:
            while self._fronts:
                place, p = self._fronts[0]
                queue = self._queues[p]
                front = queue[0][0] if queue else self._reached[p]
                if front > place:  # noted before the partition moved on
                    heapq.heapreplace(self._fronts, (front, p))
                elif queue:
                    if not self._may_pass(queue[0], passed, is_silent):
                        return
                    front, item = queue.popleft()
                    heapq.heapreplace(self._fronts, (queue[0][0] if queue else self._reached[p], p))
                    yield front.event_time_ms, item
                elif is_at_end(p):
                    passed.append(heapq.heappop(self._fronts))
                else:
                    return
        finally:
            for entry in passed:
                heapq.heappush(self._fronts, entry)

    def _may_pass(
        self, head: tuple[Place, Positioned], fronts: Iterable[tuple[Place, int]], is_silent: Callable[[int], bool]
    ) -> bool:
        """Whether a record may go before what the partitions of smaller fronts may still bring."""
        (event_time_ms, within), item = head
        # A tick, too, says nothing that what comes at its time could not say after it.
        free = within == _TICK or is_live(item.state)
        in_the_way = [p for place, p in fronts if not (free and place.event_time_ms == event_time_ms)]
        silent = [p for p in in_the_way if is_silent(p)]  # each is asked: its time begins to run
        if len(silent) < len(in_the_way):
            return False
        if silent:
            self.ordered = False
        return True


def is_live(state: StateVector) -> bool:
    """Whether the state is of an event that no replay sent."""
    return not state.source and state.kind != EVENT_KIND_TICK


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
            self._fetch(seconds)
            released = self._release(most)
        self._hold_back_the_fast()
        return released

    def _fetch(self, seconds: float) -> None:
        for message in self._reader.poll(seconds):
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            try:
                state = parse_state(message.value())
            except BadEvent as error:
                self.unreadable += 1
                log.warning("%s [%d] offset %d left out: %s", self._topic, partition, offset, error)
                continue
            if not is_live(state):
                self._in_the_way.pop(partition, None)
            self.newest_ms = max(self.newest_ms, state.event_time_ms)
            self._merge.push(Positioned(state, partition, offset, message.timestamp()[1]))

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
