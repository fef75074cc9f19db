"""All that inference knows of users and products: the log so far, applied record by record, and how far that is.

Only the event loop reads and changes it, so no call ever sees half an event. The threads that follow the log hand their
records to the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import lru_cache

from services.inference.knowledge.catalogue import Catalogue
from services.inference.knowledge.filters import Masks
from shared.log.clients import partition_of
from shared.log.merge import AppliedMarks, MarksSnapshot
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_VIEW, LogPosition, StateVector
from shared.process.errors import Unavailable
from shared.state.histories import Histories
from shared.state.known import Known
from shared.state.tally import Tally

STOPPING = "the service is stopping: try again"


@lru_cache(16_384)  # who asks once asks again
def _partition_of(user_id: str, partitions: int) -> int:
    return partition_of(user_id.encode(), partitions)


class Positions:
    """How far each partition of the log is applied, and the calls that wait for a position."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._marks = {p: AppliedMarks() for p in range(partitions)}
        self._waiting: dict[int, set[tuple[int, asyncio.Future[None]]]] = {p: set() for p in range(partitions)}
        self._stopping = False

    def accept(self, state: StateVector, partition: int) -> bool:
        """Mark a state as applied; False where it was applied before."""
        return self._marks[partition].accept(state)

    def marks(self) -> dict[int, MarksSnapshot]:
        """The marks of the applied states, by partition."""
        return {p: marks.snapshot() for p, marks in self._marks.items()}

    def resume(self, marks: Mapping[int, AppliedMarks]) -> None:
        """Continue from the marks of a snapshot."""
        self._marks = {p: marks.get(p, AppliedMarks()) for p in range(self.partitions)}

    def newest_of(self, user_id: str) -> LogPosition | None:
        """The newest applied record of the user's partition; None before the first."""
        partition = _partition_of(user_id, self.partitions)
        offset = self._marks[partition].source_offset
        return LogPosition(partition=partition, offset=offset) if offset >= 0 else None

    def has_reached(self, partition: int, offset: int) -> bool:
        """Whether the event at this offset of `freshet.events` is applied."""
        return self._marks[partition].source_offset >= offset

    async def reached(self, partition: int, offset: int) -> None:
        """Wait until the event at this offset of `freshet.events` is applied.

        Raises:
            Unavailable: the service stops before that.
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
        """Wake the calls whose position is reached; called after each batch."""
        for partition, waiting in self._waiting.items():
            for offset, future in waiting:
                if self.has_reached(partition, offset) and not future.done():
                    future.set_result(None)

    def give_up(self) -> None:
        """Fail the calls that wait for a position, now and from now on."""
        self._stopping = True
        for _, future in (entry for waiting in self._waiting.values() for entry in waiting):
            if not future.done():
                future.set_exception(Unavailable(STOPPING))


class Knowledge(Known):
    """What is known of users and products, each state applied once, with the whole catalogue.

    Attributes:
        catalogue: the products.
        places: scores products with few events; None: nothing does.
        positions: how far each partition is applied.
        view_reward: reward of the latest view, [-1, 1]; 0 before the first.
    """

    def __init__(
        self, histories: Histories, tally: Tally, partitions: int, *, places_new_products: bool = True
    ) -> None:
        self.catalogue = Catalogue()
        super().__init__(histories, tally, self.catalogue)
        self.places = self.catalogue.content if places_new_products else None
        self.masks = Masks(self.catalogue)
        self.positions = Positions(partitions)
        self.view_reward = 0.0

    def apply_once(self, state: StateVector, partition: int) -> bool:
        """Apply one state; False when it was applied before."""
        if not self.positions.accept(state, partition):
            return False
        kind = state.kind
        if kind != EVENT_KIND_TICK:
            self.apply(state)
            if kind == EVENT_KIND_VIEW:
                self.view_reward = state.reward
        return True

    def now_ms(self) -> int:
        """The latest applied event time of any user, but never ahead of the clock."""
        return min(self.histories.latest_ms, time.time_ns() // 1_000_000)
