"""The step of double Q-learning: its targets, what it learns of a batch, and what it learns nothing of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared.model.candidates import HEADS, F
from shared.policies.freshet.double_dqn import CE, DoubleDQN, Q, td_targets
from shared.policies.freshet.replay_buffer import Batch
from shared.policies.freshet.settings import FreshetSettings

SAMPLE = 4  # candidates of a step
OPTIONS = {"hidden": 8, "learning_rate": 0.02, "negatives": SAMPLE - 1, "discount": 0.0}


def a_dqn(**settings: object) -> DoubleDQN:
    return DoubleDQN(FreshetSettings.model_validate(OPTIONS | settings), 1)


def a_batch(
    reward: float = 1.0, *, steps: int = 16, has_action: bool = True, chosen: bool = True, discount: float = 0.0
) -> Batch:
    """Steps whose candidates are random and whose actions have 1 in their first feature, where others have 0."""
    candidates = np.random.default_rng(1).uniform(-1, 1, (2, steps, SAMPLE, F)).astype(np.float32)
    candidates[..., 0] = 0.0
    candidates[:, :, 0, 0] = 1.0
    return Batch(
        candidates=candidates[0],
        next_candidates=candidates[1],
        has_action=np.full(steps, has_action),
        chosen=np.full(steps, chosen),
        reward=np.full(steps, reward, np.float32),
        discount=np.full(steps, discount, np.float32),
    )


def heads(dqn: DoubleDQN, candidates: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each head says, (2, B, S)."""
    with torch.no_grad():
        of_all = dqn.network(torch.from_numpy(candidates.reshape(-1, F))).numpy()
    return of_all.reshape(len(HEADS), *candidates.shape[:2])


def test_td_targets_take_the_action_of_the_online_and_the_value_of_the_target_network() -> None:
    q_online = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 0.0]])
    q_target = torch.tensor([[9.0, 0.5, 7.0], [2.0, 8.0, 8.0]])
    targets = td_targets(torch.tensor([0.25, -1.0]), torch.tensor([0.5, 0.0]), q_online, q_target)
    # 0.25 + 0.5 * 0.5: product 1 is best online, the target network values it 0.5; the second episode ended.
    assert targets.tolist() == [0.5, -1.0]


def test_what_has_learned_nothing_says_nothing() -> None:
    assert not heads(a_dqn(), a_batch().candidates).any()


def test_a_step_learns_what_was_chosen_and_what_it_was_worth() -> None:
    dqn, batch = a_dqn(), a_batch()
    reports = [dqn.step(batch) for _ in range(300)]
    assert reports[0].ce_loss == pytest.approx(np.log(SAMPLE)), "as likely as any of them"
    assert reports[-1].ce_loss < 0.1 * reports[0].ce_loss
    assert reports[-1].td_loss < 0.01 * reports[0].td_loss
    outputs = heads(dqn, batch.candidates)
    assert np.all(outputs[CE, :, 0] > outputs[CE, :, 1:].max(axis=1))
    assert outputs[Q, :, 0] == pytest.approx(1.0, abs=0.2)
    assert outputs[Q, :, 1:] == pytest.approx(0.0, abs=0.2), "negatives are worth nothing"


def test_what_follows_is_valued_by_the_candidates_of_the_next_step() -> None:
    """Both steps' actions are worth 1 at once; the next one's half is added where there is one."""
    after_all = []
    for discount in (0.0, 0.5):
        dqn, batch = a_dqn(target_steps=10, learning_rate=0.01), a_batch(discount=discount)
        last = Batch(
            batch.next_candidates, batch.next_candidates, *(getattr(a_batch(), n) for n in Batch.__slots__[2:])
        )
        for _ in range(300):
            dqn.step(batch)
            dqn.step(last)
        after_all.append(float(heads(dqn, batch.candidates)[Q, :, 0].mean()))
        assert heads(dqn, batch.next_candidates)[Q, :, 0] == pytest.approx(1.0, abs=0.2)
    assert after_all == pytest.approx([1.0, 1.5], abs=0.15)


def test_the_online_network_picks_the_next_action_and_the_target_network_values_it() -> None:
    dqn, batch = a_dqn(td_loss="squared"), a_batch(0.0, discount=0.5)
    online, target = (dqn._values(net, torch.from_numpy(batch.next_candidates)) for net in (dqn.network, dqn.target))
    assert torch.equal(online, target)
    with torch.no_grad():  # the two disagree on which candidate is best
        dqn.network.w_last[Q].normal_(generator=torch.Generator().manual_seed(3))
        dqn.target.w_last[Q].normal_(generator=torch.Generator().manual_seed(4))
        online, target = (
            dqn._values(net, torch.from_numpy(batch.next_candidates)) for net in (dqn.network, dqn.target)
        )
        now = dqn._values(dqn.network, torch.from_numpy(batch.candidates))[:, 0]
    expected = 0.5 * target.gather(1, online.argmax(dim=1, keepdim=True))[:, 0]
    other = 0.5 * target.amax(dim=1)
    report = dqn.step(batch)
    assert report.td_loss == pytest.approx(float(((now - expected) ** 2).mean()), rel=1e-5)
    assert report.td_loss != pytest.approx(float(((now - other) ** 2).mean()), rel=1e-2)


def gradient_of(batch: Batch, head: int) -> float:
    """How far one step that has learned nothing yet moves a head's own weights and bias."""
    dqn = a_dqn()
    dqn.step(batch)
    weight, bias = dqn.network.w_last.detach(), dqn.network.b_last.detach()
    return float(weight[head].abs().sum() + bias[head].abs())


def test_a_step_without_its_action_among_the_candidates_teaches_neither_head_that_it_was_chosen() -> None:
    assert gradient_of(a_batch(), CE) > 0.0
    assert gradient_of(a_batch(has_action=False), CE) == 0.0
    assert gradient_of(a_batch(reward=1.0), Q) > 0.0
    assert gradient_of(a_batch(reward=1.0, has_action=False), Q) == 0.0, "the first candidate was not rewarded"
    mixed, changed = a_batch(), a_batch()
    for batch in (mixed, changed):
        batch.has_action[::2] = False
    changed.reward[::2] = -7.0
    one, other = a_dqn(), a_dqn()
    one.step(mixed)
    other.step(changed)
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True))


def test_what_was_not_wanted_teaches_its_reward_and_is_no_choice_to_imitate() -> None:
    assert gradient_of(a_batch(-1.0, chosen=False), CE) == 0.0
    assert gradient_of(a_batch(-1.0, chosen=False), Q) > 0.0


def test_the_target_network_follows_every_so_many_steps() -> None:
    dqn, batch = a_dqn(target_steps=3), a_batch()
    equal = []
    for _ in range(6):
        dqn.step(batch)
        pairs = zip(dqn.network.parameters(), dqn.target.parameters(), strict=True)
        equal.append(all(torch.equal(online, target) for online, target in pairs))
    assert equal == [False, False, True, False, False, True]


def test_huber_and_squared_loss_differ() -> None:
    first = {name: a_dqn(td_loss=name).step(a_batch(0.5)).td_loss for name in ("squared", "huber")}
    assert first["squared"] == pytest.approx(2 * first["huber"], rel=1e-5)  # small errors: x² and x²/2


def test_it_goes_on_from_what_it_kept() -> None:
    whole, first = a_dqn(target_steps=7), a_dqn(target_steps=7)
    batches = [a_batch(reward) for reward in np.linspace(-1, 1, 20)]
    for batch in batches:
        whole.step(batch)
    for batch in batches[:9]:
        first.step(batch)
    second = a_dqn(target_steps=7)
    second.restore(first.to_tensors(), first.steps)
    for batch in batches[9:]:
        second.step(batch)
    kept, expected = second.to_tensors(), whole.to_tensors()
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in kept)
