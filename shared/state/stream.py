"""What every policy needs of a stream and none of them learns: rows, histories, transitions, tally. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from shared.content.new_products import Content
from shared.log.records import masked_kinds_of
from shared.numeric.arrays import with_prefix, without_prefix
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.state.histories import Histories
from shared.state.known import Known, KnownProducts
from shared.state.shop import StreamSettings
from shared.state.tally import Tally
from shared.state.transitions import Assembler, Continued, Transition


class StreamState(TypedDict):
    """The part of a stream's snapshot that is no array, as JSON keeps it."""

    applied: int
    serial: int
    products: list[str]
    users: list[str]


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as a stream applied it, for policies to learn of."""

    product: int  # row
    kind: int
    event_time_ms: int
    transition: Transition | None  # None of a guest's event
    continued: Continued | None  # of the user's transition before
    popularity: float  # the product's smoothed share just before this event; 0 where it had no event yet
    state: StateVector  # the event as it came


class Stream:
    """What is known of users and products, and the transitions that the events applied so far were.

    Args:
        content: takes every event, see `KnownProducts`.
    """

    def __init__(self, settings: StreamSettings, content: Content | None = None) -> None:
        self.settings = settings
        histories = Histories(settings.history_length, masked_kinds_of(settings.masked_kinds))
        self.known = Known(histories, Tally.of(settings), KnownProducts(content))
        self.assembler = Assembler(histories, session_gap_ms=settings.session_gap_ms)
        self.applied = 0
        self.on_each: list[Callable[[StateVector], object]] = []  # are called with each event before it is applied

    @property
    def products(self) -> list[str]:
        """row → product_id, append-only; not to be changed."""
        return self.known.products.ids

    @property
    def rows(self) -> dict[str, int]:
        """product_id → row; not to be changed."""
        return self.known.products.rows

    @property
    def histories(self) -> Histories:
        """Of the users."""
        return self.known.histories

    @property
    def tally(self) -> Tally:
        """Of the events, with a place for every row."""
        self.known.tally.grow_to(len(self.products))
        return self.known.tally

    def apply(self, state: StateVector) -> Seen:
        """Apply one event, which is no tick; what policies may learn of it."""
        for look in self.on_each:
            look(state)
        known = self.known
        row = known.products.rows.get(state.product_id)
        had_event = row is not None and known.products.had_event(row)
        popularity = known.share(row) if row is not None and had_event else 0.0
        situation = self.assembler.before(state) if state.user_id else None  # a guest's event is in no history
        product = known.apply(state)
        self.applied += 1
        transition, continued = None, None
        if situation is not None:
            transition = self.assembler.after(situation, state, product, known=had_event)
            continued = situation.continued
        return Seen(product, state.kind, state.event_time_ms, transition, continued, popularity, state)

    def snapshot(self) -> tuple[dict[str, NDArray[Any]], StreamState]:
        """Everything; applying on from it is applying on without a pause."""
        arrays = with_prefix("histories/", self.histories.to_arrays())
        arrays |= with_prefix("tally/", self.tally.to_arrays())
        arrays["last_serial"] = np.array(self.assembler.last_serial, np.int64)
        arrays["had_event"] = self.known.products.events_seen()
        return arrays, StreamState(
            applied=self.applied,
            serial=self.assembler.serial,
            products=list(self.products),
            users=list(self.histories.users),
        )

    @classmethod
    def restore(cls, settings: StreamSettings, arrays: dict[str, NDArray[Any]], state: StreamState) -> Stream:
        """What `snapshot` gave; the settings must be the same."""
        stream = cls(settings)
        known = stream.known
        for product_id in state["products"]:
            known.products.row_of(product_id)
        known.products.resume(arrays["had_event"])
        known.tally.resume(without_prefix("tally/", arrays))
        known.resume(
            Histories.from_arrays(state["users"], without_prefix("histories/", arrays), known.histories.masked_kinds),
            known.tally,
        )
        stream.assembler = Assembler(known.histories, session_gap_ms=settings.session_gap_ms)
        stream.assembler.serial = state["serial"]
        stream.assembler.last_serial = arrays["last_serial"].tolist()
        stream.applied = state["applied"]
        return stream
