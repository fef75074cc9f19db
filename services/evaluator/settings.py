"""The settings of the evaluator."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from shared.kinds import DEFAULT_MASKED_KINDS, masked_kinds_of
from shared.settings import ServiceSettings


class EvaluatorSettings(ServiceSettings):
    """How policies are judged; what shapes an answer must be set as in inference, or something else is judged."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_EVALUATOR_", frozen=True)

    models_dir: Path = Field(Path(".freshet/models"), description="folder of the model versions")
    history_length: int = Field(
        20, ge=1, le=500, description="events kept per user; as FRESHET_INFERENCE_HISTORY_LENGTH"
    )
    masked_kinds: str = Field(
        ",".join(DEFAULT_MASKED_KINDS),
        description="kinds of events after which a product is not recommended again; as FRESHET_INFERENCE_MASKED_KINDS",
    )
    trending_half_life_days: float = Field(30.0, gt=0, description="an event's weight in trending halves in, days")
    place_new_products: bool = Field(
        default=True, description="give products with few events a place; as FRESHET_INFERENCE_PLACE_NEW_PRODUCTS"
    )
    silence_seconds: float = Field(
        30.0, gt=0, description="a partition without news for so long is not waited for, seconds"
    )
    niceness: int = Field(
        5, ge=0, le=19, description="how far the process gives way to those that serve on the same machine"
    )
    recent_events: int = Field(2000, ge=1, description="judged events that the figures of window=recent cover")

    @field_validator("masked_kinds")
    @classmethod
    def _are_kinds(cls, value: str) -> str:
        masked_kinds_of(value)
        return value
