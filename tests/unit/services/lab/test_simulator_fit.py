from __future__ import annotations

import itertools
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from services.lab.simulator.fit import catalogue, fit
from services.lab.simulator.period import collect, logistic_regression
from services.lab.simulator.simulator import ARRAYS, DESCRIPTION, Simulator
from services.lab.simulator.visits import Visits
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import Unusable
from tests.support.simulated import events, period, simulator


@pytest.fixture(scope="module")
def fitted() -> Simulator:
    whole = period()
    return fit(whole, catalogue(whole, 5, 100), dimension=4)


def test_planted_tastes_are_found(fitted: Simulator) -> None:
    kinds = np.array([int(product[1:]) // 10 for product in fitted.product_ids])
    alike = fitted.vectors @ fitted.vectors.T
    same = kinds[:, None] == kinds[None, :]
    assert alike[same].mean() > 0.8
    assert -0.5 < alike[~same].mean() < -0.1  # popularity, which all share, is not in it
    likes = np.array([int(user[1:]) % 4 for user in fitted.user_ids])
    matches = fitted.tastes @ fitted.vectors.T
    means = np.array([matches[:, kinds == kind].mean(axis=1) for kind in range(4)])
    assert (means.argmax(axis=0) == likes).mean() > 0.95
    assert fitted.dynamics.taste_weight > 1
    assert fitted.origin.figures["log_likelihood"] > fitted.origin.figures["log_likelihood_popularity"] + 0.3


def test_pace_and_satisfaction_are_those_of_the_log(fitted: Simulator) -> None:
    d = fitted.dynamics
    made = events()
    bought = sum(event.kind == pb.EVENT_KIND_PURCHASE for event in made)
    gaps = {user: sorted(e.event_time_ms for e in made if e.user_id == user) for user in {e.user_id for e in made}}
    visits = sum(1 + sum(b - a > 30 * 60_000 for a, b in itertools.pairwise(t)) for t in gaps.values())
    assert d.leave == pytest.approx(visits / len(made) / 5)
    assert d.newcomers == pytest.approx(len(gaps) / visits)
    assert d.purchase_share == 1.0  # who went on, bought
    assert d.satisfied_taste > 0.1  # who mostly wants another kind bought less
    assert 0 < bought < len(made)
    prices = dict(zip(fitted.product_ids, fitted.prices, strict=True))
    assert prices["p7"] == 8.0


def test_users_of_the_fitted_shop_want_what_they_wanted(fitted: Simulator) -> None:
    visits = Visits(fitted, np.arange(len(fitted.user_ids)).astype(np.uint64))
    users = np.arange(len(fitted.user_ids))
    visits.begin(users, users)
    past = fitted.record[fitted.record_starts[:-1]][:, None]
    anything = np.random.default_rng(1).integers(0, len(fitted.product_ids), (len(users), 20))
    assert visits.click_chance(past).mean() > 2 * visits.click_chance(anything).mean()


def test_fitted_twice_and_saved_and_loaded_it_is_the_same(fitted: Simulator, tmp_path: Path) -> None:
    whole = period()
    again = fit(whole, catalogue(whole, 5, 100), dimension=4)
    fitted.save(tmp_path / "shop")
    for other in (again, Simulator.load(tmp_path / "shop")):
        for field in fields(Simulator):
            mine, theirs = getattr(fitted, field.name), getattr(other, field.name)
            if isinstance(mine, np.ndarray):
                assert np.array_equal(mine, theirs, equal_nan=True), field.name
            else:
                assert mine == theirs, field.name
    assert sorted(file.name for file in (tmp_path / "shop").iterdir()) == [ARRAYS, DESCRIPTION]


def test_two_periods_share_products_and_no_event() -> None:
    whole = period()
    border = whole.middle_ms(0.5)
    early, late = whole.between(0, border), whole.between(border, 2**62)
    assert len(early) + len(late) == len(whole)
    assert early.time_ms.max() < border <= late.time_ms.min()
    products = catalogue(early, 5, 30)
    assert len(products) == 30
    train, test = fit(early, products, dimension=4), fit(late, products, dimension=4)
    assert train.product_ids == test.product_ids
    assert train.origin.until_ms < test.origin.from_ms
    never = fit(late, (*products, "never-seen"), dimension=4)
    assert (never.vectors[-1] == 0).all()
    assert never.popularity[-1] < never.popularity[:-1].min()


def test_what_can_not_be_fitted_is_refused() -> None:
    with pytest.raises(Unusable, match="viewed, bought or reviewed"):
        collect([pb.Event(kind=pb.EVENT_KIND_VIEW, product_id="a guest's", event_time_ms=1)])
    whole = period()
    with pytest.raises(Unusable, match="which time a file spans"):
        whole.between(0, 1)
    with pytest.raises(Unusable, match="--least-events"):
        catalogue(whole, 10_000, 100)
    with pytest.raises(Unusable, match="longer period"):
        fit(whole.chosen(slice(0, 50)), catalogue(whole, 5, 100))


def test_a_damaged_simulator_is_refused(tmp_path: Path) -> None:
    def damaged(name: str, content: bytes) -> None:
        simulator().save(tmp_path)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Unusable, match="damaged"):
            Simulator.load(tmp_path)

    simulator().save(tmp_path)
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    arrays = (tmp_path / ARRAYS).read_bytes()
    damaged(DESCRIPTION, b"{")
    damaged(DESCRIPTION, json.dumps(description | {"product_ids": ["p0"]}).encode())
    damaged(ARRAYS, arrays[:-8])
    damaged(ARRAYS, b"")
    with pytest.raises(Unusable, match="no constant is called hunger"):
        simulator().changed({"hunger": 1.0})
    with pytest.raises(Unusable, match="trust=-1"):
        simulator().changed({"trust": -1.0})
    assert simulator().changed({"trust": 2.0}).dynamics.trust == 2.0


def test_a_logistic_regression_finds_what_made_the_labels() -> None:
    rng = np.random.default_rng(1)
    columns = rng.standard_normal((20_000, 2))
    labels = rng.random(20_000) < 1 / (1 + np.exp(-(0.5 + columns @ [1.0, -2.0])))
    weights = logistic_regression(labels, columns)
    assert weights is not None
    assert weights == pytest.approx([0.5, 1.0, -2.0], abs=0.1)
    assert logistic_regression(np.ones(100, bool), columns[:100]) is None
