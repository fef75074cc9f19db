"""Double deep Q-learning beside a choice head on one network: losses and one gradient step."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from shared.model.candidates import HEADS
from shared.numeric.arrays import with_prefix, without_prefix
from shared.policies.contract import StepReport
from shared.policies.freshet.network import TorchActionNetwork, device_of
from shared.policies.freshet.replay_buffer import Batch
from shared.policies.freshet.settings import FreshetSettings

CE, Q = HEADS.index("ce"), HEADS.index("q")


def td_targets(reward: Tensor, discount: Tensor, q_online: Tensor, q_target: Tensor) -> Tensor:
    """r + discount * Q_target(s', argmax_a Q_online(s', a)): Double DQN, van Hasselt et al. 2016, eq. 4.

    Args:
        reward: (B,)
        discount: (B,), 0 where the episode ended.
        q_online: (B, A) online network at s': picks the action.
        q_target: (B, A) target network at s': values it.
    """
    with torch.no_grad():
        best = q_online.argmax(dim=1, keepdim=True)  # (B, 1)
        return reward + discount * q_target.gather(1, best).squeeze(1)  # (B,)


class DoubleDQN:
    """Online and target networks, their optimiser, and the step that improves them.

    The negatives of a step are candidates that the mixture drew at the event's moment. Against these the softmax over
    the choice head alone learns log p(chosen | state) - log p_mixture: noise-contrastive estimation with the mixture as
    the noise (Ma & Collins, EMNLP 2018, the ranking objective). The value head alone would learn nothing of what nobody
    chose in a state, so the negatives are trained towards reward 0 with the state unchanged (SNQN: Xin et al., WSDM
    2022, eq. 5).
    """

    def __init__(self, settings: FreshetSettings, seed: int) -> None:
        self.settings = settings
        self.device = device_of(settings.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = TorchActionNetwork(settings.hidden).to(self.device)
        self.target = copy.deepcopy(self.network).requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.steps = 0

    def step(self, batch: Batch) -> StepReport:
        """One gradient step."""
        s = self.settings
        candidates, following, has_action, chosen, reward, discount = (
            torch.from_numpy(array).to(self.device)
            for array in (
                batch.candidates, batch.next_candidates, batch.has_action, batch.chosen, batch.reward, batch.discount
            )
        )  # fmt: skip
        candidates, following = candidates.float(), following.float()  # they come at half precision
        of_each = self.network(candidates.flatten(0, 1)).unflatten(1, candidates.shape[:2])  # (2, B, S)
        wanted = (has_action & chosen).float()  # (B,)
        first = torch.zeros(len(wanted), dtype=torch.long, device=self.device)
        ce_losses = functional.cross_entropy(of_each[CE], first, reduction="none")  # (B,)
        ce_loss = (ce_losses * wanted).sum() / wanted.sum().clamp(min=1.0)

        q = of_each[Q]  # (B, S)
        with torch.no_grad():
            q_now, q_next = self._values(self.target, torch.cat([candidates, following])).chunk(2)
            q_next_online = self._values(self.network, following)
            target = td_targets(reward, discount, q_next_online, q_next)  # (B,)
            unchanged = td_targets(torch.zeros_like(reward), torch.full_like(reward, s.discount), q, q_now)
        measure = functional.smooth_l1_loss if s.td_loss == "huber" else functional.mse_loss
        acted = has_action.float()
        td_loss = (measure(q[:, 0], target, reduction="none") * acted).sum() / acted.sum().clamp(min=1.0)
        away = measure(q[:, 1:], unchanged[:, None].expand_as(q[:, 1:]), reduction="none")
        loss = ce_loss + s.td_weight * (td_loss + away.mean())

        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), s.gradient_clip)
        self.optimizer.step()
        self.steps += 1
        if self.steps % s.target_steps == 0:
            self.target.load_state_dict(self.network.state_dict())
        report = torch.stack([loss.detach(), ce_loss.detach(), td_loss.detach(), q.detach().amax(dim=1).mean()])
        return StepReport(*report.tolist())

    @staticmethod
    def _values(network: TorchActionNetwork, candidates: Tensor) -> Tensor:
        """(B, S, F) → Q, (B, S)."""
        result: Tensor = network(candidates.flatten(0, 1), first=Q).view(candidates.shape[:2])
        return result

    def to_tensors(self) -> dict[str, Tensor]:
        """Weights, target weights and the optimiser's moments, for a checkpoint."""
        tensors: dict[str, Tensor] = with_prefix("network/", self.network.state_dict())
        tensors |= with_prefix("target/", self.target.state_dict())
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": moment for name, moment in moments.items()}
        return {name: tensor.detach().cpu() for name, tensor in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on from what `to_tensors` gave after `steps` gradient steps."""
        self.network.load_state_dict(without_prefix("network/", tensors))
        self.target.load_state_dict(without_prefix("target/", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in without_prefix("optimizer/", tensors).items():
            index, _, moment = name.partition("/")
            state.setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.steps = steps
