"""The policy `freshet`: counts put in order by an action network, weighted by how well each predicted.

Counts: the mixture of the tally's experts (`shared.model.mixture`), of which only the weights are learned here. They
choose the candidates. A deep Q-network with a choice head beside the value head (SQN: Xin et al., SIGIR 2020) puts
these in order (`shared.model.candidates`). What is served is log(mixture) + w_ce · choice + w_q · advantage.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.log.records import DAY_MS
from shared.model.candidates import CANDIDATES, HEADS, ActionNetwork, Candidates, F, Ranker, describe, outputs
from shared.model.format import GoldenCandidates, Parts
from shared.model.mixture import context_at, expert_shares, groups, mix
from shared.model.ranking import top_k
from shared.model.served import FloatArray
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
from shared.policies.freshet.replay_buffer import ReplayBuffer, TrajectoryStep
from shared.policies.freshet.settings import FreshetSettings, steps_after
from shared.policies.freshet.validation import UNDECIDED, Choice, Validation
from shared.policies.freshet.vectors import product_vectors
from shared.policies.freshet.weights import ExpertWeights
from shared.state.histories import Window, disappoints
from shared.state.stream import Seen, Stream

# With so many products more, one event fewer is ranked by every blend.
BLENDED_PRODUCTS = 2000
# Steps of the replay buffer whose candidates are the golden ones.
GOLDEN_STEPS = 8
# Of so many steps that are due one is taken while events come faster than they are learned from.
BEHIND_STEPS = 4


class Looked(NamedTuple):
    """What a user's event found, before it was applied."""

    candidates: Candidates
    place: int  # of the product really chosen among these; negative where it is none of them


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
        self.buffer = ReplayBuffer(self.settings.buffer_size, 1 + self.settings.negatives)
        self.weights = ExpertWeights()
        self.validation = Validation(self.settings.holdout_size)
        self._choice: Choice | None = UNDECIDED  # None: another was not asked for since the newest event that validated
        self.dqn = DoubleDQN(self.settings, seed)
        self.behind = False  # events come faster than they are learned from: most steps are left out
        self.skipped = 0  # steps left out so far
        self._network = self.dqn.network.compiled()
        self._computed = 0  # steps after which that was so
        self._looked: Looked | None = None
        self._weighted: NDArray[np.int64] = np.zeros(1 + len(HEADS), np.int64)  # events, and those with each head
        stream.on_each.append(self._look)

    @property
    def epsilon(self) -> float:
        """The exploration rate: decays exponentially over applied events, never below its end."""
        s = self.settings
        return max(s.epsilon_end, s.epsilon_start * s.epsilon_decay**self.stream.applied)

    @property
    def choice(self) -> Choice:
        """The weights of the heads, and what they reached."""
        if self._choice is None:
            self._choice = self.validation.choose()
        return self._choice

    @choice.setter
    def choice(self, choice: Choice) -> None:
        self._choice = choice

    @property
    def mixture(self) -> FloatArray:
        """What each of the tally's experts counts in each context, (C, E)."""
        return self.weights.served()

    @property
    def ranker(self) -> Ranker:
        """What puts the candidates in order."""
        return Ranker(self._compiled(), np.array(self._head_weights(), np.float32))

    def related(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing: the relations are in the mixture."""
        return nothing_to_add(len(self.stream.products))

    def scores(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing: what is learned beside the mixture is of candidates alone, see `ranker`."""
        return nothing_to_add(len(self.stream.products))

    def learn(self, seen: Seen) -> StepReport | None:
        """Learn from one event."""
        return None if seen.transition is None else self._learn_from(seen.transition.serial, seen)

    def _look(self, state: StateVector) -> None:
        """Learn how well each expert and each head would have ranked an event that is about to be applied."""
        self._looked = None
        stream = self.stream
        histories, t, products = stream.histories, state.event_time_ms, stream.tally.size
        if not state.user_id or histories.is_late(state):
            return
        user = histories.row(state.user_id)
        window, masked = None, np.zeros(0, np.int32)
        if user is not None:
            window = histories.window(user, before_ms=t if t % DAY_MS == 0 else None, now_ms=t)
            masked = histories.masked(user)
        row = stream.rows.get(state.product_id, -1)
        known = stream.known
        candidates = self._candidates(window, masked)
        at = np.flatnonzero(candidates.rows == row)
        ce, q = self._head_weights()
        self._weighted += (1, ce > 0.0, q > 0.0)
        self._looked = Looked(candidates, int(at[0]) if len(at) else -1)
        if row < 0 or not known.products.had_event(row) or disappoints(state) or row in masked:
            return
        context, serial = context_at(window), stream.assembler.serial
        if self.dqn.steps and serial % self.settings.holdout_every == 0:
            heads = outputs(self._compiled(), candidates.features)
            shares = known.shares()
            self.validation.note(candidates.mixture, heads, self._looked.place, shares, row, state.reward, masked)
            self._choice = None
        if serial % (1 + products // BLENDED_PRODUCTS) == 0:
            weights = self.weights.mixed(context).astype(np.float32)
            members = groups(known, window, weights, products)
            self.weights.note_ranked(members, row, masked, context)
        length = 0 if window is None else int(window.lengths[0])
        self.weights.note(expert_shares(known, window, row), min(length, LAGS), context)

    def _candidates(self, window: Window | None, masked: NDArray[np.int32]) -> Candidates:
        """The products that the mixture would have the network put in order, as serving would choose them."""
        known, mixture = self.stream.known, self.mixture
        shares = mix(known, window, mixture, known.tally.size)
        shares[masked] = -np.inf
        shares[known.products.not_recommended()] = -np.inf
        return describe(known, window, mixture, top_k(shares, CANDIDATES))

    def _learn_from(self, serial: int, seen: Seen) -> StepReport | None:
        s, looked = self.settings, self._looked
        if looked is None or len(looked.candidates.rows) < 2:
            return None
        wanted = seen.transition is not None and seen.transition.chosen and not disappoints(seen.state)
        self.buffer.add(self._step_of(serial, looked, seen.state.reward, chosen=wanted))
        if seen.continued is not None:
            self.buffer.follow(seen.continued.serial, s.discount)
        if not self._is_step_due(self.buffer.added):
            return None
        if self.behind and (self.dqn.steps + self.skipped) % BEHIND_STEPS:
            self.skipped += 1
            return None
        return self.dqn.step(self.buffer.sample(s.batch, self.rng))

    def _step_of(self, serial: int, looked: Looked, reward: float, *, chosen: bool) -> TrajectoryStep:
        """Keep the action, and negatives that the mixture draws from the other candidates."""
        features, mass = looked.candidates.features, looked.candidates.mixture.astype(np.float64)  # (F, K), (K,)
        negatives, has_action = self.settings.negatives, looked.place >= 0
        if has_action:
            mass[looked.place] = 0.0
        until = mass.cumsum()
        drawn = np.searchsorted(until, self.rng.random(negatives + 1) * until[-1], side="right")
        drawn = np.minimum(drawn, len(mass) - 1)
        if has_action:
            drawn[0] = looked.place
        return TrajectoryStep(serial, features.take(drawn, axis=1).T, has_action, chosen, reward)

    def _head_weights(self) -> tuple[float, float]:
        """As `choice` has them."""
        return self.validation.weights() if self._choice is None else (self._choice.ce, self._choice.q)

    def weighted_shares(self) -> dict[str, float]:
        """Of all events that were looked at, the share at which each head had a weight."""
        events = max(1, int(self._weighted[0]))
        return {head: int(count) / events for head, count in zip(HEADS, self._weighted[1:], strict=True)}

    def _compiled(self) -> ActionNetwork:
        """The network as the compiled functions read it, after the newest step."""
        if self._computed != self.dqn.steps:
            self._network, self._computed = self.dqn.network.compiled(), self.dqn.steps
        return self._network

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
            shares=dict(zip(("mixture", *HEADS), self.choice.shares, strict=True)),
            weighted=self.weighted_shares(),
            validated=self.choice.events,
        )

    def snapshot(self) -> PolicySnapshot:
        """Everything but the stream."""
        parts: dict[str, dict[str, NDArray[Any]]] = {
            "dqn": {name: tensor.numpy().copy() for name, tensor in self.dqn.to_tensors().items()},
            "buffer": self.buffer.to_arrays(),
            "validation": self.validation.to_arrays(),
            "weights": self.weights.to_arrays(),
        }
        arrays = {f"{part}/{name}": array for part, group in parts.items() for name, array in group.items()}
        state: dict[str, Any] = {
            "steps": self.dqn.steps,
            "skipped": self.skipped,
            "rng": dict(self.rng.bit_generator.state),
        }
        arrays["weighted"] = self._weighted.copy()
        return PolicySnapshot(arrays, state)

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Go on from what `snapshot` gave."""
        arrays, state = snapshot.arrays, snapshot.state

        def part(name: str) -> dict[str, NDArray[Any]]:
            return without_prefix(f"{name}/", arrays)

        self.dqn.restore({name: _tensor(a) for name, a in part("dqn").items()}, state["steps"])
        self.skipped = state["skipped"]
        self._network, self._computed = self.dqn.network.compiled(), self.dqn.steps
        self.buffer.restore(part("buffer"))
        self.validation.restore(part("validation"))
        self._choice = None
        self.weights.restore(part("weights"))
        self._weighted = arrays["weighted"].copy()
        self.rng.bit_generator.state = state["rng"]

    def _is_step_due(self, kept: int) -> bool:
        s = self.settings
        if kept < s.warmup_transitions:
            return False
        first, most = s.transitions_per_step, s.most_transitions_per_step
        return steps_after(kept, first, most) > steps_after(kept - 1, first, most)


# More transitions than any stream has.
NEVER = 1 << 62


@keeps_contract
class MixturePolicy(FreshetPolicy):
    """`freshet` whose network never takes a step: what it is without."""

    name: ClassVar[str] = "mixture"
    seeded: ClassVar[bool] = False

    def __init__(self, stream: Stream, seed: int, *, settings: FreshetSettings | None = None) -> None:
        chosen = settings or FreshetSettings()
        super().__init__(stream, seed, settings=chosen.model_copy(update={"warmup_transitions": NEVER}))


def learned_of(policy: FreshetPolicy) -> Learned:
    """What there is to publish; reads the policy and changes nothing in it."""
    stream, choice = policy.stream, policy.choice
    products = list(stream.products)
    parts = Parts(
        encoder=b"",
        input=product_vectors(stream.tally),
        outputs={},
        biases={},
        products=products,
        mixture=policy.mixture.copy(),
        network=policy.ranker.network,
    )
    of_mixture, of_ce, of_q = choice.shares
    return Learned(
        parts,
        heads={"ce": choice.ce, "q": choice.q},
        popularity_weight=1.0,
        golden_candidates=_golden(policy),
        metrics={
            "validation_events": float(choice.events),
            "validation_hr_at_10": choice.hit_ratio,
            "validation_ndcg_at_10": choice.ndcg,
            "validation_reward_ndcg_at_10": choice.value,
            "validation_reward_ndcg_at_10_without_q": choice.value_without_q,
            "validation_ndcg_at_10_mixture": choice.ndcg_of_mixture,
            "validation_ndcg_at_10_popularity": choice.ndcg_of_popularity,
            "score_share_mixture": of_mixture,
            "score_share_ce": of_ce,
            "score_share_q": of_q,
            **{f"events_share_{head}": share for head, share in policy.weighted_shares().items()},
        },
        steps=policy.dqn.steps,
        skipped=policy.skipped,
        epsilon=policy.epsilon,
        discount=policy.settings.discount,
    )


def _golden(policy: FreshetPolicy) -> GoldenCandidates:
    """What the learner's own engine says of the candidates of the newest steps."""
    features = policy.buffer.newest(GOLDEN_STEPS).reshape(-1, F)  # (K, F)
    with torch.no_grad():
        heads = policy.dqn.network(torch.from_numpy(features).to(policy.dqn.device)).cpu().numpy()
    return GoldenCandidates(np.ascontiguousarray(features.T), np.ascontiguousarray(heads))


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array))
