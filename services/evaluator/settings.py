"""The settings of the evaluator."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.process.settings import ServiceSettings


class EvaluatorSettings(ServiceSettings):
    """How policies are judged; what shapes an answer is the shop's, as in inference."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_EVALUATOR_", frozen=True)

    silence_seconds: float = Field(
        30.0, gt=0, description="a partition silent for this long is not waited for, seconds"
    )
    niceness: int = Field(
        5, ge=0, le=19, description="niceness of the process, so that it gives way to what serves on the same machine"
    )
    recent_events: int = Field(2000, ge=1, description="judged events that the figures of window=recent cover")
