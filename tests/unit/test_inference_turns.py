"""Turns on the event loop: in order, one at a time, and refused where the wait is known to be too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from services.inference.turns import BURST_SECONDS, FEW, LEAST_LOOPS, MOST_LOOPS, RECENT_SECONDS, Turns

TURN_SECONDS = 0.001


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(work: Callable[[Clock], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(Clock()), 20))


class Callers:
    """Calls that each compute for `TURN_SECONDS` once it is their turn."""

    def __init__(self, turns: Turns, clock: Clock) -> None:
        self.turns = turns
        self._clock = clock
        self.order: list[int] = []

    async def call(self, n: int) -> None:
        await self.turns.take()
        self.order.append(n)
        self._clock.now += TURN_SECONDS

    def start(self, *numbers: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.call(n)) for n in numbers]


def test_the_first_goes_at_once_and_the_others_one_by_one_in_order() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(Turns(1.0, clock), clock)
        tasks = callers.start(*range(6))
        await asyncio.sleep(0)
        assert callers.order == [0]
        loops = 0
        while len(callers.order) < 6:
            before = len(callers.order)
            await asyncio.sleep(0)
            assert len(callers.order) - before <= 1
            loops += 1
        assert loops >= 5 * LEAST_LOOPS, "between two turns what gRPC holds is taken in"
        assert callers.order == list(range(6))
        await asyncio.gather(*tasks)

    run(work)


def test_what_comes_meanwhile_is_taken_in_before_the_next_turn_for_a_bounded_time() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(Turns(1.0, clock), clock)
        tasks = callers.start(0, 1)
        await asyncio.sleep(0)
        loops = 0
        while callers.order == [0]:
            callers.turns.refuses()  # one comes in every loop
            await asyncio.sleep(0)
            loops += 1
        assert MOST_LOOPS - 2 <= loops <= MOST_LOOPS + 2
        await asyncio.gather(*tasks)

    run(work)


def test_one_that_comes_later_to_an_empty_queue_goes_at_once() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(Turns(1.0, clock), clock)
        for n in range(3):
            [task] = callers.start(n)
            await asyncio.sleep(0)
            assert callers.order[-1] == n
            await task
            for _ in range(3):
                await asyncio.sleep(0)

    run(work)


def test_one_whose_caller_went_away_holds_up_nobody() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(Turns(1.0, clock), clock)
        tasks = callers.start(0, 1, 2)
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert callers.order == [0, 2]
        assert callers.turns.wait_seconds == 0.0

    run(work)


@pytest.mark.parametrize(
    ("waiting", "since_empty", "refused"),
    [
        (FEW - 1, 9.0, False),
        (5, 9.0, False),  # 5 ms, the limit is half a one more
        (6, 9.0, True),
        (6, RECENT_SECONDS / 2, False),  # a burst
        (round(BURST_SECONDS / TURN_SECONDS) - 1, RECENT_SECONDS / 2, False),
        (round(BURST_SECONDS / TURN_SECONDS) + 1, RECENT_SECONDS / 2, True),
    ],
)
def test_who_would_wait_too_long_is_refused_but_for_a_burst(waiting: int, since_empty: float, refused: bool) -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(Turns(0.0055, clock), clock)
        await asyncio.gather(*callers.start(*range(10)))  # so long does a turn take
        for _ in range(3):
            await asyncio.sleep(0)
        tasks = callers.start(*range(waiting + 1))  # the first has its turn
        await asyncio.sleep(0)
        clock.now += since_empty - TURN_SECONDS
        assert callers.turns.wait_seconds == pytest.approx(waiting * TURN_SECONDS)
        assert callers.turns.refuses() is refused
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(work)


def test_one_slow_turn_is_no_sign() -> None:
    async def work(clock: Clock) -> None:
        turns = Turns(0.0055, clock)
        callers = Callers(turns, clock)
        await asyncio.gather(*callers.start(*range(10)))
        tasks = callers.start(*range(5))
        await asyncio.sleep(0)
        clock.now += 10.0
        while len(callers.order) < 12:
            await asyncio.sleep(0)
        assert turns.wait_seconds < 3 * 2 * TURN_SECONDS
        await asyncio.gather(*tasks)

    run(work)
