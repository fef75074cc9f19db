"""The losses by hand, and which rows a step may touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shared.policies.freshet.double_dqn import DoubleDQN, sampled_cross_entropy, td_targets
from shared.policies.freshet.eras import PopularityEras
from shared.policies.freshet.replay_buffer import Batch
from shared.policies.freshet.settings import FreshetSettings
from shared.state.histories import EVENT_FEATURES

F = len(EVENT_FEATURES)


def a_batch(products: list[list[int]], reward: list[float]) -> Batch:
    longest = max(len(p) for p in products)
    rows = np.full((len(products), longest), -1, np.int32)
    for i, p in enumerate(products):
        rows[i, : len(p)] = p
    b = len(products)
    return Batch(
        products=rows,
        features=np.zeros((b, longest, F), np.float32),
        lengths=np.array([len(p) for p in products], np.int64),
        reward=np.array(reward, np.float32),
        discount=np.zeros(b, np.float32),
        chosen=np.ones(b, np.bool_),
        serials=np.zeros(b, np.int64),
    )


def test_td_targets_take_the_action_of_the_online_and_the_value_of_the_target_network() -> None:
    q_online = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 0.0]])
    q_target = torch.tensor([[9.0, 0.5, 7.0], [2.0, 8.0, 8.0]])
    targets = td_targets(torch.tensor([0.25, -1.0]), torch.tensor([0.5, 0.0]), q_online, q_target)
    # 0.25 + 0.5 * 0.5: product 1 is best online, the target network values it 0.5; the second episode ended.
    assert targets.tolist() == [0.5, -1.0]


def test_a_sample_of_everything_gives_the_full_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn((5, 7), generator=generator)
    chosen = torch.tensor([0, 3, 6, 2, 2])
    sampled = sampled_cross_entropy(
        logits.gather(1, chosen[:, None]).squeeze(1),
        logits,
        torch.zeros(7),
        torch.zeros(5),
        torch.arange(7)[None, :] == chosen[:, None],
    )
    full = torch.nn.functional.cross_entropy(logits, chosen, reduction="none")
    assert torch.allclose(sampled, full, atol=1e-6)


def test_the_log_q_correction_undoes_an_uneven_sample() -> None:
    """Two products, one expected in twice as many samples: its exponential counts half."""
    loss = sampled_cross_entropy(
        torch.tensor([0.0]),
        torch.tensor([[0.0, 0.0]]),
        torch.log(torch.tensor([1.0, 0.5])),
        torch.tensor([0.0]),
        torch.tensor([[False, False]]),
    )
    assert loss.item() == pytest.approx(np.log(1 + 1 + 2))


@pytest.mark.parametrize("sampled", [False, True])
def test_only_the_rows_a_step_touched_change(sampled: bool) -> None:
    settings = FreshetSettings(
        dimension=4, full_softmax_products=10 if sampled else 1000, sampled_products=2, negatives=1, dropout=0.0
    )
    dqn = DoubleDQN(settings, torch.Generator().manual_seed(1))
    dqn.tables.grow_to(200)
    before = {name: table.clone() for name, table in dqn.tables.values.items()}
    eras = PopularityEras()
    eras.note(0, np.zeros(200, np.float32), oldest=0)
    dqn.step(a_batch([[1, 2], [3, 4]], [1.0, -1.0]), np.random.default_rng(1), eras, np.full(200, 1 / 200))
    changed = {
        name: int((table[:200] != before[name][:200]).reshape(200, -1).any(dim=1).sum())
        for name, table in dqn.tables.values.items()
    }
    if sampled:  # four of the batch, two sampled, one drawn as a negative
        assert 2 <= changed["output.ce"] <= 7
        assert changed["input"] <= 7
        assert 2 <= changed["output.q"] <= 7
    else:
        assert changed["output.ce"] == 200


def test_a_step_learns_the_reward_of_what_was_chosen() -> None:
    settings = FreshetSettings(dimension=8, learning_rate=0.02, dropout=0.0, negatives=4, td_loss="squared")
    dqn = DoubleDQN(settings, torch.Generator().manual_seed(1))
    dqn.tables.grow_to(6)
    eras = PopularityEras()
    eras.note(0, np.zeros(6, np.float32), oldest=0)
    rng = np.random.default_rng(1)
    batch = a_batch([[0, 1], [0, 2]], [1.0, -1.0])
    reports = [dqn.step(batch, rng, eras, np.zeros(0)) for _ in range(150)]
    assert reports[-1].td_loss < 0.2 * reports[0].td_loss
    assert reports[-1].ce_loss < reports[0].ce_loss


def test_huber_and_squared_loss_differ() -> None:
    def first(td_loss: str) -> float:
        settings = FreshetSettings.model_validate({"dimension": 4, "td_loss": td_loss, "dropout": 0.0})
        dqn = DoubleDQN(settings, torch.Generator().manual_seed(1))
        dqn.tables.grow_to(6)
        eras = PopularityEras()
        eras.note(0, np.zeros(6, np.float32), oldest=0)
        return dqn.step(a_batch([[0, 1]], [0.5]), np.random.default_rng(1), eras, np.zeros(0)).td_loss

    assert first("squared") == pytest.approx(2 * first("huber"), rel=1e-5)  # small errors: x² and x²/2
