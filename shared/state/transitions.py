"""From each user's events to the transitions (s, a, r, discount, s') of Q-learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.pb.freshet.v1.events_pb2 import StateVector
from shared.state.histories import EVENT_FEATURES, UNCOUNTED_KINDS, Histories


@dataclass(slots=True)
class Transition:
    """One event as the learner sees it.

    The state s is everything but the last entry of `products` and `features`, the next state s' is all of it. Nothing
    of the event itself, which is that last entry, is in s.
    """

    serial: int  # counted from 0 over the whole lineage
    products: NDArray[np.int32]  # (n,) rows, oldest first, 1 <= n <= T + 1; the last is the action
    features: NDArray[np.float32]  # (n, F)
    reward: float
    discount: float  # 0 until the user is seen to go on within the session gap
    masked: NDArray[np.int32]  # products the user could not have been shown
    known: bool  # whether the product had an event before this one
    chosen: bool  # whether the event says that the user wanted the product
    # Newest events of s that may not be judged from: those that share the event's whole day, since their order says
    # nothing, and all where the event is late, since s holds what came after it.
    today: int

    @property
    def action(self) -> int:
        """Row of the product the user chose."""
        return int(self.products[-1])

    @property
    def judged(self) -> slice:
        """Of `products` and `features`, the state that may be judged: as it stood when a whole day began."""
        return slice(0, len(self.products) - 1 - self.today)

    @property
    def was_possible(self) -> bool:
        """Whether the chosen product could have been recommended then."""
        return self.known and self.chosen and self.action not in self.masked


@dataclass(frozen=True, slots=True)
class Continued:
    """The user of an earlier transition went on within the session gap: its discount is not 0."""

    serial: int


def stack(transitions: Sequence[Transition], length: int) -> dict[str, NDArray[Any]]:
    """N transitions as arrays, for a checkpoint; `length` is T."""
    n = len(transitions)
    products = np.full((n, length + 1), -1, np.int32)
    features = np.zeros((n, length + 1, len(EVENT_FEATURES)), np.float32)
    for i, transition in enumerate(transitions):
        products[i, : len(transition.products)] = transition.products
        features[i, : len(transition.features)] = transition.features
    return {
        "products": products,
        "features": features,
        "lengths": np.array([len(t.products) for t in transitions], np.int64),
        "serials": np.array([t.serial for t in transitions], np.int64),
        "reward": np.array([t.reward for t in transitions], np.float64),
        "discount": np.array([t.discount for t in transitions], np.float64),
        "known": np.array([t.known for t in transitions], np.uint8),
        "chosen": np.array([t.chosen for t in transitions], np.uint8),
        "today": np.array([t.today for t in transitions], np.int64),
        "masked": np.concatenate([t.masked for t in transitions] or [np.zeros(0, np.int32)]),
        "masked_lengths": np.array([len(t.masked) for t in transitions], np.int64),
    }


def unstack(arrays: Mapping[str, NDArray[Any]]) -> list[Transition]:
    """What `stack` was given."""
    ends = np.cumsum(arrays["masked_lengths"])
    starts = ends - arrays["masked_lengths"]
    return [
        Transition(
            serial=int(arrays["serials"][i]),
            products=arrays["products"][i, :n].copy(),
            features=arrays["features"][i, :n].copy(),
            reward=float(arrays["reward"][i]),
            discount=float(arrays["discount"][i]),
            masked=arrays["masked"][starts[i] : ends[i]].copy(),
            known=bool(arrays["known"][i]),
            chosen=bool(arrays["chosen"][i]),
            today=int(arrays["today"][i]),
        )
        for i, n in enumerate(arrays["lengths"])
    ]


@dataclass(slots=True)
class Situation:
    """What a user's event finds, before it is applied."""

    products: NDArray[np.int32]  # (n,) rows of the history, oldest first
    features: NDArray[np.float32]  # (n, F)
    masked: NDArray[np.int32]
    today: int  # as in `Transition`
    continued: Continued | None  # what the event tells of the user's transition before


class Assembler:
    """Turns events, in the order given, into transitions, each in two steps: `before` it is applied, and `after`.

    Whether an episode ends with an event is known only when the user comes back, so a transition begins with
    discount 0 and the user's next event, if it comes within the gap, corrects it.

    Args:
        histories: to which somebody else applies the events.
    """

    def __init__(self, histories: Histories, *, session_gap_ms: int) -> None:
        self.histories = histories
        self.session_gap_ms = session_gap_ms
        self.serial = 0
        self.last_serial: list[int] = []  # user row → serial of the user's newest transition

    def before(self, state: StateVector) -> Situation:
        """What an event finds that is about to be applied to its user's history."""
        histories = self.histories
        row = histories.row(state.user_id)
        if row is None:
            nothing = np.zeros(0, np.int32)
            return Situation(nothing, np.zeros((0, len(EVENT_FEATURES)), np.float32), nothing, 0, None)
        continued = None
        if state.event_time_ms - histories.newest_ms(row) <= self.session_gap_ms:
            continued = Continued(self.last_serial[row])
        products, features = histories.ordered(row)
        n, today = len(products), 0
        if histories.is_late(state):
            today = n
        elif state.event_time_ms % DAY_MS == 0:
            today = n - int(histories.window(row, before_ms=state.event_time_ms).lengths[0])
        return Situation(products, features, histories.masked(row), today, continued)

    def after(self, situation: Situation, state: StateVector, product: int, *, known: bool) -> Transition:
        """The transition of the event that was just applied, given the situation before it.

        Args:
            product: the row of the event's.
            known: whether the product had an event before this one.
        """
        row = self.histories.row(state.user_id)
        if row is None:
            raise ValueError(f"no event of {state.user_id} was applied")
        products = np.empty(len(situation.products) + 1, np.int32)
        products[:-1], products[-1] = situation.products, product
        transition = Transition(
            serial=self.serial,
            products=products,
            features=np.concatenate([situation.features, self.histories.newest_features(row)[None, :]]),
            reward=state.reward,
            discount=0.0,
            masked=situation.masked,
            known=known,
            chosen=state.kind not in UNCOUNTED_KINDS,
            today=situation.today,
        )
        if row == len(self.last_serial):
            self.last_serial.append(self.serial)
        else:
            self.last_serial[row] = self.serial
        self.serial += 1
        return transition
