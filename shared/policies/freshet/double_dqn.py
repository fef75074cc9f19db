"""Double deep Q-learning beside a cross-entropy head on one state: losses and one gradient step."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.numeric.arrays import with_prefix, without_prefix
from shared.policies.contract import StepReport
from shared.policies.freshet.eras import PopularityEras
from shared.policies.freshet.network import Encoder, at
from shared.policies.freshet.replay_buffer import Batch
from shared.policies.freshet.settings import FreshetSettings
from shared.policies.freshet.tables import ProductTables, Rows


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


def sampled_cross_entropy(
    positive: Tensor, sampled: Tensor, log_expected: Tensor, log_expected_positive: Tensor, is_positive: Tensor
) -> Tensor:
    """Softmax cross-entropy of each choice over a shared sample, log-Q corrected (Bengio & Senécal 2008, eq. 8): (B,).

    Args:
        positive: (B,) logit of the chosen product.
        sampled: (B, S) logits of the sample.
        log_expected: (S,) log of how often a draw brings each of the sample.
        log_expected_positive: (B,) likewise for the chosen product.
        is_positive: (B, S) where the sample holds the chosen product itself: not counted twice.
    """
    others = (sampled - log_expected).masked_fill(is_positive, -torch.inf)
    logits = torch.cat([(positive - log_expected_positive)[:, None], others], dim=1)  # (B, 1 + S)
    return functional.cross_entropy(logits, torch.zeros(len(positive), dtype=torch.long), reduction="none")


class DoubleDQN:
    """Online and target networks, their optimiser, and the step that improves them.

    The Q head alone would learn nothing of products nobody chose in a state, so products drawn at random are
    trained towards reward 0 with the state unchanged (SNQN: Xin et al., WSDM 2022, eq. 5).
    """

    def __init__(self, settings: FreshetSettings, generator: torch.Generator) -> None:
        self.settings = settings
        self.generator = generator
        self.tables = ProductTables(settings.dimension, generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            self.encoder = Encoder(settings.dimension)
        self.encoder_target = copy.deepcopy(self.encoder).requires_grad_(requires_grad=False)
        self.optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.steps = 0

    def step(
        self, batch: Batch, rng: np.random.Generator, eras: PopularityEras, weights: NDArray[np.float64]
    ) -> StepReport:
        """One gradient step.

        Args:
            rng: every random draw of the step comes from it.
            eras: popularity when each of the batch happened; the cross-entropy head learns what it does not explain.
            weights: (A,) of how often each product is drawn where not all are scored; sums to 1.
        """
        s = self.settings
        everything = self.tables.size <= s.full_softmax_products
        products = torch.from_numpy(batch.products).long().clamp(min=0)  # (B, T + 1)
        lengths = torch.from_numpy(batch.lengths)  # (B,)
        action = products[torch.arange(len(lengths)), lengths - 1]  # (B,)
        sample = (
            None if everything else torch.from_numpy(np.unique(rng.choice(len(weights), s.sampled_products, p=weights)))
        )
        negatives = torch.from_numpy(rng.integers(0, self.tables.size, s.negatives))  # (N,)
        touched = None
        if sample is not None:
            touched = torch.unique(torch.cat([products.flatten(), sample, negatives]))
        rows = self.tables.gather(touched)
        v, here = rows.values, rows.local(products)

        features = torch.from_numpy(batch.features)
        inputs = v["input"][here]  # (B, T + 1, D)
        kept = (torch.rand(inputs.shape, generator=self.generator) >= s.dropout) / (1 - s.dropout)  # as inputs
        hidden = self.encoder.hidden(inputs, features, kept)  # (B, T + 2, D)
        query = self.encoder.queries(at(hidden, lengths - 1))  # (B, H, D)
        chosen = rows.local(action)
        wanted = torch.from_numpy(batch.chosen).float()  # (B,)
        ce_losses = self._cross_entropy(query[:, 0], v, chosen, sample, rows, weights, batch.serials, eras)
        ce_loss = (ce_losses * wanted).sum() / wanted.sum().clamp(min=1.0)

        candidates = slice(None) if sample is None else rows.local(sample)
        q_all = query[:, 1] @ v["output.q"][candidates].T + v["bias.q"][candidates]  # (B, C)
        q_chosen = (query[:, 1] * v["output.q"][chosen]).sum(dim=1) + v["bias.q"][chosen]  # (B,)
        drawn = rows.local(negatives)
        q_drawn = query[:, 1] @ v["output.q"][drawn].T + v["bias.q"][drawn]  # (B, N)
        with torch.no_grad():
            reward, discount = torch.from_numpy(batch.reward), torch.from_numpy(batch.discount)
            q_now, q_next = self._target_values(products, features, lengths, sample)  # (B, C) each
            next_query = self.encoder.queries(at(hidden, lengths))[:, 1]
            next_online = next_query @ v["output.q"][candidates].T + v["bias.q"][candidates]
            target = td_targets(reward, discount, next_online, q_next)  # (B,)
            unchanged = td_targets(torch.zeros_like(reward), torch.full_like(reward, s.discount), q_all, q_now)
        measure = functional.smooth_l1_loss if s.td_loss == "huber" else functional.mse_loss
        td_loss = measure(q_chosen, target)
        not_chosen = (drawn[None, :] != chosen[:, None]).float()  # (B, N)
        away = measure(q_drawn, unchanged[:, None].expand_as(q_drawn), reduction="none")
        negative_loss = (away * not_chosen).sum() / not_chosen.sum().clamp(min=1.0)
        loss = ce_loss + s.td_weight * (td_loss + negative_loss)

        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        leaves = [*self.encoder.parameters(), *v.values()]
        torch.nn.utils.clip_grad_norm_(leaves, s.gradient_clip)
        self.optimizer.step()
        self.steps += 1
        self.tables.adam(rows, self.steps, learning_rate=s.learning_rate, weight_decay=s.weight_decay)
        if self.steps % s.target_steps == 0:
            self.encoder_target.load_state_dict(self.encoder.state_dict())
            self.tables.copy_to_target()
        return StepReport(loss.item(), ce_loss.item(), td_loss.item(), q_all.detach().amax(dim=1).mean().item())

    def _cross_entropy(
        self,
        query: Tensor,
        v: dict[str, Tensor],
        chosen: Tensor,
        sample: Tensor | None,
        rows: Rows,
        weights: NDArray[np.float64],
        serials: NDArray[np.int64],
        eras: PopularityEras,
    ) -> Tensor:
        """Loss of each choice, (B,), of logits that add to the log-popularity of their time."""
        size = self.tables.size
        if sample is None:
            prior = torch.from_numpy(eras.of(serials, None, size))  # (B, A)
            return functional.cross_entropy(query @ v["output.ce"].T + v["bias.ce"] + prior, chosen, reduction="none")
        # A product is in a sample of S draws with probability 1 - (1 - w)^S.
        expected = -np.expm1(self.settings.sampled_products * np.log1p(-np.minimum(weights, 1 - 1e-9)))
        log_expected = torch.from_numpy(np.log(np.maximum(expected, 1e-12)).astype(np.float32))
        actions = rows.rows[chosen] if rows.rows is not None else chosen
        places = rows.local(sample)
        prior = torch.from_numpy(eras.of(serials, torch.cat([sample, actions]).numpy(), size))  # (B, S + B)
        return sampled_cross_entropy(
            (query * v["output.ce"][chosen]).sum(dim=1) + v["bias.ce"][chosen] + prior[:, len(sample) :].diagonal(),
            query @ v["output.ce"][places].T + v["bias.ce"][places] + prior[:, : len(sample)],
            log_expected[sample],
            log_expected[actions],
            places[None, :] == chosen[:, None],
        )

    def _target_values(
        self, products: Tensor, features: Tensor, lengths: Tensor, sample: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Q of the target network at s and at s', over all products or the sample: (B, C) each."""
        t = self.tables.target
        candidates = slice(0, self.tables.size) if sample is None else sample
        hidden = self.encoder_target.hidden(t["input"][products], features)
        outputs, bias = t["output.q"][candidates], t["bias.q"][candidates]
        now, after = (
            self.encoder_target.queries(at(hidden, n))[:, 1] @ outputs.T + bias for n in (lengths - 1, lengths)
        )
        return now, after

    def to_tensors(self) -> dict[str, Tensor]:
        """Weights, target weights and the optimiser's moments, for a checkpoint."""
        tensors: dict[str, Tensor] = with_prefix("tables/", self.tables.to_tensors())
        tensors |= with_prefix("encoder/", self.encoder.state_dict())
        tensors |= with_prefix("encoder_target/", self.encoder_target.state_dict())
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": moment for name, moment in moments.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on from what `to_tensors` gave after `steps` gradient steps."""
        self.tables.restore(without_prefix("tables/", tensors))
        self.encoder.load_state_dict(without_prefix("encoder/", tensors))
        self.encoder_target.load_state_dict(without_prefix("encoder_target/", tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in without_prefix("optimizer/", tensors).items():
            index, _, moment = name.partition("/")
            state.setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.steps = steps
