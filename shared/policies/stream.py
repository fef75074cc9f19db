"""What every policy needs of a stream and none of them learns: rows, histories, transitions, trending. Pure."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from shared.history import Histories
from shared.kinds import masked_kinds_of
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.policy import Seen
from shared.policies.trending import Trending
from shared.state.shop import StreamSettings
from shared.times import DAY_MS
from shared.transitions import Assembler


class StreamState(TypedDict):
    """The part of a stream's snapshot that is no array, as JSON keeps it."""

    applied: int
    serial: int
    trending_base_ms: int
    products: list[str]
    users: list[str]


class Stream:
    """All users and products as the events applied so far made them."""

    def __init__(self, settings: StreamSettings) -> None:
        self.settings = settings
        self.products: list[str] = []  # row → product_id, append-only
        self.rows: dict[str, int] = {}
        self.histories = Histories(settings.history_length, masked_kinds_of(settings.masked_kinds))
        self.assembler = Assembler(self.histories, session_gap_ms=settings.session_gap_ms)
        self.trending = Trending(settings.trending_half_life_days * DAY_MS)
        self.applied = 0
        self._had_event: list[bool] = []  # by row

    def row(self, product_id: str) -> int:
        """The product's row; a new one where it has none, which alone does not make it known."""
        row = self.rows.get(product_id)
        if row is None:
            row = self.rows[product_id] = len(self.products)
            self.products.append(product_id)
            self._had_event.append(False)
            self.trending.grow_to(len(self.products))
        return row

    def apply(self, state: StateVector) -> Seen:
        """Apply one event; what policies may learn of it."""
        known = state.product_id in self.rows and self._had_event[self.rows[state.product_id]]
        product = self.row(state.product_id)
        self._had_event[product] = True
        self.applied += 1
        popularity = self.trending.share(product) if known else 0.0
        self.trending.add(product, state.kind, state.event_time_ms)
        transition, continued = None, None
        if state.user_id:  # a guest's event is in nobody's history
            transition, continued = self.assembler.apply(state, product, known=known)
        return Seen(product, state.kind, state.event_time_ms, transition, continued, popularity, state)

    def snapshot(self) -> tuple[dict[str, NDArray[Any]], StreamState]:
        """Everything; applying on from it is applying on without a pause."""
        arrays = {f"histories/{name}": array for name, array in self.histories.to_arrays().items()}
        arrays["trending"] = self.trending.to_array()
        arrays["last_serial"] = np.array(self.assembler.last_serial, np.int64)
        arrays["had_event"] = np.array(self._had_event, np.uint8)
        return arrays, StreamState(
            applied=self.applied,
            serial=self.assembler.serial,
            trending_base_ms=self.trending.base_ms,
            products=list(self.products),
            users=list(self.histories.users),
        )

    @classmethod
    def restore(cls, settings: StreamSettings, arrays: dict[str, NDArray[Any]], state: StreamState) -> Stream:
        """What `snapshot` gave; the settings must be the same."""
        stream = cls(settings)
        stream.products = list(state["products"])
        stream.rows = {product: row for row, product in enumerate(stream.products)}
        histories = {k.removeprefix("histories/"): a for k, a in arrays.items() if k.startswith("histories/")}
        stream.histories = Histories.from_arrays(state["users"], histories, stream.histories.masked_kinds)
        stream.assembler = Assembler(stream.histories, session_gap_ms=settings.session_gap_ms)
        stream.assembler.serial = state["serial"]
        stream.assembler.last_serial = arrays["last_serial"].tolist()
        stream.trending = Trending.from_array(
            arrays["trending"], state["trending_base_ms"], stream.trending.half_life_ms
        )
        stream._had_event = arrays["had_event"].astype(bool).tolist()
        stream.applied = state["applied"]
        return stream
