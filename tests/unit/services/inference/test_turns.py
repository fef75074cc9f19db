"""Turns on the event loop: in order, one at a time, and refused where the wait is known to be too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from services.inference.calls.admission import (
    BURST_SECONDS,
    FEW,
    LEAST_LOOPS,
    QUIET_LOOPS,
    READING,
    RECENT_SECONDS,
    SOBER_SECONDS,
    TOGETHER,
    TurnQueue,
)

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

    def __init__(self, turns: TurnQueue, clock: Clock) -> None:
        self.turns = turns
        self._clock = clock
        self.order: list[int] = []

    async def call(self, n: int) -> None:
        await self.turns.take()
        self.order.append(n)
        self._clock.now += TURN_SECONDS

    def start(self, *numbers: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.call(n)) for n in numbers]


def test_the_first_goes_at_once_and_the_others_some_together_in_order() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(TurnQueue(1.0, clock), clock)
        calls = 1 + 2 * TOGETHER + 1
        tasks = callers.start(*range(calls))
        await asyncio.sleep(0)
        assert callers.order == [0]
        loops, turns = 0, []
        while len(callers.order) < calls:
            before = len(callers.order)
            await asyncio.sleep(0)
            loops += 1
            if len(callers.order) > before:
                turns.append(len(callers.order) - before)
        assert turns == [TOGETHER, TOGETHER, 1]
        assert loops >= len(turns) * LEAST_LOOPS, "between two turns what gRPC holds is taken in"
        assert callers.order == list(range(calls))
        await asyncio.gather(*tasks)

    run(work)


@pytest.mark.parametrize(("came", "least"), [(0, LEAST_LOOPS), (1, QUIET_LOOPS)])
def test_where_a_call_came_in_gRPC_gets_longer_to_hand_over_the_next(came: int, least: int) -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(TurnQueue(1.0, clock), clock)
        tasks = callers.start(0, 1)
        await asyncio.sleep(0)
        for _ in range(came):
            callers.turns.refuses()
        loops = 0
        while callers.order == [0]:
            await asyncio.sleep(0)
            loops += 1
        assert least - 1 <= loops <= least + 2
        await asyncio.gather(*tasks)

    run(work)


def test_what_comes_meanwhile_is_taken_in_before_the_next_turn_for_a_bounded_time() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(TurnQueue(1.0, clock), clock)
        tasks = callers.start(0, 1)
        await asyncio.sleep(0)
        began = clock.now
        while callers.order == [0]:
            callers.turns.refuses()  # one comes in every loop
            clock.now += TURN_SECONDS / 10
            await asyncio.sleep(0)
        assert clock.now - began == pytest.approx(TURN_SECONDS * (READING + 1), rel=0.3)
        assert callers.order == [0, 1]
        await asyncio.gather(*tasks)

    run(work)


def test_one_that_comes_later_to_an_empty_queue_goes_at_once() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(TurnQueue(1.0, clock), clock)
        for n in range(3):
            [task] = callers.start(n)
            await asyncio.sleep(0)
            assert callers.order[-1] == n
            await task
            for _ in range(LEAST_LOOPS):
                await asyncio.sleep(0)

    run(work)


def test_one_whose_caller_went_away_holds_up_nobody() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(TurnQueue(1.0, clock), clock)
        tasks = callers.start(0, 1, 2)
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert callers.order == [0, 2]
        assert callers.turns.wait_seconds == 0.0

    run(work)


async def standing(callers: Callers, clock: Clock, waiting: int) -> None:
    """Let so many wait behind one that has its turn, when it is known how long a turn takes."""
    await asyncio.gather(*callers.start(*range(10)))
    for _ in range(LEAST_LOOPS):
        await asyncio.sleep(0)
    callers.start(*range(waiting + 1))
    await asyncio.sleep(0)
    assert callers.turns.wait_seconds == pytest.approx(waiting * TURN_SECONDS, rel=0.5)


@pytest.mark.parametrize(
    ("longest", "waiting", "since_empty", "refused"),
    [
        (0.001, FEW - 1, RECENT_SECONDS * 2, False),
        (0.001, FEW, RECENT_SECONDS * 2, True),
        (0.010, 9, RECENT_SECONDS * 2, False),  # 9 ms, within the limit
        (0.010, 11, RECENT_SECONDS / 2, False),  # beyond it, but a burst
        (0.010, 11, RECENT_SECONDS * 2, True),
        (0.010, round(BURST_SECONDS / TURN_SECONDS) - 1, RECENT_SECONDS / 2, False),
        (0.010, round(BURST_SECONDS / TURN_SECONDS) + 1, RECENT_SECONDS / 2, True),
    ],
)
def test_who_would_wait_too_long_is_refused_but_for_a_burst(
    longest: float, waiting: int, since_empty: float, refused: bool
) -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(TurnQueue(longest, clock), clock)
        await standing(callers, clock, waiting)
        clock.now += since_empty
        assert callers.turns.refuses() is refused

    run(work)


def test_after_a_refusal_nothing_counts_as_a_burst_for_a_while() -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(TurnQueue(0.01, clock), clock)
        await standing(callers, clock, 11)
        clock.now += 2 * RECENT_SECONDS
        assert callers.turns.refuses()
        while callers.turns.wait_seconds:
            await asyncio.sleep(0)
        await standing(callers, clock, 11)
        assert callers.turns.refuses(), "it was refusing that emptied the queue"
        while callers.turns.wait_seconds:
            await asyncio.sleep(0)
        clock.now += SOBER_SECONDS
        await standing(callers, clock, 11)
        assert not callers.turns.refuses()

    run(work)


@pytest.mark.parametrize(("came", "waiting", "refused"), [(1, FEW - 1, False), (8, FEW - 1, True), (8, 0, False)])
def test_the_more_come_to_a_turn_the_shorter_the_queue_may_be(came: int, waiting: int, refused: bool) -> None:
    async def work(clock: Clock) -> None:
        callers = Callers(TurnQueue(TURN_SECONDS / 2, clock), clock)
        await asyncio.gather(*callers.start(*range(10)))  # by now it is known how long a turn takes
        for _ in range(50):
            [task] = callers.start(0)
            await asyncio.sleep(0)
            for _ in range(came):
                callers.turns.refuses()
            await task
            for _ in range(QUIET_LOOPS + 2):
                await asyncio.sleep(0)
        callers.start(*range(waiting + 1))
        await asyncio.sleep(0)
        clock.now += RECENT_SECONDS * 2
        assert callers.turns.refuses() is refused

    run(work)


def test_one_slow_turn_is_no_sign() -> None:
    async def work(clock: Clock) -> None:
        turns = TurnQueue(0.01, clock)
        callers = Callers(turns, clock)
        await asyncio.gather(*callers.start(*range(10)))
        for _ in range(LEAST_LOOPS):
            await asyncio.sleep(0)
        tasks = callers.start(*range(5))
        await asyncio.sleep(0)
        clock.now += 10.0
        while len(callers.order) < 12:
            await asyncio.sleep(0)
        assert turns.wait_seconds < 3 * 2 * TURN_SECONDS
        await asyncio.gather(*tasks)

    run(work)
