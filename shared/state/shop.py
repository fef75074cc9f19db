"""The settings that must be the same in every service of one shop, or what is learned is not what is served and judged.

trainer, inference, evaluator and `freshet evaluate` all read them from the same variables, `FRESHET_SHOP_…`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.log.records import DAY_MS, DEFAULT_MASKED_KINDS, masked_kinds_of


class StreamSettings(BaseModel):
    """How events become histories and transitions, the same for all policies of a stream."""

    model_config = ConfigDict(frozen=True)

    history_length: int = Field(
        default=20, ge=1, le=500, description="events kept of each user, the newest ones: they make the state"
    )
    session_gap_days: float = Field(
        default=30.0, gt=0, description="a user's pause longer than this ends the episode, days"
    )
    masked_kinds: str = Field(
        default=",".join(DEFAULT_MASKED_KINDS),
        description="kinds of events after which a product is not recommended to the user again, separated by commas",
    )
    trending_half_life_days: float = Field(
        default=30.0, gt=0, description="time in which an event's weight in trending halves, days"
    )

    tally_megabytes: int = Field(
        default=512,
        ge=1,
        description="memory that the pairs of products of one partition take at most in each process, MB; beyond it "
        "products keep the neighbours they have, and new products get none",
    )

    @field_validator("masked_kinds")
    @classmethod
    def _are_kinds(cls, value: str) -> str:
        masked_kinds_of(value)
        return value

    @property
    def session_gap_ms(self) -> int:
        """The pause that ends an episode, ms."""
        return int(self.session_gap_days * DAY_MS)


class ShopSettings(BaseSettings, StreamSettings):
    """What all services of one shop share. A variable is read by all of them, so that none can differ."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_SHOP_", frozen=True)

    place_new_products: bool = Field(
        default=True,
        description="give products with few events a place by their category, brand, price and texts, from the "
        "places of the products most like them",
    )
    models_dir: Path = Field(
        default=Path(".freshet/models"), description="folder of the model versions: the trainer writes, the others read"
    )
