"""What the service answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from freshet.events import Kind


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log of events."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event that the log holds.

    Attributes:
        position: given as `after` to `recommend`, the answer has seen the event.
    """

    event_id: str
    position: Position


class Strategy(StrEnum):
    """Where an answer came from."""

    LEARNED = "learned"
    TRENDING = "trending"
    UNKNOWN = "unknown"  # a newer service's word


class Fallback(StrEnum):
    """Why an answer was not learned, or not full."""

    NO_MODEL = "no_model"
    UNKNOWN_USER = "unknown_user"
    EMPTY_CATALOGUE = "empty_catalogue"
    NOTHING_LEFT = "nothing_left"
    UNKNOWN = "unknown"  # a newer service's word


@dataclass(frozen=True, slots=True)
class Recommended:
    """One product of an answer.

    Attributes:
        score: comparable within one answer only; higher is better.
        propensity: probability of this product at this place, given the places above.
        explored: placed by exploration, not by score.
    """

    product_id: str
    score: float
    propensity: float
    explored: bool


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The best products for one user, best first; iterating gives them.

    Attributes:
        model_version: empty where the answer was not learned.
        fallback: None where the answer was learned.
        position: the newest record of the user's partition that the answer has seen; None: none.
        request_id: to be named in the events that answer this recommendation.
    """

    products: tuple[Recommended, ...]
    model_version: str
    strategy: Strategy
    fallback: Fallback | None
    position: Position | None
    request_id: str

    def __iter__(self) -> Iterator[Recommended]:
        return iter(self.products)

    def __len__(self) -> int:
        return len(self.products)

    @property
    def product_ids(self) -> list[str]:
        """The products alone, best first."""
        return [product.product_id for product in self.products]


@dataclass(frozen=True, slots=True)
class Past:
    """One event of a user's history.

    Attributes:
        rating: stars, 1 to 5; None where none were given.
        sentiment: of the text, -1 to 1.
        reward: what was learned from it, -1 to 1.
    """

    product_id: str
    kind: Kind | None  # None: a newer service's
    at: datetime
    rating: float | None
    sentiment: float
    reward: float


class UserClass(StrEnum):
    """How well a user is known: by how many events there are, and how long ago the newest was."""

    NEW = "new"
    OCCASIONAL = "occasional"
    REGULAR = "regular"
    LAPSED = "lapsed"
    UNKNOWN = "unknown"  # a newer service's word


@dataclass(frozen=True, slots=True)
class User:
    """What is known of a user.

    Attributes:
        history: the newest events, oldest first.
        events: how many were applied in all.
        masked_products: how many are never recommended to this user again.
    """

    user_id: str
    history: tuple[Past, ...]
    events: int
    masked_products: int
    position: Position | None
    user_class: UserClass


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A published model version.

    Attributes:
        events: learned from since the lineage began.
        products: that have learned rows.
        metrics: figures of the validation.
    """

    version_id: str
    policy: str
    created: datetime
    events: int
    products: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Models:
    """The published versions, newest first.

    Attributes:
        serving: the one that answers now; empty: none.
        pinned: the one asked for by a pin; empty: the newest is served.
    """

    versions: tuple[ModelVersion, ...]
    serving: str
    pinned: str
