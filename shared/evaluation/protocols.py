"""In which order events are judged and learned. Pure.

prequential: test, then learn, from the first event to the last; policies that are fitted at fixed points are so
`REFITS` times, the same for all.

temporal: learn up to a moment, then judge all that follows and learn no more. Users' histories and masks go on, as they
would before a served version that nobody trains; popularity stands still, and products that came later are misses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.evaluation.contest import Contest
from shared.pb.freshet.v1.events_pb2 import StateVector

REFITS = 20
LEARNED_SHARE = 0.8  # of the events, in the temporal protocol
VALIDATION_SHARE = 0.1  # the last part of what is learned, on which settings are chosen

Look = Callable[[int], None]  # hears how many events are done


def prequential(contest: Contest, states: Sequence[StateVector], look: Look = lambda _: None) -> None:
    """Judge each event, then learn it."""
    points = refit_points(len(states))
    for place, state in enumerate(states):
        if place in points:
            contest.refit()
        contest.judge(state)
        contest.learn(state)
        look(place + 1)


def temporal(contest: Contest, states: Sequence[StateVector], split: int, look: Look = lambda _: None) -> None:
    """Learn the events before `split`, then judge the others."""
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


def split_at(states: Sequence[StateVector], share: float) -> int:
    """The place of the first event not learned when about a share is: no moment is cut in two, so no day is."""
    place = min(len(states) - 1, int(len(states) * share))
    while place > 0 and states[place - 1].event_time_ms == states[place].event_time_ms:
        place -= 1
    return place
