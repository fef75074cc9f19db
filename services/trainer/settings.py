"""The trainer's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from shared.history import DAY_MS, DEFAULT_MASKED_KINDS, masked_kinds_of
from shared.settings import ServiceSettings


class TrainerSettings(ServiceSettings):
    """Everything is counted in applied events or gradient steps, never in seconds, so that a replay repeats exactly."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_TRAINER_", frozen=True)

    state_dir: Path = Field(Path(".freshet/trainer"), description="folder of the checkpoints")
    models_dir: Path = Field(Path(".freshet/models"), description="folder of the model versions, shared with readers")
    checkpoint_events: int = Field(1000, ge=1, description="a checkpoint every so many applied events")
    publish_events: int = Field(
        1000, ge=1, description="a model version every so many applied events; a multiple of checkpoint_events"
    )
    silence_seconds: float = Field(
        30.0, gt=0, description="a partition without news for so long is not waited for, seconds"
    )
    niceness: int = Field(
        5, ge=0, le=19, description="how far the process gives way to those that serve on the same machine"
    )
    seed: int = Field(7, ge=0, description="of every random draw")
    torch_threads: int = Field(
        1, ge=1, le=64, description="threads of one gradient step; part of the result's identity"
    )

    history_length: int = Field(20, ge=1, le=500, description="events of the history that make the state")
    dimension: int = Field(64, ge=2, le=1024, description="length of product vectors and of the hidden state")
    batch: int = Field(128, ge=1, le=65536, description="transitions per gradient step")
    transitions_per_step: int = Field(
        8, ge=1, description="transitions per gradient step at first; every event of a user with a history makes one"
    )
    most_transitions_per_step: int = Field(
        64, ge=1, description="transitions per gradient step of a busy shop: the number grows to it with all there were"
    )
    warmup_transitions: int = Field(256, ge=1, description="transitions before the first gradient step")
    era_events: int = Field(64, ge=1, description="events between snapshots of the popularity that logits add to")
    buffer_size: int = Field(50_000, ge=1, description="transitions the replay buffer holds")
    learning_rate: float = Field(0.001, gt=0, description="of Adam")
    weight_decay: float = Field(0.1, ge=0, description="decoupled decay of every weight per step, times learning_rate")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of a history's inputs hidden while learning")
    gradient_clip: float = Field(5.0, gt=0, description="longest gradient, L2 norm")

    discount: float = Field(0.5, ge=0, lt=1, description="what the next state's value counts (gamma)")
    session_gap_days: float = Field(30.0, gt=0, description="a longer pause of a user ends the episode, days")
    td_loss: Literal["huber", "squared"] = Field("huber", description="huber or squared")
    td_weight: float = Field(0.5, ge=0, description="weight of the Q head's loss beside the cross-entropy")
    target_steps: int = Field(100, ge=1, description="gradient steps between copies into the target network")
    negatives: int = Field(64, ge=1, description="products per step that nobody chose, for the Q head")
    full_softmax_products: int = Field(
        20_000, ge=1, description="up to so many products every one is scored in a step; above, a shared sample"
    )
    sampled_products: int = Field(1024, ge=1, description="products of that shared sample")

    epsilon_start: float = Field(1.0, ge=0, le=1, description="exploration rate at the first transition")
    epsilon_end: float = Field(0.05, ge=0, le=1, description="exploration rate that is never gone below")
    epsilon_decay: float = Field(0.9995, gt=0, le=1, description="factor of the exploration rate per transition")

    holdout_every: int = Field(10, ge=2, description="every so many-th transition validates before it is learned")
    holdout_size: int = Field(512, ge=1, description="transitions that validate at a time")
    masked_kinds: str = Field(
        ",".join(DEFAULT_MASKED_KINDS), description="kinds of events after which a product is not recommended again"
    )
    trending_half_life_days: float = Field(30.0, gt=0, description="an event's weight in trending halves in, days")

    @field_validator("masked_kinds")
    @classmethod
    def _are_kinds(cls, value: str) -> str:
        masked_kinds_of(value)
        return value

    @model_validator(mode="after")
    def _steps_grow_rarer(self) -> Self:
        if self.most_transitions_per_step < self.transitions_per_step:
            raise ValueError(
                f"FRESHET_TRAINER_MOST_TRANSITIONS_PER_STEP={self.most_transitions_per_step} must be no less than "
                f"FRESHET_TRAINER_TRANSITIONS_PER_STEP={self.transitions_per_step}"
            )
        return self

    @model_validator(mode="after")
    def _publishes_what_is_durable(self) -> Self:
        if self.publish_events % self.checkpoint_events:
            raise ValueError(
                f"FRESHET_TRAINER_PUBLISH_EVENTS={self.publish_events} must be a multiple of "
                f"FRESHET_TRAINER_CHECKPOINT_EVENTS={self.checkpoint_events}: a version is published from a checkpoint"
            )
        return self

    @property
    def session_gap_ms(self) -> int:
        """The pause that ends an episode, ms."""
        return int(self.session_gap_days * DAY_MS)
