"""Judges policies in a simulated shop: the same visitors with the same luck for each, so differences are paired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.simulator.environment import Observation, ShopVector
from shared.simulator.simulator import Simulator

# What a policy answers an observation of N users with: (N, L) product rows, best first.
Act = Callable[[Observation], NDArray[np.int64]]

FIGURES = ("reward", "slates", "success")

_BOOTSTRAPS = 2_000


@dataclass(frozen=True, slots=True)
class Judged:
    """N visits of one policy."""

    reward: NDArray[np.float64]  # (N,) in all
    slates: NDArray[np.float64]  # (N,) until the user left: the session's length
    success: NDArray[np.float64]  # (N,) 1 where something was bought
    clicks: NDArray[np.float64]  # (N,)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it lies with 95 %."""

    mean: float
    low: float
    high: float


def judge(simulator: Simulator, act: Act, *, visits: int, seed: int, slate: int = 1) -> Judged:
    """One visit of each of so many users, the same ones for every policy."""
    shop = ShopVector(simulator, visits, slate=slate)
    observed, _ = shop.reset(seed=seed)
    reward, slates, bought, clicks = (np.zeros(visits) for _ in range(4))
    here = np.ones(visits, bool)
    slates_shown = np.zeros((visits, slate), np.int64)  # whoever has left is shown anything
    while here.any():
        slates_shown[here] = act({name: values[here] for name, values in observed.items()})
        observed, rewards, terminated, truncated, infos = shop.step(slates_shown)
        reward += np.where(here, rewards, 0.0)
        slates += here
        bought += here & infos["purchased"]
        clicks += here & (infos["place"] >= 0)
        here &= ~(terminated | truncated)
    return Judged(reward, slates, (bought > 0).astype(np.float64), clicks)


def mean_of(runs: list[Judged]) -> dict[str, NDArray[np.float64]]:
    """Each visit's figures, on average over the runs of a policy, one per seed of its learning."""
    return {name: np.mean([getattr(run, name) for run in runs], axis=0) for name in FIGURES}


def interval(values: NDArray[np.float64], rng: np.random.Generator) -> Interval:
    """The mean over visits with its 95 % bootstrap interval (Efron 1979); of differences, a paired one."""
    drawn = rng.integers(0, len(values), (_BOOTSTRAPS, len(values)), dtype=np.int32)
    means = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def compared(
    policies: Mapping[str, dict[str, NDArray[np.float64]]], best: str, rng: np.random.Generator
) -> dict[str, Interval]:
    """How much more reward a visit brings under `best` than under each other policy."""
    return {
        name: interval(policies[best]["reward"] - figures["reward"], rng)
        for name, figures in policies.items()
        if name != best
    }
