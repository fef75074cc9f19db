"""Which states have been applied already: at least once from the log becomes once in effect."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypedDict

from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, StateVector

# Live events a client may have sent twice are recognised among this many newest ones of a partition.
RECENT_EVENT_IDS = 1000


class MarksSnapshot(TypedDict):
    """The marks of one partition, as JSON keeps them."""

    source_offset: int
    sequences: dict[str, int]
    event_ids: list[str]


class AppliedMarks:
    """The marks of one partition of `freshet.states`.

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
