"""Calls that compute take turns on the event loop, and when the queue is long the next are refused.

What comes in faster than it is computed waits somewhere. Left to itself it waits inside gRPC, where nobody sees for how
long. So calls are taken in before others are computed: they wait here, in order, and how long the next one would wait
is known: the length of the queue times what a turn takes lately. Where that is too long, it is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

# What the latest turn counts in the mean, and how many times the mean it counts as at most: one slow turn is no sign.
LATEST, SLOWEST = 0.1, 4.0
# A queue that was empty within the first number of seconds is a burst, and may be as long as the second says: Maurer,
# "Fail at Scale" (ACM Queue 2015), after CoDel. One that stands is an overload, which waiting does not end.
RECENT_SECONDS, BURST_SECONDS = 0.1, 0.05
# After a refusal no queue counts as a burst for so long: refusing is what empties it.
SOBER_SECONDS = 1.0
# Of so few nobody is refused, however long a turn takes: some callers that each ask one thing after another. Where more
# than one come to each turn, the queue may be as many times shorter: the next one is there soon enough, and who waited
# less is answered earlier.
FEW = 8
# Between two turns what waits inside gRPC is taken in. A thread of its own hands over one call after the other. The
# first was handed over while the turn's call computed, and is seen within so many of the event loop's rounds;
LEAST_LOOPS = 6
# for each that follows the thread may have to be woken: after so many rounds without one nothing waits there (with six,
# what one process could not carry waited unseen for half a second; with 32, calls at half load took longer: measured).
QUIET_LOOPS = 14
# While calls come, taking them in lasts as long as this times what the turn's call computed: refusing alone helps
# nobody. gRPC refuses for less what is not taken in then.
TAKING_IN = 2.0
# By this round the turn's call has computed.
COMPUTED = 2


class Turns:
    """A queue of calls, each of which computes without a pause once it is its turn.

    Args:
        longest_seconds: one that would wait longer in a queue that stands is refused.
        clock: seconds.
    """

    def __init__(self, longest_seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turn_seconds = 0.0  # decayed mean; 0: none was measured
        self._empty_at = clock()  # when the queue was empty last
        self._refused_at = -SOBER_SECONDS
        self._came = 0  # calls since the turn began,
        self._crowd = 1.0  # and the decayed mean of how many came to one
        self._began = 0.0  # clock seconds of the turn that goes on,
        self._computed = 0.0  # and when its call had computed
        self._goes_on = False  # whether one does
        self._loops = 0  # since it began
        self._quiet_loops = LEAST_LOOPS  # without a call, after which nothing waits inside gRPC
        self._quiet = 0  # loops since the last call came

    @property
    def wait_seconds(self) -> float:
        """How long a call that came now would wait."""
        return len(self._waiting) * self._turn_seconds

    def refuses(self) -> bool:
        """A call came: whether it is refused; if not, it is to `take` its turn."""
        self._came += 1
        self._quiet, self._quiet_loops = 0, QUIET_LOOPS
        wait_seconds = self.wait_seconds
        if len(self._waiting) < FEW / max(1.0, self._crowd) or wait_seconds <= self._longest_seconds:
            return False
        now = self._clock()
        stands = now - self._empty_at > RECENT_SECONDS or now - self._refused_at < SOBER_SECONDS
        if stands or wait_seconds > BURST_SECONDS:
            self._refused_at = now
            return True
        return False

    async def take(self) -> None:
        """Return when it is the caller's turn, which lasts until its first pause."""
        if not self._goes_on:
            self._begin()
            return
        if not self._waiting:
            self._empty_at = self._clock()
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _begin(self) -> None:
        self._crowd += LATEST * (self._came - self._crowd)
        self._came = 0
        self._began, self._goes_on, self._loops = self._clock(), True, 0
        self._quiet, self._quiet_loops = 0, LEAST_LOOPS
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Once a loop: when it is time, let the next begin."""
        self._loops += 1
        self._quiet += 1
        if self._loops == COMPUTED:
            self._computed = self._clock()
        if self._quiet < self._quiet_loops and not (self._waiting and self._is_over()):
            asyncio.get_running_loop().call_soon(self._look)
            return
        self._goes_on = False
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # else its caller went away
                self._measure(self._clock() - self._began)
                self._begin()
                future.set_result(None)
                return

    def _is_over(self) -> bool:
        """Whether calls were taken in for long enough."""
        if self._loops < LEAST_LOOPS:
            return False
        return self._clock() - self._computed >= TAKING_IN * (self._computed - self._began)

    def _measure(self, seconds: float) -> None:
        mean = self._turn_seconds or seconds
        self._turn_seconds = mean + LATEST * (min(seconds, SLOWEST * mean) - mean)
