"""How far each partition of the log was applied, and the calls that wait until it is far enough."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from shared.errors import Unavailable
from shared.kafka.marks import AppliedMarks, MarksSnapshot
from shared.kafka.partitioner import partition_of
from shared.pb.freshet.v1.events_pb2 import LogPosition, StateVector

STOPPING = "the service is stopping: ask again"


class Positions:
    """Marks of the states applied, by partition; the event loop alone reads and changes them."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._marks = {p: AppliedMarks() for p in range(partitions)}
        self._waiting: dict[int, set[tuple[int, asyncio.Future[None]]]] = {p: set() for p in range(partitions)}
        self._stopping = False

    def accept(self, state: StateVector, partition: int) -> bool:
        """Note that a state is applied; False where it was before."""
        return self._marks[partition].accept(state)

    def marks(self) -> dict[int, MarksSnapshot]:
        """Which states have been applied, by partition."""
        return {p: marks.snapshot() for p, marks in self._marks.items()}

    def resume(self, marks: Mapping[int, AppliedMarks]) -> None:
        """Go on from the marks of a snapshot."""
        self._marks = {p: marks.get(p, AppliedMarks()) for p in range(self.partitions)}

    def newest_of(self, user_id: str) -> LogPosition | None:
        """The newest record of the user's partition that was applied, None before any."""
        partition = partition_of(user_id.encode(), self.partitions)
        offset = self._marks[partition].source_offset
        return LogPosition(partition=partition, offset=offset) if offset >= 0 else None

    def has_reached(self, partition: int, offset: int) -> bool:
        """Whether the event at this offset of `freshet.events` was applied."""
        return self._marks[partition].source_offset >= offset

    async def reached(self, partition: int, offset: int) -> None:
        """Return once the event at this offset of `freshet.events` was applied.

        Raises:
            Unavailable: the service stops before it is.
        """
        if self.has_reached(partition, offset):
            return
        if self._stopping:
            raise Unavailable(STOPPING)
        entry = (offset, asyncio.get_running_loop().create_future())
        self._waiting[partition].add(entry)
        try:
            await entry[1]
        finally:
            self._waiting[partition].discard(entry)

    def wake(self) -> None:
        """Let those go on whose position was reached; called after a batch was applied."""
        for partition, waiting in self._waiting.items():
            for offset, future in waiting:
                if self.has_reached(partition, offset) and not future.done():
                    future.set_result(None)

    def give_up(self) -> None:
        """Let nobody wait for a position any longer, now or later."""
        self._stopping = True
        for _, future in (entry for waiting in self._waiting.values() for entry in waiting):
            if not future.done():
                future.set_exception(Unavailable(STOPPING))
