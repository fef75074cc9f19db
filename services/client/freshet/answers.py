"""What the service answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from freshet.events import Kind, Product


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
    COUNTED = "counted"
    UNKNOWN = "unknown"  # a newer service's word


class Fallback(StrEnum):
    """Why an answer was not learned, or not full."""

    NO_MODEL = "no_model"
    UNKNOWN_USER = "unknown_user"
    EMPTY_CATALOGUE = "empty_catalogue"
    NOTHING_LEFT = "nothing_left"
    UNKNOWN = "unknown"  # a newer service's word


class Part(StrEnum):
    """What makes a score."""

    TRENDING = "trending"
    CO_OCCURRENCE = "co_occurrence"
    SEQUENCE = "sequence"
    Q = "q"
    SENTIMENT = "sentiment"
    CONTENT = "content"
    BOOST = "boost"
    ITSELF = "itself"
    NEIGHBOURS = "neighbours"
    UNKNOWN = "unknown"  # a newer service's word


@dataclass(frozen=True, slots=True)
class PastShare:
    """A past event's share in a reason.

    Attributes:
        at: None where the request's own session names the product.
        score: what the event adds to the reason's score.
    """

    product_id: str
    kind: Kind | None  # None: a newer service's
    at: datetime | None
    score: float


@dataclass(frozen=True, slots=True)
class Reason:
    """What a part adds to a score; the scores of all of a product's reasons add up to its own.

    Attributes:
        events: which past events made it most, the strongest first.
        times: of `Part.ITSELF`, how many events like the first of `events` the user's history keeps; otherwise 0.
    """

    part: Part
    score: float
    events: tuple[PastShare, ...]
    times: int = 0


@dataclass(frozen=True, slots=True)
class Recommended:
    """One product of an answer.

    Attributes:
        score: comparable within one answer only; higher is better.
        propensity: probability of this product at this place, given the places above.
        explored: placed by exploration, not by score.
        product: with the fields that were asked for; None where none were.
        reasons: empty unless asked for.
    """

    product_id: str
    score: float
    propensity: float
    explored: bool
    product: Product | None = None
    reasons: tuple[Reason, ...] = ()


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
class KnownProduct:
    """What is known of a product.

    Attributes:
        events: applied in all, guests' too.
        share: of the decayed count of all events.
        rank: among the products that can be recommended, 1 is the most popular; None: it can't be.
        first_event: None before any.
    """

    product: Product
    events: int
    share: float
    rank: int | None
    first_event: datetime | None


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
class KnownUser:
    """A user of whom events were applied.

    Attributes:
        events: applied in all.
        newest: the latest of them.
    """

    user_id: str
    events: int
    newest: datetime
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
