"""From the partitions of `freshet.states` to one order, each event once: the merge, and the marks of what was applied.

Pure: neither reads a log.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, StateVector

# Live events that a client may have sent twice are recognised among this many newest ones of a partition.
RECENT_EVENT_IDS = 1000

# The order at one event time: a tick, then live records by when they were recorded in ms, then replayed ones.
_TICK = 0
_REPLAYED = 2**63


@dataclass(frozen=True, slots=True)
class Positioned:
    """A state and where it stood in `freshet.states`."""

    state: StateVector
    partition: int
    offset: int
    recorded_ms: int


class SortKey(NamedTuple):
    """Where a record comes in the order of one partition; see `OrderedMerge`."""

    event_time_ms: int
    within: int  # among the records of one event time


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
        self._queues: dict[int, deque[tuple[SortKey, Positioned]]] = {p: deque() for p in watermarks}
        self._reached = {p: SortKey(t, _TICK) for p, t in watermarks.items()}
        self._fronts = [(key, p) for p, key in self._reached.items()]
        heapq.heapify(self._fronts)
        self.ordered = True

    def push(self, item: Positioned) -> None:
        """Add the partition's next record."""
        state, reached = item.state, self._reached[item.partition]
        if is_live(state):
            key = SortKey(reached.event_time_ms, state.recorded_ms)
        else:
            key = SortKey(state.event_time_ms, _TICK if state.kind == EVENT_KIND_TICK else _REPLAYED)
        key = self._reached[item.partition] = max(key, reached)
        self._queues[item.partition].append((key, item))

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
        passed: list[tuple[SortKey, int]] = []
        try:
            while self._fronts:
                key, p = self._fronts[0]
                queue = self._queues[p]
                front = queue[0][0] if queue else self._reached[p]
                if front > key:  # noted before the partition moved on
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
        self, head: tuple[SortKey, Positioned], fronts: Iterable[tuple[SortKey, int]], is_silent: Callable[[int], bool]
    ) -> bool:
        """Whether a record may go before what the partitions of smaller fronts may still bring."""
        (event_time_ms, within), item = head
        # A tick, too, says nothing that what comes at its time could not say after it.
        free = within == _TICK or is_live(item.state)
        in_the_way = [p for key, p in fronts if not (free and key.event_time_ms == event_time_ms)]
        silent = [p for p in in_the_way if is_silent(p)]  # each is asked: its time begins to run
        if len(silent) < len(in_the_way):
            return False
        if silent:
            self.ordered = False
        return True


def is_live(state: StateVector) -> bool:
    """Whether the state is of an event that no replay sent."""
    return not state.source and state.kind != EVENT_KIND_TICK


class AppliedMarks:
    """Which states of one partition were applied: what the log holds at least once takes effect once.

    Three rules, each for another cause of repeats: a features worker that was killed sends the states of its last
    batch again (source offset), a resumed replay sends its last events again (sequence per source), a client
    retries a call (event id).
    """

    def __init__(self, snapshot: MarksSnapshot | None = None) -> None:
        self._source_offset = snapshot["source_offset"] if snapshot else -1
        self._sequences = dict(snapshot["sequences"]) if snapshot else {}
        self._event_ids = OrderedDict.fromkeys(snapshot["event_ids"] if snapshot else ())

    @property
    def source_offset(self) -> int:
        """The newest offset of `freshet.events` that was seen, -1 before any."""
        return self._source_offset

    def accept(self, state: StateVector) -> bool:
        """Whether the state is new; if it is, it is marked as applied."""
        if state.source_offset <= self._source_offset:
            return False
        self._source_offset = state.source_offset
        if state.kind == EVENT_KIND_TICK:
            return True
        if state.source:
            if state.sequence <= self._sequences.get(state.source, 0):
                return False
            self._sequences[state.source] = state.sequence
            return True
        if state.event_id in self._event_ids:
            return False
        self._event_ids[state.event_id] = None
        if len(self._event_ids) > RECENT_EVENT_IDS:
            self._event_ids.popitem(last=False)
        return True

    def snapshot(self) -> MarksSnapshot:
        """What a checkpoint keeps."""
        return {
            "source_offset": self._source_offset,
            "sequences": dict(self._sequences),
            "event_ids": list(self._event_ids),
        }


class MarksSnapshot(TypedDict):
    """The marks of one partition, as JSON keeps them."""

    source_offset: int
    sequences: dict[str, int]
    event_ids: list[str]
