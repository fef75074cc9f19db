from __future__ import annotations

import numpy as np

from services.lab.crowd import Visitor, World
from shared.log.records import check_event
from shared.pb.freshet.v1 import events_pb2 as pb
from tests.support.simulated import OF_A_KIND, PRODUCTS, simulator


def visitor(user: int = 1, **dynamics: float) -> Visitor:
    return Visitor(World.of(simulator(**dynamics)), user, seed=5, run="run")


def test_a_visit_begins_with_a_view_of_what_the_user_needs() -> None:
    (came,) = visitor().arrive()
    assert (came.kind, came.user_id, came.request_id) == (pb.EVENT_KIND_VIEW, "u1", "")
    assert came.product_id in {f"p{n}" for n in range(OF_A_KIND, OF_A_KIND + 5)}  # of its own record


def test_it_reacts_to_what_is_recommended_and_names_the_recommendation() -> None:
    user = visitor(random_click=0.4, satisfied_offset=50.0, purchase_share=0.5, leave=0.0, patience_most=1e6, trust=1e3)
    user.arrive()
    clicks = purchases = 0
    taken = set()
    known, last = f"p{OF_A_KIND + 2}", f"p{PRODUCTS - 1}"
    for n in range(100):
        done = user.see([known, "unheard-of", last], f"r{n}")
        kinds = [event.kind for event in done.events]
        assert kinds == [pb.EVENT_KIND_CLICK] * done.clicked + [pb.EVENT_KIND_PURCHASE] * done.purchased
        for event in done.events:
            event.event_time_ms = 1
            check_event(event)
            taken.add(event.product_id)
            assert (event.user_id, event.request_id) == ("u1", f"r{n}")
            if event.kind == pb.EVENT_KIND_PURCHASE:
                assert event.HasField("price") == (event.product_id != last)  # whose price nobody knows
        assert len({event.product_id for event in done.events}) <= 1
        clicks += done.clicked
        purchases += done.purchased
    assert clicks > purchases > 0
    assert taken == {known, last}  # from any place, but not what it knows nothing of


def test_nothing_recommended_wears_patience_down() -> None:
    user = visitor(leave=0.0, patience=10.0)
    user.arrive()
    seen = [user.see([], "r") for _ in range(16)]
    assert not any(done.events for done in seen)
    assert not seen[0].left
    assert seen[-1].left


def test_one_seed_repeats_and_events_have_names_of_their_own() -> None:
    first, again = visitor(random_click=0.3), visitor(random_click=0.3)
    lives = [
        [user.arrive(), *(user.see([f"p{n % 20}", "p11"], "r").events for n in range(50))] for user in (first, again)
    ]
    assert lives[0] == lives[1]
    names = [event.event_id for events in lives[0] for event in events]
    assert len(set(names)) == len(names)
    assert np.all([name.startswith("run-1-") for name in names])
