"""The settings of the policy `freshet`, and when they have it take gradient steps."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# A gradient step comes every so many-th part of the transitions so far, between the two bounds that settings give.
SHARE = 1000


class FreshetSettings(BaseModel):
    """Everything is counted in events, transitions or gradient steps, never in seconds, so that a replay repeats."""

    model_config = ConfigDict(frozen=True)

    hidden: int = Field(default=32, ge=1, le=1024, description="units of each hidden layer of the action network")
    batch: int = Field(default=128, ge=1, le=65536, description="transitions per gradient step")
    negatives: int = Field(
        default=7, ge=1, le=63, description="candidates that the mixture draws beside each action, as negatives"
    )
    transitions_per_step: int = Field(
        default=8,
        ge=1,
        description="new transitions per gradient step at first; every event of a user makes one",
    )
    most_transitions_per_step: int = Field(
        default=8,
        ge=1,
        description="new transitions per gradient step at most; the number grows towards it as transitions come",
    )
    warmup_transitions: int = Field(default=256, ge=1, description="transitions before the first gradient step")
    buffer_size: int = Field(default=20_000, ge=1, description="transitions the replay buffer holds")
    learning_rate: float = Field(default=0.003, gt=0, description="learning rate of Adam")
    weight_decay: float = Field(
        default=0.01, ge=0, description="decoupled decay of every weight per step, times learning_rate"
    )
    gradient_clip: float = Field(default=5.0, gt=0, description="longest gradient, L2 norm")
    device: str = Field(
        default="cpu",
        pattern=r"^(cpu|cuda(:\d+)?|mps)$",
        description="where gradient steps are computed: cpu, cuda, cuda:N or mps; an absent one is refused at start",
    )

    discount: float = Field(default=0.5, ge=0, lt=1, description="discount of the next state's value (gamma)")
    td_loss: Literal["huber", "squared"] = Field(default="huber", description="huber or squared")
    td_weight: float = Field(default=0.5, ge=0, description="weight of the Q head's loss beside the cross-entropy")
    target_steps: int = Field(default=100, ge=1, description="gradient steps between copies into the target network")

    epsilon_start: float = Field(default=1.0, ge=0, le=1, description="exploration rate at the first transition")
    epsilon_end: float = Field(default=0.05, ge=0, le=1, description="lowest exploration rate")
    epsilon_decay: float = Field(
        default=0.9995, gt=0, le=1, description="factor of the exploration rate per transition"
    )

    holdout_every: int = Field(
        default=4, ge=2, description="one in this many transitions validates before it is learned"
    )
    holdout_size: int = Field(default=2048, ge=1, description="transitions held for validation")

    @model_validator(mode="after")
    def _steps_grow_rarer(self) -> Self:
        if self.most_transitions_per_step < self.transitions_per_step:
            raise ValueError(
                f"most_transitions_per_step={self.most_transitions_per_step} must be no less than "
                f"transitions_per_step={self.transitions_per_step}"
            )
        return self


def steps_after(transitions: int, first: int, most: int) -> int:
    """The gradient steps due once there were so many transitions.

    A step comes every n / `SHARE` transitions, at least every `first` and at most every `most`. A young shop's few
    transitions are each learned from many times; a busy shop's millions are each learned from a few times, so that the
    time of a step does not limit how many events a second can be learned from. It depends on nothing but the number of
    transitions, so that every run agrees.

    Args:
        first: transitions per step at first.
        most: transitions per step later, no less than `first`.
    """
    early, late = first * SHARE, most * SHARE
    steps = min(transitions, early) / first
    if transitions > early:
        steps += SHARE * math.log(min(transitions, late) / early)
    if transitions > late:
        steps += (transitions - late) / most
    return int(steps)
