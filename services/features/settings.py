"""The settings of features."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.process.settings import ServiceSettings


class FeaturesSettings(ServiceSettings):
    """How an event becomes a state vector. Scales are settings, not learned: the same event gives the same state."""

    model_config = SettingsConfigDict(env_prefix="FRESHET_FEATURES_", frozen=True)

    batch: int = Field(500, ge=1, le=10_000, description="events described and acknowledged together")
    linger_seconds: float = Field(0.02, gt=0, le=10, description="longest wait for a batch to fill, seconds")
    session_seconds: float = Field(
        6.0, ge=1, le=300, description="a worker silent for this long counts as dead; Kafka accepts 6 or more, seconds"
    )

    price_maximum: float = Field(1000.0, gt=0, description="price that scales to 1, in the shop's currency")
    default_price_scaled: float = Field(0.5, ge=0, le=1, description="scaled price where none is given")
    helpful_maximum: float = Field(
        100.0, gt=0, description="helpful votes that scale to 1 where the source does not say how many voted"
    )
    default_helpfulness_scaled: float = Field(0.5, ge=0, le=1, description="helpfulness where nobody voted")
    default_rating: float = Field(3.0, ge=1, le=5, description="stars where none are given")

    rating_weight: float = Field(0.7, ge=0, description="weight of the stars in the reward")
    sentiment_weight: float = Field(0.3, ge=0, description="weight of the text's sentiment in the reward")
    reward_review: float = Field(
        0.0, ge=-1, le=1, description="reward of a review, added to that of its stars and text"
    )
    reward_rating: float = Field(0.0, ge=-1, le=1, description="reward of a rating, added to that of its stars")
    reward_view: float = Field(0.05, ge=-1, le=1, description="reward of a view")
    reward_click: float = Field(0.1, ge=-1, le=1, description="reward of a click")
    reward_favourite: float = Field(0.3, ge=-1, le=1, description="reward of a favourite")
    reward_cart: float = Field(0.3, ge=-1, le=1, description="reward of a product put into the cart")
    reward_purchase: float = Field(0.7, ge=-1, le=1, description="reward of a purchase")
    reward_return: float = Field(-0.7, ge=-1, le=1, description="reward of a product sent back")
    reward_dislike: float = Field(-1.0, ge=-1, le=1, description="reward of a dislike")
