"""All that inference knows of users and products: what the log said so far, applied as it comes.

Only the event loop reads and changes it, so no call ever sees half an event; the threads that follow the log hand
their records to the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.inference.catalogue import Catalogue
from services.inference.masks import Masks
from shared.errors import Unavailable
from shared.history import Histories
from shared.kafka.marks import AppliedMarks, MarksSnapshot
from shared.kafka.partitioner import partition_of
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_VIEW, LogPosition, StateVector
from shared.policies.trending import Trending

STOPPING = "the service is stopping: ask again"


class Knowledge:
    """Histories, popularity, catalogue, and how far each partition was applied.

    Attributes:
        view_reward: what features gave to the latest view, [-1, 1]; 0 before any.
        places: gives a place to products with few events; None: nothing does.
    """

    def __init__(
        self, histories: Histories, trending: Trending, partitions: int, *, places_new_products: bool = True
    ) -> None:
        self.histories = histories
        self.catalogue = Catalogue()
        self.places = self.catalogue.content if places_new_products else None
        self.masks = Masks(self.catalogue)
        self.view_reward = 0.0
        self.partitions = partitions
        self.trending = trending
        self._shares: NDArray[np.float32] | None = None  # (A,) of popularity, until an event changes it
        self._marks = {p: AppliedMarks() for p in range(partitions)}
        self._waiting: dict[int, set[tuple[int, asyncio.Future[None]]]] = {p: set() for p in range(partitions)}
        self._stopping = False

    def apply(self, state: StateVector, partition: int) -> bool:
        """Apply one state; False when it was applied before."""
        if not self._marks[partition].accept(state):
            return False
        if state.kind != EVENT_KIND_TICK:
            product = self.catalogue.row_of(state.product_id)
            if state.user_id:  # else a guest's: it counts for trending only
                self.histories.apply(state, product)
            if state.kind == EVENT_KIND_VIEW:
                self.view_reward = state.reward
            self.catalogue.count(product, state.event_time_ms)
            self.trending.add(product, state.kind, state.event_time_ms)
            self._shares = None
        return True

    def now_ms(self) -> int:
        """The latest event time that was applied, of any user; one that lies ahead of the clock is not believed."""
        return min(self.histories.latest_ms, time.time_ns() // 1_000_000)

    def shares(self) -> NDArray[np.float32]:
        """Every product's smoothed share of the decayed count, (A,), one for each row; not to be changed."""
        products = len(self.catalogue)
        if self._shares is None or len(self._shares) != products:
            self.trending.grow_to(products)
            self._shares = self.trending.shares()
        return self._shares

    def marks(self) -> dict[int, MarksSnapshot]:
        """Which states have been applied, by partition."""
        return {p: own.snapshot() for p, own in self._marks.items()}

    def resume(
        self, histories: Histories, trending: Trending, marks: Mapping[int, AppliedMarks], *, view_reward: float
    ) -> None:
        """Go on from what was known once, in the rows of a catalogue that is as it was."""
        self.histories, self.trending, self.view_reward, self._shares = histories, trending, view_reward, None
        self._marks = {p: marks.get(p, AppliedMarks()) for p in range(self.partitions)}

    def position(self, user_id: str) -> LogPosition | None:
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
