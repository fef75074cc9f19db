"""Knowledge ends the waits for a position when the service stops, and places new products among the popular."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from services.inference.knowledge.knowledge import Knowledge
from shared.log.records import DAY_MS, kinds_of
from shared.pb.freshet.v1.events_pb2 import Product
from shared.process.errors import Unavailable
from shared.state.histories import Histories
from shared.state.tally import Tally
from tests.support.states import review


def test_nobody_waits_any_longer_once_it_gives_up_and_what_was_reached_stays_so() -> None:
    async def ask() -> None:
        knowledge = Knowledge(Histories(3, kinds_of(["review"])), Tally(DAY_MS), 1)
        state = review("ann", "p0", 1)
        state.event_id, state.source_offset = "e", 5
        knowledge.apply_once(state, 0)
        waiting = asyncio.create_task(knowledge.positions.reached(0, 6))
        await asyncio.sleep(0)
        knowledge.positions.give_up()
        with pytest.raises(Unavailable, match="the service is stopping: try again"):
            await waiting
        with pytest.raises(Unavailable, match="try again"):
            await knowledge.positions.reached(0, 6)
        await knowledge.positions.reached(0, 5)

    asyncio.run(asyncio.wait_for(ask(), 10))


def test_new_products_are_placed_beside_what_is_popular_now() -> None:
    """A new product is not placed before the popular ones, though a product like it scores far above them."""
    knowledge = Knowledge(Histories(3, kinds_of(["review"])), Tally(DAY_MS), 1)
    for n in range(40):
        state = review(f"u{n}", "hit" if n % 10 else "guitar", 1)
        state.event_id, state.source_offset = f"e{n}", n
        knowledge.apply_once(state, 0)
    for product_id, title in {"new": "red guitar", "hit": "rake", "guitar": "red guitar"}.items():
        knowledge.catalogue.upsert(Product(product_id=product_id, title=title))
    rows = [knowledge.catalogue.find(product_id) for product_id in ("guitar", "hit", "new")]
    values = np.zeros(3, np.float32)
    values[rows] = [-0.01, -12.0, -15.0]
    assert knowledge.places is not None
    placed, more = knowledge.places.lend(values, knowledge.shares())
    assert placed.tolist() == [rows[2]]
    assert -15.0 < -15.0 + more[0] < -12.0
