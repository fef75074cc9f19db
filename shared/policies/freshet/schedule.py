"""When gradient steps are taken: a pure function of how many transitions there were, so that every run agrees."""

from __future__ import annotations

import math

# A step every so many-th part of the transitions so far, between the two bounds that settings give.
SHARE = 1000


def steps_after(transitions: int, first: int, most: int) -> int:
    """The gradient steps due once there were so many transitions.

    A step comes every n / `SHARE` transitions, at least every `first` and at most every `most`. A young shop's few
    transitions are each learned from many times; of a busy one's millions each is learned from a few times, so that a
    step's time does not decide how many events a second can be learned from.

    Args:
        first: transitions per step at first.
        most: transitions per step later, no less than `first`.
    """
    early, late = first * SHARE, most * SHARE
    steps = min(transitions, early) / first
    if transitions > early:
        steps += SHARE * math.log(min(transitions, late) / early)
    if transitions > late:
        steps += (transitions - late) / most
    return int(steps)
