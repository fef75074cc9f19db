"""The policy `freshet`: counts, choices and values, weighted by how well each predicted.

Counts: the mixture of the tally's experts (`shared.model.mixture`), of which only the weights are learned here. Choices
and values: a sequence encoder with a cross-entropy head and a Double-Q head on one state (SQN: Xin et al., SIGIR 2020),
which learn what popularity does not explain. What is served is log(mixture) + w_ce · logit + w_q · Q.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.log.records import DAY_MS
from shared.model.format import Golden, Parts
from shared.model.mixture import context_at, expert_shares, groups, mix
from shared.model.served import FloatArray, logs
from shared.model.session_neighbours import LAGS
from shared.numeric.arrays import without_prefix
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.contract import (
    Fitted,
    Gauges,
    Learned,
    PolicySnapshot,
    StepReport,
    keeps_contract,
    nothing_to_add,
)
from shared.policies.freshet.double_dqn import DoubleDQN
from shared.policies.freshet.eras import PopularityEras
from shared.policies.freshet.network import HEADS, folded, to_onnx
from shared.policies.freshet.replay_buffer import ReplayBuffer
from shared.policies.freshet.settings import FreshetSettings, steps_after
from shared.policies.freshet.validation import UNDECIDED, Choice, Validation
from shared.policies.freshet.weights import ExpertWeights
from shared.state.histories import EVENT_FEATURES, Window, disappoints
from shared.state.stream import Seen, Stream
from shared.state.transitions import Transition

# With so many products more, one event fewer is ranked by every blend.
BLENDED_PRODUCTS = 2000
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
    popularity_weight = 1.0  # beside `mixture`, which holds popularity

    def __init__(self, stream: Stream, seed: int, *, settings: FreshetSettings | None = None) -> None:
        self.settings = settings or FreshetSettings()
        self.stream = stream
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.generator = torch.Generator().manual_seed(seed)
        self.buffer = ReplayBuffer(self.settings.buffer_size, stream.histories.length, len(EVENT_FEATURES))
        self.eras = PopularityEras()
        self.eras.note(0, np.zeros(0, np.float32), oldest=0)
        self.weights = ExpertWeights()
        self.validation = Validation(self.settings.holdout_size)
        self.choice: Choice = UNDECIDED
        self.dqn = DoubleDQN(self.settings, self.generator)
        stream.on_each.append(self._look)

    @property
    def epsilon(self) -> float:
        """The exploration rate: decays exponentially over applied events, never below its end."""
        s = self.settings
        return max(s.epsilon_end, s.epsilon_start * s.epsilon_decay**self.stream.applied)

    @property
    def mixture(self) -> FloatArray:
        """What each of the tally's experts counts in each context, (C, E)."""
        return self.weights.served()

    def related(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing: the relations are in the mixture."""
        return nothing_to_add(len(self.stream.products))

    def scores(self, window: Window) -> FloatArray:
        """What the heads say, weighted."""
        n = int(window.lengths[0])
        if not self.choice.ce and not self.choice.q:
            return np.zeros(self.dqn.tables.size, np.float32)
        logits, q = self._heads(window.products[0, :n], window.features[0, :n])
        return np.float32(self.choice.ce) * logits + np.float32(self.choice.q) * q

    def learn(self, seen: Seen) -> StepReport | None:
        """Learn from one event."""
        self.dqn.tables.grow_to(len(self.stream.products))
        return None if seen.transition is None else self._learn_from(seen.transition, seen)

    def _look(self, state: StateVector) -> None:
        """Learn how well each expert and each head would have ranked an event that is about to be applied."""
        stream = self.stream
        row = stream.rows.get(state.product_id)
        if not state.user_id or row is None or not stream.known.products.had_event(row) or disappoints(state):
            return
        histories, t, products = stream.histories, state.event_time_ms, stream.tally.size
        if histories.is_late(state):
            return
        user = histories.row(state.user_id)
        window, masked = None, np.zeros(0, np.int32)
        if user is not None:
            window = histories.window(user, before_ms=t if t % DAY_MS == 0 else None, now_ms=t)
            masked = histories.masked(user)
            if row in masked:
                return
        length = 0 if window is None else int(window.lengths[0])
        context = context_at(window)
        serial = stream.assembler.serial
        if window is not None and length and serial % self.settings.holdout_every == 0:
            self._validate(window, row, state.reward, masked)
        if serial % (1 + products // BLENDED_PRODUCTS) == 0:
            weights = self.weights.mixed(context).astype(np.float32)
            members = groups(stream.known, window, weights, products)
            self.weights.note_ranked(members, row, masked, context)
        self.weights.note(expert_shares(stream.known, window, row), min(length, LAGS), context)

    def _learn_from(self, transition: Transition, seen: Seen) -> StepReport | None:
        s = self.settings
        if (transition.serial + 1) % s.era_events == 0:  # what holds from the next transition on
            self.eras.note(transition.serial + 1, self.stream.tally.log_popularity(), oldest=self.buffer.oldest_serial)
        if seen.continued is not None:
            self.buffer.set_discount(seen.continued.serial, s.discount)
        if len(transition.products) == 1:  # a user's first event has no state before it to learn from
            return None
        # Popularity, which the encoder adds to, does not count what disappointed: no head may imitate that choice.
        self.buffer.add(replace(transition, chosen=transition.chosen and not disappoints(seen.state)))
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
        """The exploration rate, the replay buffer, the mixture and the heads."""
        return Gauges(
            epsilon=self.epsilon,
            buffer_size=len(self.buffer),
            mixture=self.weights.shares(),
            heads={"ce": self.choice.ce, "q": self.choice.q},
            validated=self.choice.events,
        )

    def snapshot(self) -> PolicySnapshot:
        """Everything but the stream."""
        parts: dict[str, dict[str, NDArray[Any]]] = {
            "dqn": {name: tensor.numpy().copy() for name, tensor in self.dqn.to_tensors().items()},
            "buffer": self.buffer.to_arrays(),
            "eras": self.eras.to_arrays(),
            "validation": self.validation.to_arrays(),
            "weights": self.weights.to_arrays(),
        }
        arrays = {f"{part}/{name}": array for part, group in parts.items() for name, array in group.items()}
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
        self.weights.restore(part("weights"))
        self.generator.set_state(_tensor(arrays["generator"]))
        self.rng.bit_generator.state = state["rng"]

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

    def _validate(self, window: Window, row: int, reward: float, masked: NDArray[np.int32]) -> None:
        """Rank one event by every candidate, as it could have been ranked before it."""
        if not self.dqn.steps:
            return
        known = self.stream.known
        n, a = int(window.lengths[0]), self.dqn.tables.size
        logits, q = self._heads(window.products[0, :n], window.features[0, :n])
        counted = logs(mix(known, window, self.mixture, known.tally.size)[:a])
        self.validation.note(logits, q, counted, logs(known.shares()[:a]), row, reward, masked)
        self.choice = self.validation.choose()

    def _is_step_due(self, kept: int) -> bool:
        s = self.settings
        if kept < s.warmup_transitions:
            return False
        first, most = s.transitions_per_step, s.most_transitions_per_step
        return steps_after(kept, first, most) > steps_after(kept - 1, first, most)

    def _draw_weights(self) -> NDArray[np.float64]:
        """How often a product is drawn into the shared sample: half by decayed popularity, half evenly."""
        shares = self.stream.tally.scores().astype(np.float64)
        weights = 0.5 * shares / shares.sum() + 0.5 / len(shares)
        normalised: NDArray[np.float64] = weights / weights.sum()
        return normalised


def learned_of(policy: FreshetPolicy) -> Learned:
    """What there is to publish; reads the policy and changes nothing in it."""
    stream, choice, tables = policy.stream, policy.choice, policy.dqn.tables
    a = tables.size
    vectors = {name: tensor[:a].numpy().copy() for name, tensor in tables.values.items()}
    heads = {"ce": choice.ce, "q": choice.q}
    of_heads = {
        head: folded(policy.dqn.encoder, head, vectors[f"output.{head}"], vectors[f"bias.{head}"]) for head in HEADS
    }
    parts = Parts(
        encoder=to_onnx(policy.dqn.encoder),
        input=vectors["input"],
        outputs={head: output for head, (output, _) in of_heads.items()},
        biases={head: bias for head, (_, bias) in of_heads.items()},
        products=stream.products[:a],
        mixture=policy.mixture.copy(),
    )
    return Learned(
        parts,
        heads=heads,
        popularity_weight=1.0,
        golden=_golden(policy, vectors, heads),
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
