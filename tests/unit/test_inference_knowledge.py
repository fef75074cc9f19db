"""Who waits for a position is not kept waiting by a service that stops."""

from __future__ import annotations

import asyncio

import pytest

from services.inference.knowledge import Knowledge
from shared.errors import Unavailable
from shared.history import Histories
from shared.kinds import kinds_of
from shared.policies.trending import Trending
from shared.times import DAY_MS
from tests.support.states import review


def test_nobody_waits_any_longer_once_it_gives_up_and_what_was_reached_stays_so() -> None:
    async def ask() -> None:
        knowledge = Knowledge(Histories(3, kinds_of(["review"])), Trending(DAY_MS), 1)
        state = review("ann", "p0", 1)
        state.event_id, state.source_offset = "e", 5
        knowledge.apply(state, 0)
        waiting = asyncio.create_task(knowledge.reached(0, 6))
        await asyncio.sleep(0)
        knowledge.give_up()
        with pytest.raises(Unavailable, match="the service is stopping: ask again"):
            await waiting
        with pytest.raises(Unavailable, match="ask again"):
            await knowledge.reached(0, 6)
        await knowledge.reached(0, 5)

    asyncio.run(asyncio.wait_for(ask(), 10))
