"""Experience replay of the paper's `dqn`: a ring of transitions in preallocated arrays, sampled uniformly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.state.transitions import Transition


@dataclass(frozen=True, slots=True)
class TransitionBatch:
    """B transitions; state s is the first `lengths - 1` entries of a row, next state s' the first `lengths`."""

    products: NDArray[np.int32]  # (B, T + 1), -1 where padded; entry lengths - 1 is the action
    features: NDArray[np.float32]  # (B, T + 1, F)
    lengths: NDArray[np.int64]  # (B,), 1 to T + 1
    reward: NDArray[np.float32]  # (B,)
    discount: NDArray[np.float32]  # (B,)
    chosen: NDArray[np.bool_]  # (B,) whether the action is one the user wanted
    serials: NDArray[np.int64]  # (B,)


class TransitionBuffer:
    """Holds the newest `capacity` transitions of histories up to `length`."""

    def __init__(self, capacity: int, length: int, features: int) -> None:
        self.capacity = capacity
        self.added = 0
        self._products: NDArray[np.int32] = np.full((capacity, length + 1), -1, np.int32)
        self._features: NDArray[np.float32] = np.zeros((capacity, length + 1, features), np.float32)
        self._lengths: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._reward: NDArray[np.float32] = np.zeros(capacity, np.float32)
        self._discount: NDArray[np.float32] = np.zeros(capacity, np.float32)
        self._chosen: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._serials: NDArray[np.int64] = np.full(capacity, -1, np.int64)
        self._slots: dict[int, int] = {}  # serial → slot

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    @property
    def oldest_serial(self) -> int:
        """Serial of the oldest transition held, 0 when none is."""
        if not self.added:
            return 0
        return int(self._serials[self.added % self.capacity if self.added > self.capacity else 0])

    def add(self, transition: Transition) -> None:
        """Put one transition in the oldest one's place."""
        slot = self.added % self.capacity
        self._slots.pop(int(self._serials[slot]), None)
        n = len(transition.products)
        self._products[slot] = -1
        self._products[slot, :n] = transition.products
        self._features[slot] = 0.0
        self._features[slot, :n] = transition.features
        self._lengths[slot] = n
        self._reward[slot] = transition.reward
        self._discount[slot] = transition.discount
        self._chosen[slot] = transition.chosen
        self._serials[slot] = transition.serial
        self._slots[transition.serial] = slot
        self.added += 1

    def set_discount(self, serial: int, discount: float) -> None:
        """Correct one transition's discount, if it is still here."""
        slot = self._slots.get(serial)
        if slot is not None:
            self._discount[slot] = discount

    def sample(self, batch: int, rng: np.random.Generator) -> TransitionBatch:
        """`batch` transitions, each drawn uniformly, with replacement."""
        slots = rng.integers(0, len(self), batch)
        longest = int(self._lengths[slots].max())
        return TransitionBatch(
            products=self._products[slots, :longest],
            features=self._features[slots, :longest],
            lengths=self._lengths[slots],
            reward=self._reward[slots],
            discount=self._discount[slots],
            chosen=self._chosen[slots],
            serials=self._serials[slots],
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What is held, for a checkpoint."""
        n = len(self)
        return {
            "products": self._products[:n].copy(),
            "features": self._features[:n].copy(),
            "lengths": self._lengths[:n].copy(),
            "reward": self._reward[:n].copy(),
            "discount": self._discount[:n].copy(),
            "chosen": self._chosen[:n].astype(np.uint8),
            "serials": self._serials[:n].copy(),
            "added": np.array([self.added], np.int64),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave."""
        n = len(arrays["lengths"])
        self._products[:n] = arrays["products"]
        self._features[:n] = arrays["features"]
        self._lengths[:n] = arrays["lengths"]
        self._reward[:n] = arrays["reward"]
        self._discount[:n] = arrays["discount"]
        self._chosen[:n] = arrays["chosen"].astype(np.bool_)
        self._serials[:n] = arrays["serials"]
        self.added = int(arrays["added"][0])
        self._slots = {int(serial): slot for slot, serial in enumerate(arrays["serials"])}
