from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from services.lab.simulator.agent import Agent, AgentSettings, Step
from services.lab.simulator.comparison import Judged, compare, compared, figures_of, interval, judge
from services.lab.simulator.environment import (
    Observation,
    ShopVector,
    at_random,
    cooccurrence,
    follows,
    slate_of,
    trending,
)
from services.lab.simulator.simulator import Simulator
from tests.support.simulated import OF_A_KIND, PRODUCTS, USERS, simulator

SMALL = {"users": 32, "batch": 64, "hidden": 32, "warmup": 5, "target_steps": 20, "epsilon_decay": 0.99}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def observed(liked: list[list[int]], shown: list[list[int]]) -> Observation:
    return {
        "liked": np.array(liked),
        "shown": np.array(shown),
        "clicked": np.zeros((len(shown), len(shown[0])), np.int8),
        "visit": np.zeros((len(shown), 4), np.float32),
    }


def test_a_slate_is_the_best_that_was_not_shown_lately() -> None:
    scores = np.array([[1.0, 5.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    seen = observed([[-1], [-1]], [[1, -1], [-1, -1]])
    assert slate_of(scores.copy(), seen, 1).tolist() == [[3], [0]]
    assert slate_of(scores.copy(), seen, 3).tolist() == [[3, 2, 0], [0, 1, 2]]


def test_cooccurrence_and_trending_are_those_of_the_records() -> None:
    small = replace(simulator(), popularity=np.arange(PRODUCTS) / PRODUCTS)
    shares = follows(small)
    assert shares[0, :5] == pytest.approx(np.array([0, 1, 0.7, 0.49, 0]) / 2.19)  # users 0, 2, …: 0, 1, 2, 3, 4
    assert shares[4].sum() == 0
    seen = observed([[0, -1, -1], [OF_A_KIND + 1, 0, -1], [-1, -1, -1]], [[-1]] * 3)
    scores = cooccurrence(small)(seen)
    assert scores.argmax(axis=1).tolist() == [1, OF_A_KIND + 2, PRODUCTS - 1]
    assert scores[1, 1] == pytest.approx(0.7 / 2.19, abs=1e-5)
    assert trending(small)(seen).argmax(axis=1).tolist() == [PRODUCTS - 1] * 3


def test_judging_repeats_and_tells_a_better_policy_from_a_worse_one() -> None:
    shop = simulator()

    def by_taste(seen: Observation) -> np.ndarray:
        return slate_of(shop.vectors[seen["liked"][:, 0]] @ shop.vectors.T, seen, 1)

    first, again = (judge(shop, by_taste, visits=400, seed=1) for _ in range(2))
    assert np.array_equal(first.reward, again.reward)
    blind_scores = at_random(PRODUCTS, np.random.default_rng(1))
    blind = judge(shop, lambda seen: slate_of(blind_scores(seen), seen, 1), visits=400, seed=1)
    more = compared({"taste": figures_of([first]), "blind": figures_of([blind])}, "taste", np.random.default_rng(2))
    assert more["blind"].low > 0
    assert first.slates.min() >= 1
    assert set(np.unique(first.success)) <= {0.0, 1.0}
    assert first.reward.sum() == pytest.approx(0.1 * first.clicks.sum() + 0.7 * purchases(first))


def purchases(judged: Judged) -> float:
    return float(np.round((judged.reward - 0.1 * judged.clicks).sum() / 0.7))


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = [interval(rng.exponential(1.0, (1, 200)), rng) for _ in range(100)]
    assert 88 <= sum(comparison.low <= 1.0 <= comparison.high for comparison in held) <= 100


def test_luck_in_learning_widens_the_interval() -> None:
    rng = np.random.default_rng(5)
    visits = rng.normal(0.0, 0.1, 500)
    steady, lucky = np.stack([visits] * 3), visits + np.array([[-0.3], [0.0], [0.3]])
    narrow, wide = interval(steady, rng), interval(lucky, rng)
    assert wide.mean == pytest.approx(narrow.mean)
    assert wide.high - wide.low > 10 * (narrow.high - narrow.low)


def learned(shop: Simulator, discount: float, steps: int = 400, seed: int = 1) -> tuple[Agent, list[Step]]:
    agent, seen = Agent(shop, AgentSettings(discount=discount, steps=steps, **SMALL), seed), []
    agent.learn(ShopVector(shop, SMALL["users"]), seed, seen.append)
    return agent, seen


def rewarded(shop: Simulator, agent: Agent) -> float:
    return float(judge(shop, lambda o: slate_of(agent.scores(o), o, 1), visits=300, seed=9).reward.mean())


def test_an_agent_learns_what_is_wanted_and_repeats_bit_for_bit() -> None:
    shop = simulator(newcomers=0.3)
    (agent, seen), (again, _) = learned(shop, 0.0, 150), learned(shop, 0.0, 150)
    observation, _ = ShopVector(shop, 50).reset(seed=3)
    assert np.array_equal(agent.scores(observation), again.scores(observation))
    assert seen[0].epsilon == 1.0
    assert seen[-1].epsilon == pytest.approx(max(0.05, 0.99**146))
    assert seen[-1].reward_per_slate > 2 * seen[10].reward_per_slate


def test_a_discount_pays_where_what_is_wanted_most_drives_users_away() -> None:
    """Half of the products bait: clicked more, but whoever clicks one leaves. The others please."""
    bait = np.repeat([1.0, 0.0], PRODUCTS // 2)
    shop = replace(
        simulator(
            popularity_weight=1.5, taste_weight=0.0, random_click=0.35, satisfied_offset=5.0,
            satisfied_popularity=-10.0, purchase_share=0.0, disappointment=100.0, trust=10.0, leave=0.01,
            satiation_weight=0.0,
        ),
        popularity=bait,
    )  # fmt: skip
    (greedy, _), (farsighted, _) = learned(shop, 0.0), learned(shop, 0.9)
    observation, _ = ShopVector(shop, USERS).reset(seed=3)
    assert bait[greedy.scores(observation).argmax(axis=1)].mean() > 0.9
    assert bait[farsighted.scores(observation).argmax(axis=1)].mean() < 0.1
    assert rewarded(shop, farsighted) > 2 * rewarded(shop, greedy)


def test_a_contest_judges_all_by_the_same_visits() -> None:
    progress: list[str] = []
    shop = simulator()
    comparison = compare(
        shop, shop, discounts=(0.0, 0.5), seeds=2, steps=30, visits=50, slate=2, seed=3, look=progress.append
    )  # fmt: skip
    assert list(comparison.policies) == ["random", "trending", "cooccurrence", "dqn 0", "dqn 0.5"]
    assert list(comparison.ahead) == ["dqn 0", "dqn 0.5"]
    assert list(comparison.ahead["dqn 0.5"]) == ["random", "trending", "cooccurrence", "dqn 0"]
    assert {name: len(rewards) for name, rewards in comparison.runs.items()} == {"dqn 0": 2, "dqn 0.5": 2}
    assert comparison.policies["dqn 0"]["reward"].mean == pytest.approx(np.mean(comparison.runs["dqn 0"]))
    assert comparison.trained["trending"] == pytest.approx(comparison.policies["trending"]["reward"].mean)
    assert any("run 2" in line for line in progress)
    assert comparison.to_json()["policies"]["dqn 0"]["slates"]["mean"] > 1
    assert any(line.startswith("dqn 0.5") for line in comparison.lines())
    assert comparison.lines()[-1].startswith("reward of each run: dqn 0 ")
    once = dataclasses.replace(comparison, runs={})  # as with one seed
    assert not any("of each run" in line for line in once.lines())
