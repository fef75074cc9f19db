"""What was judged: an entry for each event, and beside it what each policy would have answered. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.evaluation.prequential import Judgement, Ranking
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.process.arrays import grown
from shared.user_class import USER_CLASSES, user_class

KS = (1, 5, 10, 20)
MOST = max(KS)  # products of an answer that are looked at
POPULAR_TOP = 10  # of them, those whose popularity is looked at

_EVENT_COLUMNS = {
    "sequence": np.int64,  # of the dataset's order
    "event_time_ms": np.int64,
    "user": np.int32,  # number, in the order in which they were first judged
    "product": np.int32,  # row; -1: never seen before, nor learned after
    "user_events": np.int32,  # of the user before its question
    "product_events": np.int32,  # of the product before this one
    "user_class": np.uint8,  # place in `USER_CLASSES`
    "question": np.int32,  # the same for all of a user's whole day
    "again": np.bool_,  # the product is one of the day's set that came already
}


@dataclass(frozen=True, slots=True)
class Answers:
    """What one policy said of N judged events, and what it showed of A products."""

    place: NDArray[np.float32]  # (N,) infinite: a miss
    bits: NDArray[np.float32]  # (N,) self-information of the answer; NaN: nothing was answered
    in_set: NDArray[np.bool_]  # (N, K) among the first k of what was answered when its question was first asked
    seconds: NDArray[np.float32]  # (N,) that the ranking took
    recommended: NDArray[np.int64]  # (A,) how often among the first `POPULAR_TOP`
    covered: NDArray[np.bool_]  # (K, A) among the first k at least once


class Record:
    """Takes judged events one by one.

    Args:
        policies: names, in the order in which judgements hold their rankings.
        most: judged events at most.
    """

    def __init__(self, policies: Sequence[str], most: int) -> None:
        p = len(policies)
        self.policies = tuple(policies)
        self.users: list[str] = []  # number → user_id
        self.unknown = 0  # judged events on products never seen before
        self.not_judged: dict[str, int] = {}  # outcome → events
        self.size = 0
        self._products = 0
        self._asked_of: int | None = None  # the event that was judged last and not applied yet
        self._user_of: dict[str, int] = {}
        self._events: dict[str, NDArray[Any]] = {name: np.zeros(most, dtype) for name, dtype in _EVENT_COLUMNS.items()}
        self._place = np.full((most, p), np.inf, np.float32)
        self._bits = np.full((most, p), np.nan, np.float32)
        self._in_set = np.zeros((most, p, len(KS)), np.bool_)
        self._seconds = np.zeros((most, p), np.float32)
        self._product_events = np.zeros(1024, np.int64)  # (A,) of all applied events
        self._recommended = np.zeros((p, 1024), np.int64)  # (P, A) places among the first `POPULAR_TOP`
        self._covered = np.zeros((p, len(KS), 1024), np.bool_)  # (P, K, A) among the first k at least once
        self._first: dict[int, list[NDArray[np.int64]]] = {}  # question → what each policy answered when first asked
        self._day_ms = 0  # of these questions

    def note(self, state: StateVector, judgement: Judgement, row: int) -> None:
        """Count one event, judged or not, before it is applied; `row`: the product's, -1 where it has none."""
        self._asked_of = None
        if not judgement.is_judged:
            self.not_judged[judgement.outcome.value] = self.not_judged.get(judgement.outcome.value, 0) + 1
            return
        n, events = self.size, judgement.user_events
        if row < 0:
            self.unknown += 1
        known = {
            "sequence": state.sequence,
            "event_time_ms": state.event_time_ms,
            "user": self._number_of(state.user_id),
            "product": row,
            "user_events": events,
            "product_events": self._product_events[row] if row >= 0 else 0,
            "user_class": USER_CLASSES.index(user_class(events, judgement.user_newest_ms, state.event_time_ms)),
            "question": judgement.question,
            "again": judgement.again,
        }
        for name, value in known.items():
            self._events[name][n] = value
        first = self._first_answers(state.event_time_ms, judgement)
        for p, own in enumerate(judgement.rankings):
            self._note_ranking(n, p, own)
            found = np.flatnonzero(first[p] == row)
            if len(found):
                self._in_set[n, p] = [found[0] < k for k in KS]
        self._asked_of = n
        self.size += 1

    def applied(self, row: int) -> None:
        """Count an event on the product that was applied: the one just judged, or one that was not."""
        if self._asked_of is not None:
            self._events["product"][self._asked_of] = row
            self._asked_of = None
        self.grow_to(row + 1)
        self._product_events[row] += 1

    @property
    def events(self) -> dict[str, NDArray[Any]]:
        """What is known of each judged event, (N,) each."""
        return {name: column[: self.size] for name, column in self._events.items()}

    @property
    def product_events(self) -> NDArray[np.int64]:
        """Events applied of each product, (A,)."""
        return self._product_events[: self._products]

    def answers(self, policy: str) -> Answers:
        """What one policy said."""
        p, n, a = self.policies.index(policy), self.size, self._products
        return Answers(
            self._place[:n, p],
            self._bits[:n, p],
            self._in_set[:n, p],
            self._seconds[:n, p],
            self._recommended[p, :a],
            self._covered[p, :, :a],
        )

    def _note_ranking(self, n: int, p: int, own: Ranking) -> None:
        self._place[n, p] = own.place
        self._bits[n, p] = own.bits
        self._seconds[n, p] = own.seconds
        self._recommended[p, own.top[:POPULAR_TOP]] += 1
        for i, k in enumerate(KS):
            self._covered[p, i, own.top[:k]] = True

    def _first_answers(self, event_time_ms: int, judgement: Judgement) -> list[NDArray[np.int64]]:
        if event_time_ms != self._day_ms:
            self._day_ms = event_time_ms
            self._first.clear()
        return self._first.setdefault(judgement.question, [own.top for own in judgement.rankings])

    def _number_of(self, user_id: str) -> int:
        number = self._user_of.get(user_id)
        if number is None:
            number = self._user_of[user_id] = len(self.users)
            self.users.append(user_id)
        return number

    def grow_to(self, products: int) -> None:
        """Have room for so many products, with or without events."""
        self._products = max(self._products, products)
        self._product_events = grown(self._product_events, products)
        self._recommended = grown(self._recommended, products, axis=1)
        self._covered = grown(self._covered, products, axis=2)
