"""One simulated user of the running system: what it does next, as events. Pure: calls and clocks are the crowd's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shared.pb.freshet.v1 import events_pb2 as pb
from shared.simulator.simulator import Simulator
from shared.simulator.visits import Visits

_NOBODY_WANTS = -1e6  # log-popularity of what the simulator knows nothing of


@dataclass(frozen=True, slots=True)
class World:
    """A simulator with one product more, in whose place everything stands that it does not know."""

    simulator: Simulator
    rows: dict[str, int]  # product_id → row
    offset: float

    @classmethod
    def of(cls, simulator: Simulator) -> World:
        """The world of a fitted simulator."""
        wider = replace(
            simulator,
            product_ids=(*simulator.product_ids, ""),
            popularity=np.append(simulator.popularity, _NOBODY_WANTS),
            vectors=np.vstack([simulator.vectors, np.zeros(simulator.vectors.shape[1])]),
            prices=np.append(simulator.prices, np.nan),
        )
        return cls(wider, {product: row for row, product in enumerate(simulator.product_ids)}, simulator.offset)


@dataclass(frozen=True, slots=True)
class Done:
    """What a user did with a slate."""

    events: list[pb.Event]
    clicked: bool
    purchased: bool
    left: bool


class Visitor:
    """One user, visit after visit."""

    def __init__(self, world: World, user: int, seed: int, run: str) -> None:
        """`user`: its row; `run`: what no other stream of events is called, for the events' ids."""
        self._world = world
        self._user = user
        self._run = run
        self._events = 0
        self._visits = Visits(world.simulator, np.array([seed], np.uint64), world.offset)
        self._came = False

    @property
    def user_id(self) -> str:
        """As in the dataset."""
        return self._world.simulator.user_ids[self._user]

    def arrive(self) -> list[pb.Event]:
        """Begin a visit: the user comes for what is needed, and looks at a product found without the shop's help."""
        self._visits.begin(np.zeros(1, np.int64), np.array([self._user]))
        s = self._world.simulator
        alike = (
            s.vectors[s.record[s.record_starts[self._user] : s.record_starts[self._user + 1]]] @ self._visits.need[0]
        )
        found = s.record[s.record_starts[self._user] + int(alike.argmax())]
        return [self._event(pb.EVENT_KIND_VIEW, s.product_ids[found], "")]

    def see(self, products: Sequence[str], request_id: str) -> Done:
        """React to a recommendation: of the products at most one is clicked, and perhaps bought."""
        unknown = len(self._world.rows)
        slate = np.array([[self._world.rows.get(product, unknown) for product in products] or [unknown]])
        reaction = self._visits.step(slate)
        place, purchased = int(reaction.place[0]), bool(reaction.purchased[0])
        events: list[pb.Event] = []
        if place >= 0:
            click = self._event(pb.EVENT_KIND_CLICK, products[place], request_id)
            click.dwell_seconds = float(reaction.dwell_seconds[0])
            events.append(click)
        if purchased:
            purchase = self._event(pb.EVENT_KIND_PURCHASE, products[place], request_id)
            price = self._world.simulator.prices[slate[0, place]]
            if np.isfinite(price):
                purchase.price = float(price)
            events.append(purchase)
        return Done(events, clicked=place >= 0, purchased=purchased, left=bool(reaction.left[0]))

    def _event(self, kind: pb.EventKind.ValueType, product_id: str, request_id: str) -> pb.Event:
        self._events += 1
        return pb.Event(
            event_id=f"{self._run}-{self._user}-{self._events}",
            kind=kind,
            user_id=self.user_id,
            product_id=product_id,
            request_id=request_id,
        )
