"""In which order events are judged and learned. Pure.

prequential: test, then learn, from the first event to the last, or from a moment on, before which events are only
learned. Policies that are fitted at fixed points are fitted `REFITS` times, at the same events for all.

temporal: learn up to a moment, then judge all that follows and learn no more. Users' histories and masks go on, as they
would with a served version that nobody trains; popularity stands still, and products that came later are misses.

split: learn one file, then judge another one and learn no more, as published figures of sessions do. A user's first
event is not judged, since nothing is known of the user then. One of the metrics counts all that the user chose from
then on as right, see `shared.evaluation.contest.session_ndcg`.

leave-one-out: learn from all but each user's last products, then rank the whole catalogue for the last one. It leaks:
what a user did late is learned before others' earlier last products are asked for (Ji et al., 2010.11060). It is here
only to be compared with published figures, which come in two variants that must not be mixed:
- strict: learned from all but each user's last two; the last but one, by which settings are chosen, is in the history;
- all-but-last: learned from all but the last, which is what a stream would know.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal

from shared.evaluation.contest import Contest
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.state.histories import UNSAID

Variant = Literal["strict", "all-but-last"]
VARIANTS: tuple[Variant, ...] = ("strict", "all-but-last")

REFITS = 20
LEARNED_SHARE = 0.8  # of the events, in the temporal protocol
VALIDATION_SHARE = 0.1  # the last part of what is learned, by which settings are chosen

# A user with fewer products is not judged in leave-one-out, and all of them are learned.
LEAST_PRODUCTS = 3
# A sequence has no times. Its events get times from their places alone, an hour apart, none of which is a whole day.
_START_MS = 1_000_000_000_001
_STEP_MS = 3_600_000

Look = Callable[[int], None]  # is called with how many events are done


def prequential(
    contest: Contest, states: Sequence[StateVector], look: Look = lambda _: None, *, from_ms: int = 0
) -> None:
    """Judge each event from `from_ms` on, then learn it."""
    points = refit_points(len(states))
    for place, state in enumerate(states):
        if place in points:
            contest.refit()
        if state.event_time_ms >= from_ms:
            contest.judge(state)
        contest.learn(state)
        look(place + 1)


def temporal(contest: Contest, states: Sequence[StateVector], moment_ms: int, look: Look = lambda _: None) -> None:
    """Learn the events before a moment, then judge the others."""
    split = bisect_left(states, moment_ms, key=lambda state: state.event_time_ms)
    for place, state in enumerate(states[:split]):
        contest.learn(state)
        look(place + 1)
    contest.refit()
    for place, state in enumerate(states[split:], start=split):
        contest.judge(state)
        contest.follow(state)
        look(place + 1)


def split(contest: Contest, states: Sequence[StateVector], look: Look = lambda _: None, *, learned: int) -> None:
    """Learn the first so many events, then judge those of the others whose user did something before."""
    for place, state in enumerate(states[:learned]):
        contest.learn(state)
        look(place + 1)
    contest.refit()
    came = {state.user_id for state in states[:learned]}
    to_come: dict[str, list[str]] = {}  # user → products, the next one last
    for state in reversed(states[learned:]):
        to_come.setdefault(state.user_id, []).append(state.product_id)
    for place, state in enumerate(states[learned:], start=learned):
        to_come[state.user_id].pop()
        if state.user_id in came:
            contest.judge(state, later=to_come[state.user_id][::-1])
        came.add(state.user_id)
        contest.follow(state)
        look(place + 1)


def refit_points(events: int) -> frozenset[int]:
    """Before which events policies are fitted: `REFITS` evenly spread ones, none of them the first."""
    return frozenset(events * point // (REFITS + 1) for point in range(1, REFITS + 1)) - {0}


def moment_at(states: Sequence[StateVector], share: float) -> int:
    """When about a share of the events was over, ms: none of that moment is learned, so no day is cut in two."""
    return states[min(len(states) - 1, int(len(states) * share))].event_time_ms


def leave_one_out(
    contest: Contest,
    sequences: Sequence[tuple[str, Sequence[str]]],
    variant: Variant,
    look: Look = lambda _: None,
) -> None:
    """Learn, then judge the last product of each user.

    Policies that can learn whole sequences do so; all others learn the same events one by one, as from a stream, every
    user's first before anyone's second.

    Args:
        contest: whose popularity should not decay, since there are no times.
        sequences: user and products, oldest first.
    """
    kept = 2 if variant == "strict" else 1
    learned = [products[:-kept] if len(products) >= LEAST_PRODUCTS else products for _, products in sequences]
    fit_at_once = contest.learns_sequences
    done = 0
    for step in range(max(map(len, learned), default=0)):
        for (user, _), products in zip(sequences, learned, strict=True):
            if step < len(products):
                contest.learn(_state(user, products[step], step), but=fit_at_once)
                done += 1
                look(done)
    rows = contest.stream.rows
    judged = [(whole, products) for whole, products in zip(sequences, learned, strict=True) if whole[1] is not products]
    after = [whole[len(products) :] for (_, whole), products in zip(sequences, learned, strict=True)]
    contest.learn_sequences(
        [[rows[product] for product in products] for products in learned],
        [rows.get(rest[0], -1) if rest else -1 for rest in after] if variant == "strict" else None,
    )
    contest.refit(but=fit_at_once)
    for (user, whole), products in judged:
        for step in range(len(products), len(whole) - 1):
            contest.follow(_state(user, whole[step], step))
        contest.judge(_state(user, whole[-1], len(whole) - 1))
        done += kept
        look(done)


def _state(user: str, product: str, step: int) -> pb.StateVector:
    return pb.StateVector(
        user_id=user,
        product_id=product,
        kind=pb.EVENT_KIND_REVIEW,
        event_time_ms=_START_MS + step * _STEP_MS,
        rating=3.0,
        price_scaled=0.5,
        helpfulness_scaled=0.5,
        imputed=UNSAID,
        sequence=step + 1,
    )
