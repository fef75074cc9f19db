"""The trainer's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from shared.policies.freshet.settings import FreshetSettings
from shared.policies.registry import POLICIES
from shared.process.settings import ServiceSettings


class TrainerSettings(ServiceSettings, FreshetSettings):
    """Everything is counted in applied events or gradient steps, never in seconds, so that a replay repeats exactly."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_TRAINER_", frozen=True)

    state_dir: Path = Field(Path(".freshet/trainer"), description="folder of the checkpoints")
    checkpoint_events: int = Field(1000, ge=1, description="applied events between two checkpoints")
    publish_events: int = Field(
        1000, ge=1, description="applied events between two model versions; a multiple of checkpoint_events"
    )
    silence_seconds: float = Field(
        30.0, gt=0, description="a partition silent for this long is not waited for, seconds"
    )
    policy: str = Field(
        "freshet", description="policy that is learned and published; `freshet evaluate --help` lists them"
    )
    niceness: int = Field(
        5, ge=0, le=19, description="niceness of the process, so that it gives way to what serves on the same machine"
    )
    seed: int = Field(7, ge=0, description="seed of every random draw")
    pace: Literal["every", "adaptive"] = Field(
        "every",
        description="every: each gradient step that is due is taken, so that a replay repeats; adaptive: three of four "
        "are skipped while events come faster than they are learned from; manifests then say `deterministic: false`",
    )
    torch_threads: int = Field(
        1, ge=1, le=64, description="threads of one gradient step; other numbers give other results"
    )

    @field_validator("policy")
    @classmethod
    def _is_a_policy(cls, value: str) -> str:
        if value not in POLICIES:
            raise ValueError(f"no policy is called {value!r}; there are {', '.join(POLICIES)}")
        return value

    @model_validator(mode="after")
    def _publishes_what_is_durable(self) -> Self:
        if self.publish_events % self.checkpoint_events:
            raise ValueError(
                f"FRESHET_TRAINER_PUBLISH_EVENTS={self.publish_events} must be a multiple of "
                f"FRESHET_TRAINER_CHECKPOINT_EVENTS={self.checkpoint_events}: a version is published from a checkpoint"
            )
        return self
