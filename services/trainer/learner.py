"""The learner: applies states one by one, takes a gradient step every few of them, and can say what it has learned.

Pure: no clock, no log, no disk. The same states in the same order give the same learner, bit for bit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.trainer.dqn import DoubleDQN, StepReport
from services.trainer.popularity import PopularityEras
from services.trainer.replay_buffer import ReplayBuffer
from services.trainer.schedule import steps_after
from services.trainer.settings import TrainerSettings
from shared.history import EVENT_FEATURES, Histories, masked_kinds_of
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.policies.cooccurrence import RELATIONS, Cooccurrence, Mixture
from shared.policies.trending import Trending
from shared.transitions import Assembler, Transition, stack, unstack


class SnapshotState(TypedDict):
    """The part of a snapshot that is no tensor, as JSON keeps it."""

    applied: int
    steps: int
    serial: int
    trending_base_ms: int
    parent: str
    rng: dict[str, Any]
    products: list[str]
    users: list[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of a learner."""

    tensors: dict[str, Tensor]
    state: SnapshotState


class Learner:
    """Everything the trainer knows; see `services.trainer.checkpoint` for how it is kept."""

    def __init__(self, settings: TrainerSettings) -> None:
        self.settings = settings
        self.rng = np.random.Generator(np.random.PCG64(settings.seed))
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.products: list[str] = []  # row → product_id, append-only
        self.rows: dict[str, int] = {}
        self.histories = Histories(settings.history_length, masked_kinds_of(settings.masked_kinds))
        self.assembler = Assembler(self.histories, session_gap_ms=settings.session_gap_ms)
        self.trending = Trending(settings.trending_half_life_days * 86_400_000)
        self.buffer = ReplayBuffer(settings.buffer_size, settings.history_length, len(EVENT_FEATURES))
        self.eras = PopularityEras()
        self.held_out: deque[Transition] = deque()
        self.cooccurrences = [Cooccurrence(relation) for relation in RELATIONS]
        self.mixture = Mixture(len(RELATIONS))
        self.dqn = DoubleDQN(settings, self.generator)
        self.applied = 0
        self.parent = ""

    @property
    def epsilon(self) -> float:
        """The exploration rate: decays exponentially over applied transitions, never below its end."""
        s = self.settings
        return max(s.epsilon_end, s.epsilon_start * s.epsilon_decay**self.applied)

    def apply(self, state: StateVector) -> StepReport | None:
        """Learn of one event; the report of the gradient step, if it was time for one."""
        known = state.product_id in self.rows
        product = self._row(state.product_id)
        self.applied += 1
        if not state.user_id:  # a guest's: nobody's history goes on
            self.trending.add(product, state.kind, state.event_time_ms)
            return None
        if self.assembler.serial % self.settings.era_events == 0:
            self.eras.note(self.assembler.serial, self.trending.log_popularity(), oldest=self._oldest_serial())
        popularity = self.trending.share(product) if known else 0.0
        self.trending.add(product, state.kind, state.event_time_ms)
        transition, continued = self.assembler.apply(state, product, known=known)
        if continued is not None:
            self._set_discount(continued.serial, self.settings.discount)
        if len(transition.products) == 1:  # a user's first event has no state to learn from; trending answers it
            return None
        before = transition.products[transition.judged]
        if transition.was_possible and len(before):
            self.mixture.note(np.array([popularity, *(c.share(before, product) for c in self.cooccurrences)]))
        self._keep(transition)
        if not self._is_step_due(self.buffer.added + len(self.held_out)):
            return None
        weights = self._draw_weights() if len(self.products) > self.settings.full_softmax_products else np.zeros(0)
        return self.dqn.step(self.buffer.sample(self.settings.batch, self.rng), self.rng, self.eras, weights)

    def snapshot(self) -> Snapshot:
        """Everything the learner knows; learning on from it is learning on without a pause."""
        arrays = {
            "histories": self.histories.to_arrays(),
            "buffer": self.buffer.to_arrays(),
            "held_out": stack(self.held_out, self.settings.history_length),
            "eras": self.eras.to_arrays(),
            **{f"cooccurrence.{c.relation.name}": c.to_arrays() for c in self.cooccurrences},
        }
        tensors = {f"dqn/{name}": tensor for name, tensor in self.dqn.to_tensors().items()}
        tensors |= {
            f"{part}/{name}": torch.from_numpy(np.ascontiguousarray(a))
            for part, own in arrays.items()
            for name, a in own.items()
        }
        tensors["mixture"] = torch.from_numpy(self.mixture.to_array())
        tensors["trending"] = torch.from_numpy(self.trending.to_array())
        tensors["last_serial"] = torch.tensor(self.assembler.last_serial, dtype=torch.int64)
        tensors["generator"] = self.generator.get_state()
        state: SnapshotState = {
            "applied": self.applied,
            "steps": self.dqn.steps,
            "serial": self.assembler.serial,
            "trending_base_ms": self.trending.base_ms,
            "parent": self.parent,
            "rng": dict(self.rng.bit_generator.state),
            "products": self.products,
            "users": self.histories.users,
        }
        return Snapshot(tensors, state)

    @classmethod
    def restore(cls, settings: TrainerSettings, snapshot: Snapshot) -> Learner:
        """The learner that `snapshot` was taken of; the settings must be the same."""
        learner = cls(settings)
        tensors, state = snapshot.tensors, snapshot.state

        def part(name: str) -> dict[str, NDArray[Any]]:
            return {k.removeprefix(f"{name}/"): t.numpy() for k, t in tensors.items() if k.startswith(f"{name}/")}

        learner.products = list(state["products"])
        learner.rows = {product: row for row, product in enumerate(learner.products)}
        learner.histories = Histories.from_arrays(state["users"], part("histories"), learner.histories.masked_kinds)
        learner.assembler = Assembler(learner.histories, session_gap_ms=settings.session_gap_ms)
        learner.assembler.serial = state["serial"]
        learner.assembler.last_serial = tensors["last_serial"].tolist()
        learner.trending = Trending.from_array(
            tensors["trending"].numpy(), state["trending_base_ms"], learner.trending.half_life_ms
        )
        learner.buffer.restore(part("buffer"))
        learner.held_out = deque(unstack(part("held_out")))
        learner.eras = PopularityEras.from_arrays(part("eras"))
        learner.cooccurrences = [
            Cooccurrence.from_arrays(relation, part(f"cooccurrence.{relation.name}")) for relation in RELATIONS
        ]
        learner.mixture.restore(tensors["mixture"].numpy())
        learner.dqn.restore({k.removeprefix("dqn/"): t for k, t in tensors.items()}, state["steps"])
        learner.generator.set_state(tensors["generator"])
        learner.rng.bit_generator.state = state["rng"]
        learner.applied = state["applied"]
        learner.parent = state["parent"]
        return learner

    def _row(self, product_id: str) -> int:
        row = self.rows.get(product_id)
        if row is None:
            row = self.rows[product_id] = len(self.products)
            self.products.append(product_id)
            self.dqn.tables.grow_to(len(self.products))
        return row

    def _is_step_due(self, kept: int) -> bool:
        s = self.settings
        if kept < s.warmup_transitions or not len(self.buffer):  # all may be held out still
            return False
        first, most = s.transitions_per_step, s.most_transitions_per_step
        return steps_after(kept, first, most) > steps_after(kept - 1, first, most)

    def _keep(self, transition: Transition) -> None:
        if transition.serial % self.settings.holdout_every:
            self._learn_from(transition)
            return
        self.held_out.append(transition)
        if len(self.held_out) > self.settings.holdout_size:
            self._learn_from(self.held_out.popleft())

    def _learn_from(self, transition: Transition) -> None:
        self.buffer.add(transition)
        if transition.chosen:
            for cooccurrence in self.cooccurrences:
                cooccurrence.add(transition.products[:-1], transition.action)

    def _oldest_serial(self) -> int:
        held_out = self.held_out[0].serial if self.held_out else self.assembler.serial
        return min(held_out, self.buffer.oldest_serial)

    def _set_discount(self, serial: int, discount: float) -> None:
        if serial % self.settings.holdout_every == 0:
            for transition in self.held_out:
                if transition.serial == serial:
                    transition.discount = discount
                    return
        self.buffer.set_discount(serial, discount)

    def _draw_weights(self) -> NDArray[np.float64]:
        """How often a product is drawn into the shared sample: half by decayed popularity, half evenly."""
        shares = self.trending.scores().astype(np.float64)
        weights = 0.5 * shares / shares.sum() + 0.5 / len(shares)
        normalised: NDArray[np.float64] = weights / weights.sum()
        return normalised
