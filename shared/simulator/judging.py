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


def figures_of(runs: list[Judged]) -> dict[str, NDArray[np.float64]]:
    """Each figure of R runs of a policy, one a seed of its learning, in the same N visits: (R, N)."""
    return {name: np.stack([getattr(run, name) for run in runs]) for name in FIGURES}


def interval(values: NDArray[np.float64], rng: np.random.Generator) -> Interval:
    """The mean with its 95 % bootstrap interval over runs and visits, both drawn anew (Efron 1979).

    Of differences between two policies it is a paired one. Were runs not drawn, luck in learning would pass for merit.

    Args:
        values: (R, N)
    """
    runs, visits = values.shape
    drawn = rng.integers(0, visits, (_BOOTSTRAPS, visits), dtype=np.int32)
    of_runs = np.stack([run[drawn].mean(axis=1) for run in values])  # (R, _BOOTSTRAPS)
    chosen = rng.integers(0, runs, (runs, _BOOTSTRAPS))
    means = np.take_along_axis(of_runs, chosen, axis=0).mean(axis=0)
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
