"""All that inference knows of users and products: what the log said so far, applied as it comes.

Only the event loop reads and changes it, so no call ever sees half an event; the threads that follow the log hand
their records to the loop.
"""

from __future__ import annotations

import time

from services.inference.catalogue import Catalogue
from services.inference.masks import Masks
from services.inference.positions import Positions
from shared.history import Histories
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, EVENT_KIND_VIEW, StateVector
from shared.policies.trending import Trending
from shared.state.known import Known


class Knowledge(Known):
    """What is known, each state applied once, with a shop's whole catalogue.

    Attributes:
        catalogue: the products.
        places: gives a place to products with few events; None: nothing does.
        positions: how far each partition was applied.
        view_reward: what features gave to the latest view, [-1, 1]; 0 before any.
    """

    def __init__(
        self, histories: Histories, trending: Trending, partitions: int, *, places_new_products: bool = True
    ) -> None:
        self.catalogue = Catalogue()
        super().__init__(histories, trending, self.catalogue)
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
        """The latest event time that was applied, of any user; one that lies ahead of the clock is not believed."""
        return min(self.histories.latest_ms, time.time_ns() // 1_000_000)
