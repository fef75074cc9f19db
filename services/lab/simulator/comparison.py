"""Compares policies in simulated shops: all learn with the same budget, and are judged by the same visitors.

Every policy meets the same visitors with the same luck, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lab.simulator.agent import Agent, AgentSettings, Step
from services.lab.simulator.environment import (
    Observation,
    Scores,
    ShopVector,
    at_random,
    cooccurrence,
    slate_of,
    trending,
)
from services.lab.simulator.simulator import Simulator

# What a policy answers an observation of N users with: (N, L) product rows, best first.
Act = Callable[[Observation], NDArray[np.int64]]

FIGURES = ("reward", "slates", "success")

_TITLES = {"reward": "cumulative reward", "slates": "session length", "success": "success rate"}
_BOOTSTRAPS = 2_000
_CURVE_EVERY = 100  # gradient steps between points of the learning curves


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of all policies."""

    policies: dict[str, dict[str, Interval]]  # in the test period, by figure
    trained: dict[str, float]  # cumulative reward in the training period, of the same policies
    runs: dict[str, list[float]]  # of policies run under several seeds: cumulative reward of each in the test period
    ahead: dict[str, dict[str, Interval]]  # learned policy → other policy → reward more per visit
    curves: dict[str, list[dict[str, float]]]  # of learned policies' first seed
    setting: dict[str, Any]

    def lines(self) -> list[str]:
        """The comparison as tables for people."""
        width = max(map(len, self.policies))
        lines = [f"{'policy':<{width}}" + "".join(f"  {_TITLES[name]:>24}" for name in FIGURES) + "   in training"]
        for policy, figures in self.policies.items():
            cells = "".join(
                f"  {_text_of(figures[name], '.2f' if name == 'slates' else '.3f'):>24}" for name in FIGURES
            )
            lines.append(f"{policy:<{width}}{cells}  {self.trained[policy]:>12.3f}")
        for policy, others in self.ahead.items():
            lines += ["", f"{policy}: reward a visit more than"]
            lines += [f"  {name:<{width}}  {_text_of(more, '+.3f')}  {_verdict(more)}" for name, more in others.items()]
        if self.runs:
            lines += ["", "reward of each run: " + "; ".join(
                f"{policy} {', '.join(f'{reward:.3f}' for reward in rewards)}" for policy, rewards in self.runs.items()
            )]  # fmt: skip
        return lines

    def to_json(self) -> dict[str, Any]:
        """The comparison for machines."""
        return {
            "policies": {
                policy: {name: asdict(mean) for name, mean in figures.items()}
                for policy, figures in self.policies.items()
            },
            "reward_in_training_period": self.trained,
            "reward_of_runs": self.runs,
            "ahead": {
                policy: {name: asdict(mean) for name, mean in others.items()} for policy, others in self.ahead.items()
            },
            "curves": self.curves,
            **self.setting,
        }


def compare(
    train: Simulator,
    test: Simulator,
    *,
    discounts: tuple[float, ...],
    seeds: int,
    steps: int,
    visits: int,
    slate: int,
    seed: int,
    look: Callable[[str], None],
) -> Comparison:
    """Let the learned policies learn in one simulator, and judge all of them in both."""
    rng = np.random.default_rng(seed)
    runs: dict[str, list[Scores]] = {
        "random": [at_random(len(train.product_ids), np.random.default_rng([seed, 1]))],
        "trending": [trending(train)],
        "cooccurrence": [cooccurrence(train)],
    }
    curves: dict[str, list[dict[str, float]]] = {}
    settings = [AgentSettings(discount=discount, steps=steps) for discount in discounts]
    for each in settings:
        name = named(each.discount)
        runs[name] = []
        for n in range(seeds):
            agent = Agent(train, each, seed + n)
            curve: list[dict[str, float]] = []
            agent.learn(
                ShopVector(train, each.users, slate=slate), seed + 1000 * (n + 1), _watched(name, n, each, curve, look)
            )
            curves.setdefault(name, curve)
            runs[name].append(agent.scores)
    judged: dict[str, list[Judged]] = {}
    trained: dict[str, float] = {}
    for name, scorers in runs.items():
        look(f"  judging {name}")
        judged[name] = [judge(test, _act(s, slate), visits=visits, seed=seed + 10**6, slate=slate) for s in scorers]
        again = [judge(train, _act(s, slate), visits=visits, seed=seed + 10**6, slate=slate) for s in scorers]
        trained[name] = float(np.mean([run.reward.mean() for run in again]))
    means = {name: figures_of(each) for name, each in judged.items()}
    return Comparison(
        policies={n: {f: interval(values, rng) for f, values in figures.items()} for n, figures in means.items()},
        trained=trained,
        runs={name: [float(run.reward.mean()) for run in each] for name, each in judged.items() if len(each) > 1},
        ahead={named(discount): compared(means, named(discount), rng) for discount in discounts},
        curves=curves,
        setting={
            "seed": seed,
            "seeds": seeds,
            "steps": steps,
            "visits": visits,
            "slate": slate,
            "agent": settings[0].model_dump(exclude={"discount"}),
            "train": {"dynamics": train.dynamics.model_dump(), "origin": train.origin.model_dump()},
            "test": {"dynamics": test.dynamics.model_dump(), "origin": test.origin.model_dump()},
        },
    )


def named(discount: float) -> str:
    """The learned policy's name in tables."""
    return f"dqn {discount:g}"


def _act(scores: Scores, slate: int) -> Act:
    def act(observed: Observation) -> NDArray[np.int64]:
        return slate_of(scores(observed), observed, slate)

    return act


def _watched(
    name: str, run: int, settings: AgentSettings, curve: list[dict[str, float]], look: Callable[[str], None]
) -> Callable[[Step], None]:
    def watch(step: Step) -> None:
        if step.step % _CURVE_EVERY == 0 or step.step == settings.steps:
            curve.append(asdict(step))
        look(
            f"  {name}, run {run + 1}: {step.step / settings.steps:4.0%}  ε {step.epsilon:.2f}  "
            f"loss {step.loss:.4f}  mean max-Q {step.mean_max_q:.3f}  reward a slate {step.reward_per_slate:.4f}"
        )

    return watch


def _text_of(estimate: Interval, digits: str) -> str:
    return f"{estimate.mean:{digits}} [{estimate.low:{digits}}, {estimate.high:{digits}}]"


def _verdict(more: Interval) -> str:
    if more.low > 0:
        return "ahead"
    return "behind" if more.high < 0 else "no clear difference"


# Judging: visits of one policy, and intervals of their figures.


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
