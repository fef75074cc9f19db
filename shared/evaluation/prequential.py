"""Prequential judging: before a user's event is applied, where did each policy rank the product really chosen?

Pure: no log, and no clock but one passed in. What is ranked is what is served: the same scores, the same mask, ties at
half.

A state whose event time is a whole day, as in SNAP's data, is predicted from the user's history and mask as they
stood when that day began, since the order within a day is not known: the user's products of one day are a set of right
answers. Those of the set that came already are left out of the ranking, since they are no wrong answers.
Popularity is what all events before this one made it. States with finer times are judged one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.model import ranking
from shared.model.candidates import rerank
from shared.model.served import FloatArray, Scores, served_scores
from shared.model.single_experts import SINGLE_EXPERTS, single_places
from shared.pb.freshet.v1.events_pb2 import Product, StateVector
from shared.state.histories import UNCOUNTED_KINDS, Window
from shared.state.stream import Seen, Stream

TOP = 10  # products of one answer


class Outcome(Enum):
    """What became of an event."""

    JUDGED = "judged"
    UNKNOWN = "unknown"  # judged, and a miss for every policy: nothing was known of the product before
    MASKED = "masked"  # not judged: nobody could have recommended the product to this user again
    GUEST = "guest"  # not judged: nobody's history goes on
    LATE = "late"  # not judged: the user's history holds what came after it
    UNWANTED = "unwanted"  # not judged: its kind does not say that the user wanted the product


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one policy would have answered."""

    place: float  # of the product really chosen, 1 is best; infinite where it was not ranked
    top: NDArray[np.int64]  # rows of the best products, best first, at most as many as one answer holds
    bits: float  # self-information of these, -log2 of their share of popularity, on average; NaN where there are none
    seconds: float = 0.0  # what the ranking took, by the clock passed in


@dataclass(frozen=True, slots=True)
class Judgement:
    """One event, judged or not."""

    outcome: Outcome
    rankings: tuple[Ranking, ...] = ()  # one of each policy, in their order; empty where it was not judged
    experts: tuple[float, ...] = ()  # the place by each of `SINGLE_EXPERTS` alone, where these were judged, too
    has_history: bool = False  # whether the user had any; without, trending answers
    question: int = -1  # counted from 0; the same for all of one user's whole day
    again: bool = False  # whether the product is one of the day's set that came already
    user_events: int = 0  # of the user before the question
    user_newest_ms: int = 0  # the latest of them

    @property
    def is_judged(self) -> bool:
        """Whether policies were asked."""
        return self.outcome in (Outcome.JUDGED, Outcome.UNKNOWN)


@dataclass(slots=True)
class _Before:
    """What is known of a user before an event, or before the whole day it belongs to."""

    question: int
    event_time_ms: int
    window: Window | None
    masked: NDArray[np.int32]
    events: int = 0  # of the user
    newest_ms: int = 0  # the latest of them
    came: list[int] = field(default_factory=list)  # products of the day so far


class Prequential:
    """Judges by what a stream knows, and applies each event to it afterwards.

    Args:
        stream: nobody else applies events to it; its content places listed products that have few events. Later
            listings go to `known.products`.
        top: products of one answer.
        seed: breaks ties among them; places don't depend on it.
        clock: seconds, for what a ranking takes.
        listings: products that the shop says it has; others are known from their first event.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        top: int = TOP,
        seed: int = 0,
        clock: Callable[[], float] = lambda: 0.0,
        listings: Iterable[Product] = (),
    ) -> None:
        self.stream = stream
        self.known = stream.known
        self._products = stream.known.products
        self._top = top
        self._seed = seed
        self._clock = clock
        self._to_list = sorted(listings, key=_listed_ms, reverse=True)  # those still to come
        self._days: dict[str, _Before] = {}  # user_id → the whole day that goes on
        self._newest_day_ms = 0
        self._questions = 0
        self._judged = 0

    def judge(
        self, state: StateVector, policies: Sequence[Scores | None], experts: FloatArray | None = None
    ) -> Judgement:
        """Rank the whole catalogue as each policy would have answered just before this event; None: trending.

        Of the event, only the user, the product, the kind and the time are read.

        Args:
            experts: weights of the tally's experts, (C, E), each of which is judged alone beside the policies; None:
                they are not.
        """
        if not state.user_id:
            return Judgement(Outcome.GUEST)
        if self.known.histories.is_late(state):
            return Judgement(Outcome.LATE)
        self._list(state.event_time_ms)
        before = self._before(state)
        if state.kind in UNCOUNTED_KINDS:
            return Judgement(Outcome.UNWANTED)
        row = self._products.rows.get(state.product_id, -1)
        if row in before.masked:
            return Judgement(Outcome.MASKED)
        known = row >= 0 and self._products.is_seen(row)
        came = np.array([other for other in before.came if other != row], np.int32)
        out = np.concatenate([before.masked, came, self._products.not_recommended()])
        window = before.window if before.window is not None and before.window.lengths[0] else None
        chosen = row if known else None
        trending: Ranking | None = None
        rankings = []
        for policy in policies:
            if policy is None:
                trending = trending or self._ranking(None, None, out, chosen)
                rankings.append(trending)
            else:
                rankings.append(self._ranking(policy, window, out, chosen))
        self._judged += 1
        return Judgement(
            Outcome.JUDGED if known else Outcome.UNKNOWN,
            tuple(rankings),
            () if experts is None else self._places_by_experts(experts, window, out, chosen),
            has_history=window is not None,
            question=before.question,
            again=row in before.came,
            user_events=before.events,
            user_newest_ms=before.newest_ms,
        )

    def apply(self, state: StateVector) -> Seen:
        """Apply an event to all that is known; judge it before."""
        self._list(state.event_time_ms)
        seen = self.stream.apply(state)
        self._note_of_day(state, seen.product)
        return seen

    def follow(self, state: StateVector) -> None:
        """Apply an event to its user's history and mask, and to nothing else: learning has stopped.

        Products that had no event when it stopped stay unknown, and nobody's history holds them.
        """
        row = self._products.find(state.product_id)
        if row is None or not self._products.is_seen(row):
            return
        self.known.apply_to_history(state, row)
        self._note_of_day(state, row)

    def _list(self, event_time_ms: int) -> None:
        """Know the products that are listed by then."""
        while self._to_list and _listed_ms(self._to_list[-1]) <= event_time_ms:
            self._products.upsert(self._to_list.pop())

    def _note_of_day(self, state: StateVector, row: int) -> None:
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
        histories = self.known.histories
        user = histories.row(state.user_id)
        if user is None:
            before = _Before(self._questions, t, None, np.zeros(0, np.int32))
        else:
            window = histories.window(user, before_ms=t if whole_day else None, now_ms=t)
            counts = histories.events(user), histories.newest_ms(user)
            before = _Before(self._questions, t, window, histories.masked(user), *counts)
        self._questions += 1
        if whole_day:
            self._days[state.user_id] = before
        return before

    def _ranking(
        self, policy: Scores | None, window: Window | None, out: NDArray[np.int32], row: int | None
    ) -> Ranking:
        """How a policy ranks once the rows of `out` are masked."""
        start = self._clock()
        values = served_scores(policy, window, self.known, self._products.content)
        ranking.mask(values, out)
        if policy is not None:
            rerank(policy.ranker, self.known, window, policy.mixture, values)
        top = top_at_random(values, self._top, self._seed, self._judged)
        seconds = self._clock() - start
        bits = -float(np.log2(self.known.shares()[top]).mean()) if len(top) else float("nan")
        return Ranking(float("inf") if row is None else ranking.rank(values, row), top, bits, seconds)

    def _places_by_experts(
        self, weights: FloatArray, window: Window | None, out: NDArray[np.int32], row: int | None
    ) -> tuple[float, ...]:
        if row is None:
            return (float("inf"),) * len(SINGLE_EXPERTS)
        return tuple(single_places(self.known, window, weights, len(self._products), row, out).tolist())


def top_at_random(values: NDArray[np.float32], k: int, seed: int, serial: int) -> NDArray[np.int64]:
    """Rows of the best `k` products, best first, masked ones never; equal scores in an order drawn for this answer.

    By row the oldest products would come first. The order follows from the seed and the answer's number alone, so one
    policy's ties don't depend on another's.
    """
    best = ranking.top_k(values, k)
    if not len(best):
        return best
    scores = values[best]
    tied = np.flatnonzero(values >= scores[-1])  # all that tie with the last place
    if len(tied) == len(best) and (scores[1:] < scores[:-1]).all():
        return best
    drawn = _mixed(tied.astype(np.uint64), seed, serial)
    order: NDArray[np.int64] = tied[np.lexsort((drawn, -values[tied]))][:k]
    return order


def _mixed(numbers: NDArray[np.uint64], seed: int, serial: int) -> NDArray[np.uint64]:
    """A pseudo-random number for each: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    salt = np.uint64((seed * 0x9E3779B97F4A7C15 + serial * 0xD1342543DE82EF95) % 2**64)
    z = numbers * np.uint64(0x9E3779B97F4A7C15) + salt
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return result


def _listed_ms(product: Product) -> int:
    """When it was listed, ms; 0, from the beginning, where that is not said."""
    return product.listed_ms if product.HasField("listed_ms") else 0
