"""Doing things at given moments without spinning: on few cores a client that spins takes them from what is measured."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence


async def when_due(due: Sequence[float], act: Callable[[int, float], None]) -> None:
    """Call `act` on this loop with each one's number and when it was due, by `time.perf_counter`.

    A thread sleeps in between: a loop's own timers count milliseconds.

    Args:
        due: seconds from now, ascending.
    """
    loop, start = asyncio.get_running_loop(), time.perf_counter()

    def act_on(first: int, end: int) -> None:
        for number in range(first, end):
            act(number, start + due[number])

    def wake() -> None:
        number = 0
        while number < len(due):
            time.sleep(max(0.0, start + due[number] - time.perf_counter()))
            end = bisect_right(due, time.perf_counter() - start, number + 1)
            loop.call_soon_threadsafe(act_on, number, end)
            number = end

    await asyncio.to_thread(wake)
