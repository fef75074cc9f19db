"""What is known of users and products: what rows tell, and that all who apply the same states know the same."""

from __future__ import annotations

import time
from threading import Barrier, Thread

import numpy as np
import pytest

from services.inference.knowledge.knowledge import Knowledge
from services.trainer.learner import Learner
from services.trainer.settings import TrainerSettings
from shared.content.new_products import Content
from shared.evaluation.prequential import Prequential
from shared.log.records import DAY_MS, masked_kinds_of
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import load
from shared.state.histories import Histories
from shared.state.known import Known, KnownProducts
from shared.state.shop import ShopSettings
from shared.state.stream import Stream
from shared.state.tally import NEWEST_USERS, Tally
from tests.support.states import review, shoppers

SHOP = load(ShopSettings, {"FRESHET_SHOP_HISTORY_LENGTH": "3"})


def known(products: KnownProducts | None = None) -> Known:
    return Known(Histories(3, frozenset()), Tally(30.0 * DAY_MS), products or KnownProducts())


def mixed_states(count: int) -> list[pb.StateVector]:
    """Reviews, views, returns and dislikes, a guest's among them, and every tenth event late."""
    states = list(shoppers(count))
    kinds = (pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_VIEW, pb.EVENT_KIND_RETURN, pb.EVENT_KIND_DISLIKE)
    for n, state in enumerate(states):
        state.kind = kinds[n % 7 % 4]
        state.user_id = "" if n % 11 == 0 else state.user_id
        state.event_time_ms -= 3 * DAY_MS if n % 10 == 0 else 0
        state.event_id, state.source_offset = f"e{n}", n
    return states


def learner() -> Learner:
    return Learner(load(TrainerSettings, {"FRESHET_TRAINER_POLICY": "markov"}), SHOP)


def knowledge() -> Knowledge:
    histories = Histories(SHOP.history_length, masked_kinds_of(SHOP.masked_kinds))
    return Knowledge(histories, Tally(SHOP.trending_half_life_days * DAY_MS), 1)


def judge() -> Prequential:
    return Prequential(Stream(SHOP, Content()))


def assert_same(one: Known, other: Known) -> None:
    assert one.products.ids == other.products.ids
    assert one.products.events_seen().tolist() == other.products.events_seen().tolist()
    assert one.histories.users == other.histories.users
    assert (one.histories.late, one.histories.latest_ms) == (other.histories.late, other.histories.latest_ms)
    theirs = other.histories.to_arrays()
    for name, array in one.histories.to_arrays().items():
        assert array.tobytes() == theirs[name].tobytes(), name
    assert one.shares().tobytes() == other.shares().tobytes()
    others = other.tally.to_arrays()
    for name, array in one.tally.to_arrays().items():
        assert array.tobytes() == others[name].tobytes(), name


def test_trainer_inference_and_evaluator_know_the_same_after_the_same_states() -> None:
    trainer, serving, judging = learner(), knowledge(), judge()
    for n, state in enumerate(mixed_states(600)):
        trainer.apply(state)
        assert serving.apply_once(state, 0)
        assert not serving.apply_once(state, 0), "applied before"
        judging.judge(state, [None])
        judging.apply(state)
        if n % 200 == 199:
            assert_same(trainer.stream.known, serving)
            assert_same(trainer.stream.known, judging.known)
    assert len(serving.products) == 40
    arrays = serving.tally.arrays
    assert arrays.pair_totals.min() > 0
    assert (arrays.products[:, NEWEST_USERS:] > 0).sum(axis=0).min() > 30, "most have users and neighbours"
    assert serving.histories.late > 10
    restored = Learner.restore(trainer.settings, SHOP, trainer.snapshot()).stream.known
    restored.histories.late = trainer.stream.histories.late  # counted since the start
    assert_same(restored, serving)


def test_inference_and_evaluator_know_the_same_of_listed_products() -> None:
    serving, judging = knowledge(), judge()
    states = mixed_states(400)
    for each in (serving, judging.known):
        for n in range(50):  # ten of which have no event
            each.products.upsert(pb.Product(product_id=f"p{n}", title=f"shelf{n % 10}", unavailable=n % 13 == 0))
        each.products.row_of("a version's alone")
        each.products.remove("p1")
        each.products.remove("heard of, never seen")
    rows = {}
    for state in states:
        serving.apply_once(state, 0)
        judging.apply(state)
        values = np.log(serving.shares())
        contents = (serving.products.content, judging.known.products.content)
        rows = [content.lend(values.copy(), serving.shares()) for content in contents if content is not None]
        assert rows[0][0].tolist() == rows[1][0].tolist()
        assert rows[0][1].tolist() == rows[1][1].tolist()
    assert len(rows[0][0]), "content places some"
    assert_same(serving, judging.known)
    hidden = sorted(serving.products.not_recommended().tolist())
    assert hidden == sorted(judging.known.products.not_recommended().tolist())
    assert [serving.products.ids[row] for row in hidden] == [
        *("p0", "p1", "p13", "p26", "p39", "a version's alone", "heard of, never seen")
    ]
    assert serving.products.seen == judging.known.products.seen == 50


def test_a_row_alone_tells_of_no_product_an_event_or_a_listing_does() -> None:
    products = KnownProducts()
    assert [products.row_of(p) for p in ("a", "b", "a", "c")] == [0, 1, 0, 2]
    assert (len(products), products.seen, products.find("b"), products.find("z")) == (3, 0, 1, None)
    assert sorted(products.not_recommended()) == [0, 1, 2]
    products.count(1, 5)
    products.upsert(pb.Product(product_id="c"))
    assert sorted(products.not_recommended()) == [0]
    assert [products.had_event(row) for row in range(3)] == [False, True, False]
    assert [products.is_seen(row) for row in range(3)] == [False, True, True]
    assert (products.events_seen().tolist(), products.seen) == ([0, 1, 0], 2)
    products.upsert(pb.Product(product_id="b", unavailable=True))
    assert (sorted(products.not_recommended()), products.seen) == ([0, 1], 2)
    products.count(1, 6)
    assert sorted(products.not_recommended()) == [0, 1], "an event does not bring it back"
    products.upsert(pb.Product(product_id="b"))
    products.remove("c")
    assert sorted(products.not_recommended()) == [0, 2]
    products.row_of("d")
    assert sorted(products.not_recommended()) == [0, 2, 3]


def test_events_seen_are_taken_back() -> None:
    products, again = KnownProducts(), KnownProducts()
    for each in (products, again):
        for product_id in "abc":
            each.row_of(product_id)
    products.count(2, 5)
    again.resume(products.events_seen())
    assert (again.events_seen().tolist(), again.seen) == ([0, 0, 1], 1)


def test_shares_have_a_place_for_every_row_and_follow_each_event() -> None:
    it = known()
    it.apply(review("u", "a", 0))
    assert it.shares() == pytest.approx([1.0])
    assert it.shares() is it.shares(), "until something changes"
    it.products.row_of("b")
    assert it.shares() == pytest.approx([0.95 + 0.025, 0.025])
    it.apply(review("u", "b", 0))
    assert it.shares() == pytest.approx([0.5, 0.5])
    it.products.row_of("c")
    assert it.share(1) == pytest.approx(0.95 / 2 + 0.05 / 3), "beside a row without an event"


def test_a_guests_event_counts_for_products_alone_and_another_for_a_history_alone() -> None:
    it = known()
    row = it.apply(review("", "a", 0))
    assert (row, it.histories.users, it.products.seen) == (0, [], 1)
    before = it.shares().tolist()
    it.apply_to_history(review("u", "a", 1), row)
    it.apply_to_history(review("", "a", 1), row)
    assert (it.histories.users, it.histories.events(0)) == (["u"], 1)
    assert it.shares().tolist() == before


class Hesitant(KnownProducts):
    """Lets other threads go first in the middle of giving a product its row."""

    def _add_row(self, product_id: str) -> None:  # noqa: ARG002
        time.sleep(0.0001)


def test_threads_give_a_product_one_row() -> None:
    products, barrier = Hesitant(), Barrier(4)
    given: list[list[int]] = [[] for _ in range(4)]

    def give(rows: list[int]) -> None:
        barrier.wait()
        rows.extend(products.row_of(f"p{n}") for n in range(50))

    threads = [Thread(target=give, args=(rows,)) for rows in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given[0] == given[1] == given[2] == given[3]
    assert sorted(given[0]) == list(range(50))
    assert [products.ids[row] for row in given[0]] == [f"p{n}" for n in range(50)]
    assert len(products.not_recommended()) == 50
