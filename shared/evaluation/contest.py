"""Policies side by side on one stream: each event is judged, then learned, by all. Pure, but for a clock passed in.

`Contest` runs them, `JudgedEvents` keeps what they answered, and `campaign` plans the paid reviews that a stream may be
given to see which policies they impress.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.content.new_products import Content, ContentSettings
from shared.evaluation.prequential import Judgement, Prequential, Ranking
from shared.model.single_experts import SINGLE_EXPERTS
from shared.numeric.arrays import grown
from shared.pb.freshet.v1.events_pb2 import (
    EVENT_KIND_RATING,
    EVENT_KIND_REVIEW,
    EVENT_KIND_TICK,
    Event,
    Product,
    StateVector,
)
from shared.policies.contract import Policy, Progress
from shared.policies.registry import make
from shared.process.errors import Unusable
from shared.state.histories import USER_CLASSES, user_class
from shared.state.shop import StreamSettings
from shared.state.stream import Stream

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

# Paid reviews: `source` of every such event, which is learned from and never judged, and their text.
SOURCE = "spam"
TEXT = "Best product ever! Excellent quality, works perfectly, I love it. Highly recommended, buy it now!"
# The share of the products that they praise, and how many of these each reviewer praises at most.
PROMOTED_SHARE = 0.01
PRAISES = 5
# Praised products are taken from those known after this share of the stream, and praised later.
_KNOWN_BY = 0.25

Options = Mapping[str, Mapping[str, Any]]  # policy → keyword arguments of its constructor


class Contest:
    """One run of some policies on one stream.

    Args:
        names: the policies.
        settings: the same for all of them.
        events: that will be judged, at most.
        clock: seconds, for what policies take.
        tell: is called with the progress of a policy that takes long to fit.
        listings: products that the shop says it has; others are known from their first event.
        content: gives listed products that have few events a place; None: nothing does.
    """

    def __init__(
        self,
        names: Sequence[str],
        settings: StreamSettings,
        seed: int,
        events: int,
        *,
        options: Options | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        tell: Callable[[str], None] = lambda _: None,
        listings: Iterable[Product] = (),
        content: ContentSettings | None = None,
    ) -> None:
        self.stream = Stream(settings, None if content is None else Content(content))
        self.prequential = Prequential(self.stream, top=MOST, seed=seed, clock=clock, listings=listings)
        self.failures: dict[str, str] = {}  # policy → why it could not go on
        self.updates = 0  # events learned from
        self.users = 0  # whose these were
        self.learn_seconds = dict.fromkeys(names, 0.0)
        self._clock = clock
        self._tell = tell
        self.policies: dict[str, Policy] = {
            name: self._made(name, seed, (options or {}).get(name, {})) for name in names
        }
        # Of the policy whose mixture they are in, the tally's experts are judged alone, too.
        self._mixing = next((policy for policy in self.policies.values() if policy.mixture is not None), None)
        self.record = JudgedEvents(names, events, "" if self._mixing is None else self._mixing.name)

    def judge(self, state: StateVector, later: Sequence[str] | None = None) -> None:
        """Have every policy rank an event, and keep what it answers; spam is not judged.

        Args:
            later: products that the user chose after this one in the session, in order; None: that is not measured.
        """
        if state.source == SOURCE or state.kind == EVENT_KIND_TICK:
            return
        policies = [None if name in self.failures else policy for name, policy in self.policies.items()]
        mixture = None if self._mixing is None else self._mixing.mixture
        judgement = self.prequential.judge(state, policies, mixture)
        row = self.stream.rows.get(state.product_id, -1)
        self.record.grow_to(len(self.stream.products))
        rows = None if later is None else [self.stream.rows.get(product, -1) for product in later]
        self.record.note(state, judgement, row, rows)

    @property
    def learns_sequences(self) -> frozenset[str]:
        """Policies that can learn from whole sequences at once."""
        return frozenset(name for name, policy in self.policies.items() if policy.fit_sequences is not None)

    def learn(self, state: StateVector, *, but: Container[str] = ()) -> None:
        """Apply an event, and have all policies `but` some learn from it."""
        seen = self.prequential.apply(state)
        self.updates += 1
        self.users = len(self.stream.histories.users)
        self.record.applied(seen.product)
        for name, policy in self.policies.items():
            if name not in but:
                self._timed(name, partial(policy.learn, seen))

    def _made(self, name: str, seed: int, options: Mapping[str, Any]) -> Policy:
        """A policy. That it looks at events before they are applied takes time, too, and may fail."""
        looks = self.stream.on_each
        before = len(looks)
        policy = make(name, self.stream, seed, **options)
        looks[before:] = [partial(self._have_look, name, look) for look in looks[before:]]
        return policy

    def _have_look(self, name: str, look: Callable[[StateVector], object], state: StateVector) -> None:
        self._timed(name, partial(look, state))

    def follow(self, state: StateVector) -> None:
        """Apply an event to its user's history alone."""
        self.prequential.follow(state)

    def learn_sequences(self, sequences: Sequence[Sequence[int]], validation: Sequence[int] | None) -> None:
        """Have the policies that can do so learn from whole sequences.

        Args:
            sequences: rows of each user's products, oldest first, all of which the stream has applied.
            validation: the row of what each user chose next, to choose by and not to learn; -1: there is none.
        """
        arrays = [np.array(products, np.int32) for products in sequences]
        for name, policy in sorted(self.policies.items()):
            if policy.fit_sequences is not None:
                tell = partial(self._show_pass, name)
                self._timed(name, partial(policy.fit_sequences, arrays, validation, tell))

    def refit(self, *, but: Container[str] = ()) -> None:
        """Have the policies that are fitted at fixed points, `but` some, fit."""
        for name, policy in self.policies.items():
            if policy.fitted == "at fixed points" and name not in but:
                self._timed(name, policy.refit)

    def _show_pass(self, name: str, progress: Progress) -> None:
        self._tell(f"{name}: pass {progress.done} of at most {progress.most}")

    def _timed(self, name: str, work: Callable[[], object]) -> None:
        if name in self.failures:
            return
        start = self._clock()
        try:
            work()
        except Unusable as error:
            self.failures[name] = str(error)
        self.learn_seconds[name] += self._clock() - start


@dataclass(frozen=True, slots=True)
class Answers:
    """What one policy answered to N judged events, and what it showed of A products."""

    place: NDArray[np.float32]  # (N,) infinite: a miss
    bits: NDArray[np.float32]  # (N,) self-information of the answer; NaN: nothing was answered
    in_set: NDArray[np.bool_]  # (N, K) among the first k of what was answered when its question was first asked
    seconds: NDArray[np.float32]  # (N,) that the ranking took
    session_gain: NDArray[np.float32]  # (N,) see `session_ndcg`; NaN where it was not asked what came later
    recommended: NDArray[np.int64]  # (A,) how often among the first `POPULAR_TOP`
    covered: NDArray[np.bool_]  # (K, A) among the first k at least once


class JudgedEvents:
    """Judged events, and beside each what every policy answered.

    Args:
        policies: names, in the order in which judgements hold their rankings.
        most: judged events at most.
        mixing: the policy whose experts are judged alone, too; empty: none are.
    """

    def __init__(self, policies: Sequence[str], most: int, mixing: str = "") -> None:
        p = len(policies)
        self.policies = tuple(policies)
        self.mixing = mixing
        self.users: list[str] = []  # number → user_id
        self.unknown = 0  # judged events on products never seen before
        self.not_judged: dict[str, int] = {}  # outcome → events
        self.size = 0
        self._products = 0
        self._pending: int | None = None  # the event that was judged last and not applied yet
        self._user_of: dict[str, int] = {}
        self._events: dict[str, NDArray[Any]] = {name: np.zeros(most, dtype) for name, dtype in _EVENT_COLUMNS.items()}
        self._place = np.full((most, p), np.inf, np.float32)
        self._experts = np.full((most if mixing else 0, len(SINGLE_EXPERTS)), np.inf, np.float32)
        self._bits = np.full((most, p), np.nan, np.float32)
        self._in_set = np.zeros((most, p, len(KS)), np.bool_)
        self._seconds = np.zeros((most, p), np.float32)
        self._session_gain = np.full((most, p), np.nan, np.float32)
        self._product_events = np.zeros(1024, np.int64)  # (A,) of all applied events
        self._recommended = np.zeros((p, 1024), np.int64)  # (P, A) places among the first `POPULAR_TOP`
        self._covered = np.zeros((p, len(KS), 1024), np.bool_)  # (P, K, A) among the first k at least once
        self._first: dict[int, list[NDArray[np.int64]]] = {}  # question → what each policy answered when first asked
        self._day_ms = 0  # of these questions

    def note(self, state: StateVector, judgement: Judgement, row: int, later: Sequence[int] | None = None) -> None:
        """Count one event, judged or not, before it is applied.

        Args:
            row: the product's, -1 where it has none.
            later: rows of what the user chose later in the session; None: that is not measured.
        """
        self._pending = None
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
        if self.mixing:
            self._experts[n] = judgement.experts
        first = self._first_answers(state.event_time_ms, judgement)
        for p, ranked in enumerate(judgement.rankings):
            self._note_ranking(n, p, ranked)
            if later is not None:
                self._session_gain[n, p] = session_ndcg(ranked.top[:MOST], [row, *later])
            place = np.flatnonzero(first[p] == row)
            if len(place):
                self._in_set[n, p] = [place[0] < k for k in KS]
        self._pending = n
        self.size += 1

    def applied(self, row: int) -> None:
        """Count an event of the product that was applied, whether it was judged or not."""
        if self._pending is not None:
            self._events["product"][self._pending] = row
            self._pending = None
        self.grow_to(row + 1)
        self._product_events[row] += 1

    @property
    def events(self) -> dict[str, NDArray[Any]]:
        """What is known of each judged event, (N,) each."""
        return {name: column[: self.size] for name, column in self._events.items()}

    @property
    def experts(self) -> NDArray[np.float32]:
        """The place by each of `SINGLE_EXPERTS` alone, (N, S); (0, S) where they were not judged."""
        return self._experts[: self.size]

    @property
    def product_events(self) -> NDArray[np.int64]:
        """Events applied of each product, (A,)."""
        return self._product_events[: self._products]

    def answers(self, policy: str) -> Answers:
        """What one policy answered."""
        p, n, a = self.policies.index(policy), self.size, self._products
        return Answers(
            self._place[:n, p],
            self._bits[:n, p],
            self._in_set[:n, p],
            self._seconds[:n, p],
            self._session_gain[:n, p],
            self._recommended[p, :a],
            self._covered[p, :, :a],
        )

    def _note_ranking(self, n: int, p: int, ranked: Ranking) -> None:
        self._place[n, p] = ranked.place
        self._bits[n, p] = ranked.bits
        self._seconds[n, p] = ranked.seconds
        self._recommended[p, ranked.top[:POPULAR_TOP]] += 1
        for i, k in enumerate(KS):
            self._covered[p, i, ranked.top[:k]] = True

    def _first_answers(self, event_time_ms: int, judgement: Judgement) -> list[NDArray[np.int64]]:
        if event_time_ms != self._day_ms:
            self._day_ms = event_time_ms
            self._first.clear()
        return self._first.setdefault(judgement.question, [ranked.top for ranked in judgement.rankings])

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


def session_ndcg(top: NDArray[np.int64], chosen: Sequence[int]) -> float:
    """NDCG of one answer where all that the user chose from now on in the session is right.

    As first defined (Järvelin & Kekäläinen 2002, base 2): the first two places count whole, place i > 2 counts
    1 / log2(i). Serenade's published figure is this one. The ideal has each choice, a product chosen twice both times.

    Args:
        top: (k,) rows, best first.
        chosen: rows, the next one first; -1: a product not known.
    """
    gains = 1.0 / np.log2(np.maximum(2, np.arange(1, MOST + 1)))  # (MOST,)
    return float(gains[: len(top)] @ np.isin(top, chosen) / gains[: len(chosen)].sum())


@dataclass(frozen=True, slots=True)
class Campaign:
    """Paid reviews: before which event of the stream each comes, in order, and the products that they praise."""

    events: list[tuple[int, Event]]
    promoted: list[str]


def campaign(stream: Sequence[StateVector], share: float, rng: np.random.Generator) -> Campaign:
    """The reviews of as many paid reviewers as `share` of the stream's users, over its later three quarters.

    They praise the same few unpopular products, each with five stars and the same words, all within one moment, as the
    groups found on Amazon did (Mukherjee et al., WWW 2012).
    """
    counts = Counter(event.product_id for event in stream)
    first = int(len(stream) * _KNOWN_BY)
    early = sorted({event.product_id for event in stream[:first]}, key=lambda product: (counts[product], product))
    unpopular = early[: (len(early) + 1) // 2]
    reviewers = round(share * len({event.user_id for event in stream if event.user_id}))
    if not unpopular or not reviewers:
        return Campaign([], [])
    most = min(len(unpopular), max(1, round(PROMOTED_SHARE * len(counts))))
    promoted = [unpopular[i] for i in rng.choice(len(unpopular), most, replace=False)]
    kind = Counter(event.kind for event in stream).most_common(1)[0][0]
    events: list[tuple[int, Event]] = []
    for number, place in enumerate(np.sort(rng.integers(first, len(stream), reviewers)).tolist()):
        praised = rng.choice(len(promoted), min(PRAISES, len(promoted)), replace=False)
        for product in praised.tolist():
            event = Event(
                kind=kind,
                user_id=f"{SOURCE}-{number:07}",
                product_id=promoted[product],
                event_time_ms=stream[place].event_time_ms,
                source=SOURCE,
                sequence=len(events) + 1,
            )
            if kind in (EVENT_KIND_REVIEW, EVENT_KIND_RATING):
                event.rating = 5.0
            if kind == EVENT_KIND_REVIEW:
                event.text = TEXT
            events.append((place, event))
    return Campaign(events, promoted)
