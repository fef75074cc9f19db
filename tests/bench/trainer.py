"""Trainer: gradient steps against the least torch work of the same shapes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from services.trainer.learner import Learner
from services.trainer.settings import TrainerSettings
from shared.policies.freshet.double_dqn import td_targets
from shared.policies.freshet.network import Encoder, at
from shared.policies.freshet.policy import FreshetPolicy
from shared.process.settings import load
from shared.state.histories import EVENT_FEATURES
from shared.state.shop import ShopSettings
from tests.bench.figures import BenchSettings, Figure
from tests.bench.repeats import interleaved
from tests.bench.shop import histories

WANTED = 0.8
STEPS, STEPS_QUICK = {1_000: 150, 10_000: 40}, {1_000: 20, 10_000: 6}
USERS = 300  # each with a whole history, so that most of the buffer's rows are as long as they can be


def run(settings: BenchSettings) -> list[Figure]:
    """At 1,000 and 10,000 products, every one scored in every step."""
    torch.set_num_threads(1)  # as the trainer's default
    figures = []
    for products, steps in (STEPS_QUICK if settings.quick else STEPS).items():
        spreads = interleaved(
            {"trainer": _ours(products, steps), "bare torch": _bare(products, steps)},
            1 if settings.quick else 7,
            say=settings.say,
        )
        figures.append(
            Figure(
                f"training, {products:,} products",
                spreads["trainer"].median,
                "steps/s",
                spreads["bare torch"].median,
                "bare torch step",
                WANTED,
                at_least=True,
                note=f"batches of {load(TrainerSettings, {}).batch}, one thread; {spreads['trainer']} "
                f"beside {spreads['bare torch']}",
            )
        )
    return figures


def _ours(products: int, steps: int) -> Callable[[], float]:
    """A learner that has read the shop's histories; only its sampling and stepping is timed."""
    learner = Learner(load(TrainerSettings, {"FRESHET_TRAINER_WARMUP_TRANSITIONS": "1000000"}), load(ShopSettings, {}))
    for state in histories(USERS, products):
        learner.apply(state)
    policy = learner.policy
    assert isinstance(policy, FreshetPolicy)
    policy.dqn.tables.grow_to(products)  # those that nobody chose

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            batch = policy.buffer.sample(policy.settings.batch, policy.rng)
            policy.dqn.step(batch, policy.rng, policy.eras, np.zeros(0))
        return steps / (time.perf_counter() - start)

    return measure


def _bare(products: int, steps: int) -> Callable[[], float]:
    """The same network, losses and updates on one fixed batch: no buffer, no draws, no tables that grow, no report.

    Both optimisers are torch's own fused AdamW over all parameters, the fastest it has on a CPU.
    """
    s = load(TrainerSettings, {})
    generator = torch.Generator().manual_seed(s.seed)
    b, t, d = s.batch, load(ShopSettings, {}).history_length + 1, s.dimension

    def table(*shape: int) -> Tensor:
        return (0.05 * torch.randn(shape, generator=generator)).requires_grad_()

    encoder = Encoder(d)
    target = copy.deepcopy(encoder).requires_grad_(requires_grad=False)
    vectors, ce, q = table(products, d), table(products, d), table(products, d)
    ce_bias, q_bias = table(products), table(products)
    parameters = [*encoder.parameters(), vectors, ce, q, ce_bias, q_bias]
    optimizer = torch.optim.AdamW(parameters, lr=s.learning_rate, weight_decay=s.weight_decay, fused=True)
    old_vectors, old_q, old_q_bias = (p.detach().clone() for p in (vectors, q, q_bias))
    history = torch.randint(0, products, (b, t), generator=generator)
    features = torch.randn((b, t, len(EVENT_FEATURES)), generator=generator)
    lengths = torch.randint(2, t + 1, (b,), generator=generator)
    action = history[torch.arange(b), lengths - 1]
    negatives = torch.randint(0, products, (s.negatives,), generator=generator)
    not_chosen = (negatives[None, :] != action[:, None]).float()
    kept = torch.empty(b, t, d).bernoulli_(1 - s.dropout, generator=generator) / (1 - s.dropout)
    reward, discount = torch.rand(b, generator=generator), torch.full((b,), s.discount)
    nothing = torch.zeros(b)
    prior = torch.randn((b, products), generator=generator)

    def step() -> None:
        hidden = encoder.hidden(vectors[history], features, kept)
        query = encoder.queries(at(hidden, lengths - 1))
        ce_loss = functional.cross_entropy(query[:, 0] @ ce.T + ce_bias + prior, action)
        q_all = query[:, 1] @ q.T + q_bias
        q_chosen = (query[:, 1] * q[action]).sum(dim=1) + q_bias[action]
        q_drawn = query[:, 1] @ q[negatives].T + q_bias[negatives]
        with torch.no_grad():
            old = target.hidden(old_vectors[history], features)
            q_now, q_next = (target.queries(at(old, n))[:, 1] @ old_q.T + old_q_bias for n in (lengths - 1, lengths))
            online = encoder.queries(at(hidden, lengths))[:, 1] @ q.T + q_bias
            wanted = td_targets(reward, discount, online, q_next)
            unchanged = td_targets(nothing, discount, q_all, q_now)
        away = functional.smooth_l1_loss(q_drawn, unchanged[:, None].expand_as(q_drawn), reduction="none")
        negative_loss = (away * not_chosen).sum() / not_chosen.sum()
        loss = ce_loss + s.td_weight * (functional.smooth_l1_loss(q_chosen, wanted) + negative_loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, s.gradient_clip)
        optimizer.step()

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return steps / (time.perf_counter() - start)

    return measure
