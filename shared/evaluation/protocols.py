"""In which order events are judged and learned. Pure.

prequential: test, then learn, from the first event to the last, or from a moment on, before which events are only
learned; policies that are fitted at fixed points are so `REFITS` times, the same for all.

temporal: learn up to a moment, then judge all that follows and learn no more. Users' histories and masks go on, as they
would before a served version that nobody trains; popularity stands still, and products that came later are misses.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from shared.evaluation.contest import Contest
from shared.pb.freshet.v1.events_pb2 import StateVector

REFITS = 20
LEARNED_SHARE = 0.8  # of the events, in the temporal protocol
VALIDATION_SHARE = 0.1  # the last part of what is learned, on which settings are chosen

Look = Callable[[int], None]  # hears how many events are done


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


def refit_points(events: int) -> frozenset[int]:
    """Before which events policies are fitted: `REFITS` evenly spread ones, none of them the first."""
    return frozenset(events * point // (REFITS + 1) for point in range(1, REFITS + 1)) - {0}


def moment_at(states: Sequence[StateVector], share: float) -> int:
    """When about a share of the events was over, ms: none of that moment is learned, so no day is cut in two."""
    return states[min(len(states) - 1, int(len(states) * share))].event_time_ms
