"""The simulated shop: user steps a second on one core, many users side by side."""

from __future__ import annotations

import time

import numpy as np

from services.lab.simulator.environment import ShopVector
from services.lab.simulator.simulator import Dynamics, Provenance, Simulator
from tests.bench.figures import BenchSettings, Figure

WANTED = 50_000.0
PRODUCTS, USERS, DIMENSION, SIDE_BY_SIDE = 1_000, 3_000, 16, 1_024
STEPS, STEPS_QUICK = 300, 20


def run(settings: BenchSettings) -> list[Figure]:
    """Slates of one and of ten products, of this process's CPU time."""
    shop = _shop(np.random.default_rng(1))
    return [_measured(shop, slate, STEPS_QUICK if settings.quick else STEPS) for slate in (1, 10)]


def _measured(shop: Simulator, slate: int, steps: int) -> Figure:
    users = ShopVector(shop, SIDE_BY_SIDE, slate=slate)
    users.reset(seed=1)
    slates = np.random.default_rng(2).integers(0, PRODUCTS, (steps, SIDE_BY_SIDE, slate))
    start = time.process_time()
    for shown in slates:
        users.step(shown)
    seconds = time.process_time() - start
    return Figure(
        name=f"simulator, slates of {slate}",
        value=steps * SIDE_BY_SIDE / seconds,
        unit="user steps/s",
        limit=None,
        limit_name="",
        wanted=WANTED,
        at_least=True,
        note=f"{SIDE_BY_SIDE:,} users side by side, {PRODUCTS:,} products, {DIMENSION} dimensions, one core",
    )


def _shop(rng: np.random.Generator) -> Simulator:
    vectors = rng.standard_normal((PRODUCTS, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    record = rng.integers(0, PRODUCTS, (USERS, 20))
    return Simulator(
        dynamics=Dynamics(),
        origin=Provenance(),
        product_ids=tuple(f"p{n}" for n in range(PRODUCTS)),
        user_ids=tuple(f"u{n}" for n in range(USERS)),
        popularity=rng.standard_normal(PRODUCTS),
        vectors=vectors,
        tastes=vectors[record].mean(axis=1),
        prices=rng.lognormal(1.0, 1.0, PRODUCTS),
        record_starts=np.arange(USERS + 1) * 20,
        record=record.ravel(),
    )
