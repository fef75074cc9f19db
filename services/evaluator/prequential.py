"""Prequential judging: before a user's event is applied, where did each policy rank the product really chosen?

Pure: no log, no clock. What is ranked is what is served: the same scores, the same mask, ties at half.

A state whose event time is a whole day, as in SNAP's data, is predicted from the user's history and mask as they
stood when that day began, since the order within a day is anybody's guess: the user's products of one day are a set of
right answers. Those of the set that came already are left out of the running, since they are no wrong answers.
Popularity is what all events before this one made it. States with finer times are judged one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from shared import ranking
from shared.history import DAY_MS, Histories, Window
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.served import Scores, served_scores
from shared.policies.trending import UNCOUNTED_KINDS, Trending

TOP = 10  # products of one answer


class Outcome(Enum):
    """What became of an event."""

    JUDGED = "judged"
    UNKNOWN = "unknown"  # judged, and a miss for every policy: the product had no event before
    MASKED = "masked"  # not judged: nobody could have recommended the product to this user again
    GUEST = "guest"  # not judged: nobody's history goes on
    LATE = "late"  # not judged: the user's history holds what came after it
    UNWANTED = "unwanted"  # not judged: its kind does not say that the user wanted the product


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one policy would have answered."""

    place: float  # of the product really chosen, 1 is best; infinite where it was not in the running
    top: NDArray[np.int64]  # rows of the best products, best first, `TOP` at most
    bits: float  # self-information of these, -log2 of their share of popularity, on average; NaN where there are none


@dataclass(frozen=True, slots=True)
class Judgement:
    """One event, judged or not."""

    outcome: Outcome
    learned: Ranking | None = None  # as served: by trending until there is a version, and where there is no history
    trending: Ranking | None = None
    by_version: bool = False  # a version scored the products: there was one, and there was a history


@dataclass(slots=True)
class _Before:
    """What is known of a user before an event, or before the whole day it belongs to."""

    event_time_ms: int
    window: Window | None
    masked: NDArray[np.int32]
    came: list[int] = field(default_factory=list)  # products of the day so far


class Prequential:
    """All users and products as the events applied so far made them."""

    def __init__(self, histories: Histories, trending: Trending) -> None:
        self.histories = histories
        self._trending = trending
        self._rows: dict[str, int] = {}  # product_id → row
        self._seen: set[int] = set()  # rows with an event
        self._unseen: NDArray[np.int32] | None = None  # the other rows, until one changes
        self._shares: NDArray[np.float32] | None = None  # (A,) of popularity, until an event changes it
        self._days: dict[str, _Before] = {}  # user_id → the whole day that goes on
        self._newest_day_ms = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def known(self) -> int:
        """Products with an event."""
        return len(self._seen)

    def row_of(self, product_id: str) -> int:
        """The product's row; a new one when it has none, which alone does not make it known."""
        row = self._rows.get(product_id)
        if row is None:
            row = self._rows[product_id] = len(self._rows)
            self._unseen = self._shares = None
        return row

    def shares(self) -> NDArray[np.float32]:
        """Every product's smoothed share of the decayed count, (A,), one for each row; not to be changed."""
        if self._shares is None:
            self._trending.grow_to(len(self._rows))
            self._shares = self._trending.shares()
        return self._shares

    def judge(self, state: StateVector, version: Scores | None) -> Judgement:
        """Rank the whole catalogue as it would have been answered just before this event.

        Of the event, only who, which product, what kind and when is read.
        """
        if not state.user_id:
            return Judgement(Outcome.GUEST)
        if self.histories.is_late(state):
            return Judgement(Outcome.LATE)
        before = self._before(state)
        if state.kind in UNCOUNTED_KINDS:
            return Judgement(Outcome.UNWANTED)
        row = self._rows.get(state.product_id, -1)
        if row in before.masked:
            return Judgement(Outcome.MASKED)
        known = row in self._seen
        by_version = version is not None and before.window is not None and bool(before.window.lengths[0])
        out = np.array([other for other in before.came if other != row], np.int32)
        out = np.concatenate([before.masked, out, self._rows_unseen()])
        trending = self._ranking(served_scores(None, None, self), out, row if known else None)
        learned = trending
        if by_version:
            learned = self._ranking(served_scores(version, before.window, self), out, row if known else None)
        return Judgement(Outcome.JUDGED if known else Outcome.UNKNOWN, learned, trending, by_version)

    def apply(self, state: StateVector) -> None:
        """Let an event count for all that follow; whoever judges it does so before."""
        row = self.row_of(state.product_id)
        if state.user_id:
            self.histories.apply(state, row)
        self._trending.add(row, state.kind, state.event_time_ms)
        self._shares = None
        if row not in self._seen:
            self._seen.add(row)
            self._unseen = None
        day = self._days.get(state.user_id)
        if day is not None and day.event_time_ms == state.event_time_ms and state.kind not in UNCOUNTED_KINDS:
            day.came.append(row)

    def _before(self, state: StateVector) -> _Before:
        t = state.event_time_ms
        whole_day = t % DAY_MS == 0
        if whole_day and t > self._newest_day_ms:
            self._newest_day_ms = t
            self._days.clear()
        before = self._days.get(state.user_id) if whole_day else None
        if before is not None and before.event_time_ms == t:
            return before
        user = self.histories.row(state.user_id)
        before = _Before(
            t,
            None if user is None else self.histories.window(user, before_ms=t if whole_day else None),
            np.zeros(0, np.int32) if user is None else self.histories.masked(user),
        )
        if whole_day:
            self._days[state.user_id] = before
        return before

    def _ranking(self, values: NDArray[np.float32], out: NDArray[np.int32], row: int | None) -> Ranking:
        """What `values`, which are changed, say once the rows of `out` are out of the running."""
        ranking.mask(values, out)
        top = ranking.top_k(values, TOP)
        bits = -float(np.log2(self.shares()[top]).mean()) if len(top) else float("nan")
        return Ranking(float("inf") if row is None else ranking.rank(values, row), top, bits)

    def _rows_unseen(self) -> NDArray[np.int32]:
        if self._unseen is None:
            self._unseen = np.array([row for row in range(len(self._rows)) if row not in self._seen], np.int32)
        return self._unseen
