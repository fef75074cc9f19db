"""Experience replay (Lin 1992): users' trajectories in preallocated arrays, sampled uniformly under a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.model.candidates import F

NOWHERE = -1


class TrajectoryStep(NamedTuple):
    """One event of a trajectory: the candidates that its user's state had, the action among them, and the reward."""

    serial: int  # of the transition, counted from 0 over the whole lineage
    candidates: NDArray[np.float32]  # (S, F) features; the action is the first, where it is among them
    has_action: bool
    chosen: bool  # whether the event says that the user wanted the product
    reward: float


@dataclass(frozen=True, slots=True)
class Batch:
    """B steps of trajectories, each with the one that the same user took next."""

    candidates: NDArray[np.float16 | np.float32]  # (B, S, F)
    next_candidates: NDArray[np.float16 | np.float32]  # (B, S, F) of the next state; where the episode ended, of any
    has_action: NDArray[np.bool_]  # (B,)
    chosen: NDArray[np.bool_]  # (B,)
    reward: NDArray[np.float32]  # (B,)
    discount: NDArray[np.float32]  # (B,) 0 where the episode ended, or its next step is not known yet


class ReplayBuffer:
    """Holds the newest `capacity` steps, with `sample` candidates each, and which follows which.

    Features are kept at half precision: they are about [-1, 1], and what is learned of many needs no more.
    """

    def __init__(self, capacity: int, sample: int) -> None:
        self.capacity = capacity
        self.added = 0
        self._candidates: NDArray[np.float16] = np.zeros((capacity, sample, F), np.float16)
        self._has_action: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._chosen: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self._reward: NDArray[np.float32] = np.zeros(capacity, np.float32)
        self._discount: NDArray[np.float32] = np.zeros(capacity, np.float32)
        self._next: NDArray[np.int64] = np.full(capacity, NOWHERE, np.int64)  # number of the step that followed
        self._serials: NDArray[np.int64] = np.full(capacity, NOWHERE, np.int64)
        self._numbers: dict[int, int] = {}  # serial → number of the step, counted from 0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, step: TrajectoryStep) -> None:
        """Put one step in the oldest one's place."""
        slot = self.added % self.capacity
        self._numbers.pop(int(self._serials[slot]), None)
        self._candidates[slot] = step.candidates
        self._has_action[slot], self._chosen[slot] = step.has_action, step.chosen
        self._reward[slot], self._discount[slot] = step.reward, 0.0
        self._next[slot] = NOWHERE
        self._serials[slot] = step.serial
        self._numbers[step.serial] = self.added
        self.added += 1

    def follow(self, serial: int, discount: float) -> None:
        """The step added last followed one that may still be here, within its episode."""
        number = self._numbers.get(serial)
        if number is not None and self.added - number <= self.capacity:
            slot = number % self.capacity
            self._next[slot], self._discount[slot] = self.added - 1, discount

    def sample(self, batch: int, rng: np.random.Generator) -> Batch:
        """`batch` steps, each drawn uniformly, with replacement."""
        slots = rng.integers(0, len(self), batch)
        following = self._next[slots]  # newer than the step itself, so it is here
        return Batch(
            candidates=self._candidates[slots],
            next_candidates=self._candidates[np.where(following >= 0, following % self.capacity, slots)],
            has_action=self._has_action[slots],
            chosen=self._chosen[slots],
            reward=self._reward[slots],
            discount=self._discount[slots],
        )

    def newest(self, steps: int) -> NDArray[np.float32]:
        """The candidates of the newest steps, oldest first, (n, S, F); n is less where fewer are held."""
        slots = np.arange(max(0, self.added - min(steps, self.capacity)), self.added) % self.capacity
        return self._candidates[slots].astype(np.float32)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What is held, for a checkpoint."""
        n = len(self)
        return {
            "candidates": self._candidates[:n].copy(),
            "has_action": self._has_action[:n].astype(np.uint8),
            "chosen": self._chosen[:n].astype(np.uint8),
            "reward": self._reward[:n].copy(),
            "discount": self._discount[:n].copy(),
            "next": self._next[:n].copy(),
            "serials": self._serials[:n].copy(),
            "added": np.array([self.added], np.int64),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave."""
        n = len(arrays["serials"])
        self._candidates[:n] = arrays["candidates"]
        self._has_action[:n] = arrays["has_action"].astype(np.bool_)
        self._chosen[:n] = arrays["chosen"].astype(np.bool_)
        self._reward[:n] = arrays["reward"]
        self._discount[:n] = arrays["discount"]
        self._next[:n] = arrays["next"]
        self._serials[:n] = arrays["serials"]
        self.added = int(arrays["added"][0])
        oldest = self.added - n
        self._numbers = {int(self._serials[number % self.capacity]): number for number in range(oldest, self.added)}
