from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.lab.simulator.visits import NOTHING, Visits, normal, uniform
from tests.support.simulated import OF_A_KIND, PRODUCTS, simulator

EVERYONE = np.arange(200)
SEEDS = EVERYONE.astype(np.uint64)
LIKED, OTHER = 0, PRODUCTS - 1  # of user 0


def begun(user: int = 0, **dynamics: float) -> Visits:
    visits = Visits(simulator(**dynamics), SEEDS)
    visits.begin(EVERYONE, np.full(len(EVERYONE), user))
    return visits


def shown(*products: int) -> np.ndarray:
    return np.tile(products, (len(EVERYONE), 1))


def test_draws_are_uniform_and_repeat_for_each_user_alone() -> None:
    counts = np.arange(200).astype(np.uint64)
    drawn = uniform(SEEDS, counts, 0, 50)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert np.quantile(drawn, 0.1) == pytest.approx(0.1, abs=0.01)
    assert len(np.unique(drawn)) == drawn.size
    assert np.array_equal(drawn[7:8, 5:], uniform(SEEDS[7:8], counts[7:8], 5, 45))
    numbers = normal(uniform(SEEDS, counts, 0, 100))
    assert numbers.mean() == pytest.approx(0, abs=0.03)
    assert numbers.std() == pytest.approx(1, abs=0.03)


def test_what_is_to_a_users_taste_is_clicked_more() -> None:
    chances = begun().click_chance(shown(LIKED, OTHER))
    assert (chances[:, 0] > 10 * chances[:, 1]).all()


def test_products_drawn_at_random_are_clicked_as_assumed() -> None:
    visits = Visits(simulator(random_click=0.05), SEEDS)
    visits.begin(EVERYONE)
    assert visits.click_chance(np.tile(np.arange(PRODUCTS), (200, 1))).mean() == pytest.approx(0.05, abs=0.005)


def test_looking_at_the_like_satiates_and_wears_off() -> None:
    visits = begun(satiation_decay=0.5, satiation_weight=1.0, random_click=1e-9)
    fresh = visits.click_chance(shown(LIKED))
    visits.step(shown(1))  # another product of the same kind
    tired = visits.click_chance(shown(LIKED))
    assert (tired < 0.5 * fresh).all()
    for _ in range(12):
        visits.step(shown(OTHER))
    assert visits.click_chance(shown(LIKED)) == pytest.approx(fresh, rel=1e-2)


def test_a_purchase_satiates_more_than_a_look() -> None:
    never, always = ({"purchase_share": share, "satisfied_offset": 50.0, "taste_weight": 20.0} for share in (0.0, 1.0))
    without, with_purchase = begun(**never), begun(**always)
    for visits in (without, with_purchase):
        visits.step(shown(LIKED))
    bought = with_purchase.satiation[:, 0] > 2  # where it was clicked
    assert bought.any()
    assert (with_purchase.satiation[bought, 0] == without.satiation[bought, 0] + 3.0).all()


def test_patience_ends_the_visit() -> None:
    visits = begun(random_click=1e-9, leave=0.0, patience=10.0)
    here, lengths = np.ones(200, bool), np.zeros(200)
    for _ in range(20):
        lengths += here
        here &= ~visits.step(shown(OTHER)).left
    assert not here.any()
    assert lengths.min() >= 5  # half the mean
    assert lengths.max() <= 15
    in_slates = begun(random_click=1e-9, leave=0.0, patience=10.0)
    before = in_slates.patience.copy()
    in_slates.step(shown(10, 11, 12, 13))
    assert in_slates.patience == pytest.approx(before - 4)


def test_satisfaction_builds_patience_up_to_its_most_and_disappointment_wears_it_down() -> None:
    pleased = begun(satisfied_offset=50.0, taste_weight=30.0, purchase_share=0.0, trust=5.0, patience_most=25.0)
    disappointed = begun(satisfied_offset=-50.0, taste_weight=30.0, satisfied_taste=0.0, disappointment=5.0)
    for visits, change in ((pleased, 5.0), (disappointed, -5.0)):
        before = visits.patience.copy()
        clicked = visits.step(shown(LIKED)).place >= 0
        assert clicked.any()
        expected = np.minimum(before + change, visits.simulator.dynamics.patience_most)
        assert visits.patience[clicked] == pytest.approx(expected[clicked])
        assert visits.patience[~clicked] == pytest.approx(before[~clicked] - 1)


def test_a_need_ends_with_a_purchase_and_lasting_tastes_drift_between_visits() -> None:
    mixed = simulator(random_click=0.4, satisfied_offset=50.0, purchase_share=1.0, need_persistence=1.0)
    mixed.record[0:5] = [0, *range(OF_A_KIND, OF_A_KIND + 4)]  # one product of the first kind, four of the second
    visits = Visits(mixed, SEEDS)
    visits.begin(EVERYONE, np.zeros(200, np.int64))
    before = visits.need.copy()
    purchased = visits.step(shown(LIKED)).purchased
    assert purchased.any()
    assert (visits.need[~purchased] == before[~purchased]).all()
    assert (visits.need[purchased] != before[purchased]).any()

    still, moving = begun(), begun(drift=0.5)
    assert (still.taste == still.simulator.tastes[0]).all()
    moved = np.linalg.norm(moving.taste - still.taste, axis=1)
    assert np.sqrt((moved**2).mean()) == pytest.approx(0.5, rel=0.1)


def test_the_first_that_appeals_is_taken_and_what_lies_below_is_not_looked_at() -> None:
    visits = begun(random_click=0.4, taste_weight=0.0, attention=1.0, satiation_decay=0.0)
    reaction = visits.step(shown(0, 1, 10, 11))
    assert set(reaction.place) == {-1, 0, 1, 2, 3}
    assert (reaction.place == 0).mean() == pytest.approx(0.4, abs=0.12)
    first = reaction.place == 0
    assert (reaction.product[first] == 0).all()
    assert (reaction.product[reaction.place < 0] == NOTHING).all()
    unbought = first & ~reaction.purchased
    assert (visits.satiation[unbought] == [1.0, 0.0]).all()
    assert (reaction.dwell_seconds[first] > 0).all()
    assert (reaction.dwell_seconds[reaction.place < 0] == 0).all()


def test_a_purchase_is_worth_its_price_where_turnover_counts() -> None:
    always = {"random_click": 0.4, "satisfied_offset": 50.0, "purchase_share": 1.0}
    for power, worth in ((0.0, 0.7), (1.0, 1.4)):
        shop = simulator(reward_price=power, **always)
        shop.prices[:] = [2.0, *np.full(PRODUCTS - 2, 1.0), np.nan]
        shop.prices[1:-1] -= 1.0 / (PRODUCTS - 2)  # so that the mean is 1
        visits = Visits(shop, SEEDS)
        visits.begin(EVERYONE)
        for product, expected in ((0, worth), (PRODUCTS - 1, 0.7)):
            reaction = visits.step(shown(product))
            assert reaction.purchased.any()
            assert reaction.reward[reaction.purchased] == pytest.approx(0.1 + expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63), slate=st.integers(1, 6), at=st.integers(0, 4))
def test_many_users_together_do_what_each_does_alone(seed: int, slate: int, at: int) -> None:
    seeds = np.uint64(seed) + np.arange(5, dtype=np.uint64)
    together, alone = Visits(simulator(drift=0.1), seeds), Visits(simulator(drift=0.1), seeds[at : at + 1])
    together.begin(np.arange(5))
    alone.begin(np.arange(1))
    slates = np.random.default_rng(slate).integers(0, PRODUCTS, (8, 5, slate))
    for shown_now in slates:
        all_five, one = together.step(shown_now), alone.step(shown_now[at : at + 1])
        for name in ("place", "product", "satisfied", "purchased", "dwell_seconds", "reward", "left"):
            assert getattr(all_five, name)[at] == getattr(one, name)[0]
    for name in ("user", "taste", "need", "satiation", "patience"):
        assert np.array_equal(getattr(together, name)[at], getattr(alone, name)[0])
