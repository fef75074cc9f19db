from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from services.lab.simulator.environment import NAME, ShopEnv, ShopVector
from services.lab.simulator.visits import NOTHING
from shared.process.errors import Unusable
from tests.support.simulated import PRODUCTS, saved, simulator


@pytest.mark.parametrize("slate", [1, 4])
def test_gymnasiums_own_checker_finds_nothing(slate: int) -> None:
    check_env(gymnasium.make(NAME, model=simulator(drift=0.1), slate=slate).unwrapped)


def test_both_are_made_by_name_from_a_folder(tmp_path: Path) -> None:
    folder = saved(tmp_path / "shop")
    shop = gymnasium.make_vec(NAME, num_envs=3, vectorization_mode="vector_entry_point", model=folder, slate=2)
    observed, _ = shop.reset(seed=1)
    assert shop.observation_space.contains(observed)
    assert shop.step(shop.action_space.sample())[1].shape == (3,)
    user = gymnasium.make(NAME, model=str(folder))
    assert user.observation_space.contains(user.reset(seed=1)[0])
    with pytest.raises(Unusable, match="freshet simulate fit"):
        ShopVector(tmp_path / "nothing")


def run(shop: ShopVector, seed: int, steps: int = 40) -> list[np.ndarray]:
    """Everything that was seen, with slates that depend on nothing else."""
    observed, _ = shop.reset(seed=seed)
    seen = list(observed.values())
    for step in range(steps):
        slates = np.random.default_rng(step).integers(0, PRODUCTS, (shop.num_envs, shop.slate))
        observed, reward, terminated, truncated, _ = shop.step(slates)
        seen += [*observed.values(), reward, terminated, truncated]
    return seen


def test_a_seed_repeats_bit_for_bit_and_another_does_not() -> None:
    shop = ShopVector(simulator(drift=0.1), 20, slate=3)
    first, again, other = run(shop, 5), run(shop, 5), run(shop, 6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_slot_of_many_is_a_user_alone_also_after_its_first_visit() -> None:
    small = simulator(drift=0.1, leave=0.2, newcomers=0.5)
    many, alone = ShopVector(small, 4, slate=3), ShopEnv(small, slate=3)
    observed, _ = many.reset(seed=10)
    single, _ = alone.reset(seed=12)
    ended = 0
    for step in range(60):
        assert all(np.array_equal(observed[name][2], single[name]) for name in observed)
        slates = np.random.default_rng(step).integers(0, PRODUCTS, (4, 3))
        observed, reward, terminated, truncated, infos = many.step(slates)
        single, gained, left, cut, _ = alone.step(slates[2])
        assert (reward[2], terminated[2], truncated[2]) == (gained, left, cut)
        if left or cut:
            ended += 1
            assert all(np.array_equal(infos["final_obs"][name][2], single[name]) for name in observed)
            single, _ = alone.reset()
    assert ended > 2


def test_what_is_seen_is_what_was_shown_and_clicked() -> None:
    shop = ShopVector(simulator(random_click=0.3, leave=0.0, patience=100.0), 50, slate=2, history=5)
    observed, _ = shop.reset(seed=3, options={"users": np.zeros(50, np.int64)})
    assert (observed["liked"] == [4, 3, 2, 1, 0]).all()  # the record of user 0, newest first
    assert (observed["shown"] == NOTHING).all()
    observed, _, _, _, infos = shop.step(np.tile([6, 7], (50, 1)))
    assert (observed["shown"][:, :3] == [7, 6, NOTHING]).all()
    clicked = infos["place"] >= 0
    assert (observed["liked"][clicked, 0] == infos["product"][clicked]).all()
    assert (observed["liked"][~clicked, 0] == 4).all()
    assert (observed["clicked"].sum(axis=1) == clicked).all()
    assert (observed["clicked"][infos["place"] == 0, 1] == 1).all()
    visit = np.expm1(observed["visit"])
    assert visit[:, 0] == pytest.approx(1)
    assert visit[:, 1] == pytest.approx(~clicked * 1.0)
    assert visit[:, 3] == pytest.approx(infos["dwell_seconds"], rel=1e-4)


def test_nothing_is_known_of_a_newcomer_and_a_long_visit_is_cut_off() -> None:
    shop = ShopVector(simulator(newcomers=1.0, leave=0.0, patience=1000.0, patience_most=2000.0), 3, most_slates=4)
    observed, _ = shop.reset(seed=1)
    assert (observed["liked"] == NOTHING).all()
    for _ in range(3):
        assert not shop.step(np.full((3, 1), PRODUCTS - 1))[3].any()
    observed, _, terminated, truncated, infos = shop.step(np.full((3, 1), PRODUCTS - 1))
    assert truncated.all()
    assert not terminated.any()
    assert infos["_final_obs"].all()
    assert np.expm1(infos["final_obs"]["visit"][:, 0]) == pytest.approx(4)
    assert (observed["visit"] == 0).all()
