"""The policy `freshet`: counts, choices and values, weighted by how well each predicted.

Counts: popularity and relations between products, mixed by online expectation-maximisation. Choices and values: a
sequence encoder with a cross-entropy head and a Double-Q head on one state (SQN: Xin et al., SIGIR 2020), which learn
what popularity does not explain. What is served is log(mixture) + trend + w_ce · logit + w_q · Q, where the trend says
how much more popular a product is now than in the stream's popularity, which halves slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.model.format import Golden, NeighbourPart, Parts
from shared.model.served import FloatArray, logs, mix
from shared.policies.contract import Fitted, Gauges, Learned, PolicySnapshot, StepReport, keeps_contract
from shared.policies.counts import Cooccurrence, Relation
from shared.policies.freshet.double_dqn import DoubleDQN
from shared.policies.freshet.mixture import Itself, Mixture, PopularityEras, Trend
from shared.policies.freshet.network import HEADS, folded, to_onnx
from shared.policies.freshet.replay_buffer import ReplayBuffer
from shared.policies.freshet.settings import FreshetSettings, steps_after
from shared.policies.freshet.validation import UNDECIDED, Choice, Validation
from shared.process.arrays import without_prefix
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.stream import Seen, Stream
from shared.state.transitions import Transition

# What follows what, at short range, and what goes together, at longer range.
RELATIONS = (Relation("next", 0.5, both_ways=False), Relation("together", 0.8, both_ways=True))
# Users and products of the golden queries.
GOLDEN_USERS = 8
GOLDEN_PRODUCTS = 32


@keeps_contract
class FreshetPolicy:
    """Everything but the weights of the heads changes with every event; those are chosen anew every so many."""

    name: ClassVar[str] = "freshet"
    fitted: ClassVar[Fitted] = "incrementally"
    seeded: ClassVar[bool] = True
    reads_future: ClassVar[bool] = False
    published: ClassVar[bool] = True
    fit_sequences = None

    def __init__(self, stream: Stream, seed: int, *, settings: FreshetSettings | None = None) -> None:
        self.settings = settings or FreshetSettings()
        self.stream = stream
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.generator = torch.Generator().manual_seed(seed)
        self.buffer = ReplayBuffer(self.settings.buffer_size, stream.histories.length, len(EVENT_FEATURES))
        self.eras = PopularityEras()
        self.eras.note(0, np.zeros(0, np.float32), oldest=0)
        self.relations: list[Cooccurrence | Itself] = [*(Cooccurrence(relation) for relation in RELATIONS), Itself()]
        self.mixture = Mixture(len(self.relations), stream.histories.length)
        self.trend = Trend()
        self.validation = Validation(self.settings.holdout_size)
        self.choice: Choice = UNDECIDED
        self.dqn = DoubleDQN(self.settings, self.generator)

    @property
    def epsilon(self) -> float:
        """The exploration rate: decays exponentially over applied events, never below its end."""
        s = self.settings
        return max(s.epsilon_end, s.epsilon_start * s.epsilon_decay**self.stream.applied)

    @property
    def popularity_weight(self) -> float:
        """What popularity counts in the mixture."""
        return self.mixture.popularity

    def related(self, window: Window) -> FloatArray:
        """What the relations say after a history, weighted."""
        return self._related(window.products[0, : int(window.lengths[0])])

    def scores(self, window: Window) -> FloatArray:
        """The trend, and what the heads say, weighted."""
        n = int(window.lengths[0])
        result: FloatArray = self.trend.scores(self.stream.trending.shares())
        if self.choice.ce or self.choice.q:
            logits, q = self._heads(window.products[0, :n], window.features[0, :n])
            result += np.float32(self.choice.ce) * logits + np.float32(self.choice.q) * q
        return result

    def learn(self, seen: Seen) -> StepReport | None:
        """Learn from one event."""
        for growing in (self.dqn.tables, self.trend):
            growing.grow_to(len(self.stream.products))
        report = None if seen.transition is None else self._learn_from(seen.transition, seen)
        self.trend.add(seen)
        return report

    def _learn_from(self, transition: Transition, seen: Seen) -> StepReport | None:
        s = self.settings
        if (transition.serial + 1) % s.era_events == 0:  # what holds from the next transition on
            self.eras.note(
                transition.serial + 1, self.stream.trending.log_popularity(), oldest=self.buffer.oldest_serial
            )
        if seen.continued is not None:
            self.buffer.set_discount(seen.continued.serial, s.discount)
        if len(transition.products) == 1:  # a user's first event has no state before it to learn from
            return None
        before = transition.products[transition.judged]
        if transition.was_possible and len(before):
            if transition.serial % s.holdout_every == 0:
                self._validate(transition, seen.popularity)
            shares = np.stack([r.beside(before[::-1], transition.action) for r in self.relations])  # (R, n)
            self.mixture.note(seen.popularity, shares)
            self.trend.note(seen)
        self.buffer.add(transition)
        if transition.chosen:
            for relation in self.relations:
                relation.add(transition.products[:-1], transition.action)
        if not self._is_step_due(self.buffer.added):
            return None
        sampled = self.dqn.tables.size > s.full_softmax_products
        weights = self._draw_weights() if sampled else np.zeros(0)
        return self.dqn.step(self.buffer.sample(s.batch, self.rng), self.rng, self.eras, weights)

    def refit(self) -> None:
        """Nothing: everything is learned as it comes."""

    def learned(self) -> Learned:
        """What there is to publish. Changes nothing."""
        return learned_of(self)

    def gauges(self) -> Gauges:
        """The exploration rate, the replay buffer and the mixture."""
        relations = {name: part.weight for name, part in self.parts().items()}
        return Gauges(
            epsilon=self.epsilon,
            buffer_size=len(self.buffer),
            mixture={"popularity": self.popularity_weight} | relations,
        )

    def snapshot(self) -> PolicySnapshot:
        """Everything but the stream."""
        parts: dict[str, dict[str, NDArray[Any]]] = {
            "dqn": {name: tensor.numpy().copy() for name, tensor in self.dqn.to_tensors().items()},
            "buffer": self.buffer.to_arrays(),
            "eras": self.eras.to_arrays(),
            "validation": self.validation.to_arrays(),
            "trend": self.trend.to_arrays(),
            **{f"relation.{r.name}": r.to_arrays() for r in self.relations},
        }
        arrays = {f"{part}/{name}": array for part, group in parts.items() for name, array in group.items()}
        arrays["mixture"] = self.mixture.to_array()
        arrays["generator"] = self.generator.get_state().numpy().copy()
        state: dict[str, Any] = {"steps": self.dqn.steps, "rng": dict(self.rng.bit_generator.state)}
        return PolicySnapshot(arrays, state)

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Go on from what `snapshot` gave."""
        arrays, state = snapshot.arrays, snapshot.state

        def part(name: str) -> dict[str, NDArray[Any]]:
            return without_prefix(f"{name}/", arrays)

        self.dqn.restore({name: _tensor(a) for name, a in part("dqn").items()}, state["steps"])
        self.buffer.restore(part("buffer"))
        self.eras = PopularityEras.from_arrays(part("eras"))
        self.validation.restore(part("validation"))
        self.choice = self.validation.choose()
        self.trend.restore(part("trend"))
        for relation in self.relations:
            relation.restore(part(f"relation.{relation.name}"))
        self.mixture.restore(arrays["mixture"])
        self.generator.set_state(_tensor(arrays["generator"]))
        self.rng.bit_generator.state = state["rng"]

    def parts(self) -> dict[str, NeighbourPart]:
        """How each relation enters the score."""
        totals = self.mixture.lags.sum(axis=1)
        return {
            relation.name: NeighbourPart(weight=float(total), lags=tuple((lags / total).tolist()))
            for relation, lags, total in zip(self.relations, self.mixture.lags, totals, strict=True)
        }

    def heads_of(self, products: NDArray[np.int32], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Queries of one state, (H, D): products (n,), features (n, F)."""
        with torch.no_grad():
            vectors = self.dqn.tables.values["input"][torch.from_numpy(products).long()]
            hidden = self.dqn.encoder.hidden(vectors[None], torch.from_numpy(features)[None])
            state = hidden[:, len(products)]  # (1, D)
            queries: NDArray[np.float32] = self.dqn.encoder.queries(state)[0].numpy()
        return queries

    def _heads(
        self, products: NDArray[np.int32], features: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logit and Q of every product after a history, (A,) each."""
        ce, q = self.heads_of(products, features)
        tables, a = self.dqn.tables.values, self.dqn.tables.size
        logits, values = (
            tables[f"output.{head}"][:a].numpy() @ query + tables[f"bias.{head}"][:a].numpy()
            for head, query in (("ce", ce), ("q", q))
        )
        return logits, values

    def _related(self, history: NDArray[np.int32]) -> FloatArray:
        products, n = len(self.stream.products), len(history)
        lags = self.mixture.lags[:, :n][:, ::-1]  # oldest first, as the history
        parts = [r.summed(history, weights, products) for r, weights in zip(self.relations, lags, strict=True)]
        total: FloatArray = np.sum(parts, axis=0, dtype=np.float32)
        return total

    def _validate(self, transition: Transition, popularity: float) -> None:
        """Rank one event by every candidate, as it could have been ranked before it."""
        if not self.dqn.steps:
            return
        shares = self.stream.trending.shares()
        shares[transition.action] = popularity  # the stream has counted the event
        before = transition.products[transition.judged]
        logits, q = self._heads(before, transition.features[transition.judged])
        counted = logs(mix(shares, self.popularity_weight, self._related(before))) + self.trend.scores(shares)
        self.validation.note(logits, q, counted, logs(shares), transition.action, transition.reward, transition.masked)
        self.choice = self.validation.choose()

    def _is_step_due(self, kept: int) -> bool:
        s = self.settings
        if kept < s.warmup_transitions:
            return False
        first, most = s.transitions_per_step, s.most_transitions_per_step
        return steps_after(kept, first, most) > steps_after(kept - 1, first, most)

    def _draw_weights(self) -> NDArray[np.float64]:
        """How often a product is drawn into the shared sample: half by decayed popularity, half evenly."""
        shares = self.stream.trending.scores().astype(np.float64)
        weights = 0.5 * shares / shares.sum() + 0.5 / len(shares)
        normalised: NDArray[np.float64] = weights / weights.sum()
        return normalised


def learned_of(policy: FreshetPolicy) -> Learned:
    """What there is to publish; reads the policy and changes nothing in it."""
    stream, choice, tables = policy.stream, policy.choice, policy.dqn.tables
    a = tables.size
    vectors = {name: tensor[:a].numpy().copy() for name, tensor in tables.values.items()}
    heads = {"ce": choice.ce, "q": choice.q, "trend": 1.0}
    of_heads = {
        head: folded(policy.dqn.encoder, head, vectors[f"output.{head}"], vectors[f"bias.{head}"]) for head in HEADS
    }
    trend = policy.trend.scores(stream.trending.shares())  # (A,)
    parts = Parts(
        encoder=to_onnx(policy.dqn.encoder),
        input=vectors["input"],
        outputs={head: output for head, (output, _) in of_heads.items()},
        biases={head: bias for head, (_, bias) in of_heads.items()} | {"trend": trend},
        products=stream.products[:a],
        neighbours={relation.name: relation.neighbours(a) for relation in policy.relations},
    )
    return Learned(
        parts,
        heads=heads,
        popularity_weight=policy.popularity_weight,
        neighbours=policy.parts(),
        golden=_golden(policy, vectors | {"bias.trend": trend}, heads),
        metrics={
            "validation_events": float(choice.events),
            "validation_hr_at_10": choice.hit_ratio,
            "validation_ndcg_at_10": choice.ndcg,
            "validation_reward_ndcg_at_10": choice.value,
            "validation_reward_ndcg_at_10_without_q": choice.value_without_q,
            "validation_ndcg_at_10_mixture": choice.ndcg_of_mixture,
            "validation_ndcg_at_10_popularity": choice.ndcg_of_popularity,
        },
        steps=policy.dqn.steps,
        epsilon=policy.epsilon,
        discount=policy.settings.discount,
    )


def _golden(policy: FreshetPolicy, vectors: Mapping[str, NDArray[np.float32]], heads: Mapping[str, float]) -> Golden:
    """Scores of the users that came last, computed by the learner's own engine."""
    histories = policy.stream.histories
    users = range(len(histories.users))[-GOLDEN_USERS:]
    windows = [histories.window(row) for row in users]
    a = len(vectors["input"])
    k = min(GOLDEN_PRODUCTS, a)
    rows = np.linspace(0, max(0, a - 1), k, dtype=np.int32)  # (K,)
    scores = np.zeros((len(windows), k), np.float32)
    for g, window in enumerate(windows):
        n = int(window.lengths[0])
        queries = policy.heads_of(window.products[0, :n], window.features[0, :n])
        scores[g] = heads["trend"] * vectors["bias.trend"][rows]
        for head, query in zip(HEADS, queries, strict=True):
            scores[g] += np.float32(heads[head]) * (
                vectors[f"output.{head}"][rows] @ query + vectors[f"bias.{head}"][rows]
            )
    return Golden(_stacked(windows, histories.length), np.tile(rows, (len(windows), 1)), scores)


def _stacked(windows: list[Window], length: int) -> Window:
    products = np.full((len(windows), length), -1, np.int32)
    features: NDArray[np.float32] = np.zeros((len(windows), length, len(EVENT_FEATURES)), np.float32)
    for g, window in enumerate(windows):
        products[g], features[g] = window.products[0], window.features[0]
    return Window(products, features, np.array([int(window.lengths[0]) for window in windows], np.int32))


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
