"""What users do, and the products they do it with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypedDict, Unpack
from uuid import uuid4

from freshet.filters import Availability


class Kind(StrEnum):
    """What a user did with a product."""

    REVIEW = "review"
    RATING = "rating"
    VIEW = "view"
    CLICK = "click"
    CART = "cart"
    PURCHASE = "purchase"
    RETURN = "return"
    DISLIKE = "dislike"
    FAVOURITE = "favourite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that a user did; `view`, `purchase` and the others make them.

    Its id and its time are those of its making. However often it is sent, by this client's retries or by yours, it
    counts once.

    Attributes:
        user: empty for a guest: then it counts for trending only.
        at: when it happened; must name a time zone.
        rating: stars, 1 to 5.
        price: of one unit, in the shop's currency.
        request_id: of the recommendation that it answers.
    """

    kind: Kind
    product: str
    user: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    text: str = ""
    rating: float | None = None
    helpful_votes: int | None = None
    total_votes: int | None = None
    price: float | None = None
    quantity: float | None = None
    dwell_seconds: float | None = None
    request_id: str = ""
    event_id: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"at: {self.at} names no time zone; datetime.now(UTC) does")
        if not self.event_id:
            raise ValueError("event_id: must not be empty; leave it out to have one made")


class Rest(TypedDict, total=False):
    """Optional fields of every event."""

    at: datetime
    request_id: str
    event_id: str


def view(user: str | None, product: str, *, dwell_seconds: float | None = None, **rest: Unpack[Rest]) -> Event:
    """Somebody looked at a product's page."""
    return Event(kind=Kind.VIEW, user=user or "", product=product, dwell_seconds=dwell_seconds, **rest)


def click(user: str | None, product: str, **rest: Unpack[Rest]) -> Event:
    """Somebody followed a link to a product."""
    return Event(kind=Kind.CLICK, user=user or "", product=product, **rest)


def cart(
    user: str | None, product: str, *, price: float | None = None, quantity: float | None = None, **rest: Unpack[Rest]
) -> Event:
    """Somebody put a product into the cart."""
    return Event(kind=Kind.CART, user=user or "", product=product, price=price, quantity=quantity, **rest)


def purchase(
    user: str | None, product: str, *, price: float | None = None, quantity: float | None = None, **rest: Unpack[Rest]
) -> Event:
    """Somebody bought a product."""
    return Event(kind=Kind.PURCHASE, user=user or "", product=product, price=price, quantity=quantity, **rest)


def returned(
    user: str | None, product: str, *, price: float | None = None, quantity: float | None = None, **rest: Unpack[Rest]
) -> Event:
    """Somebody sent a product back."""
    return Event(kind=Kind.RETURN, user=user or "", product=product, price=price, quantity=quantity, **rest)


def review(
    user: str | None,
    product: str,
    *,
    text: str,
    rating: float | None = None,
    helpful_votes: int | None = None,
    total_votes: int | None = None,
    **rest: Unpack[Rest],
) -> Event:
    """Somebody wrote about a product."""
    return Event(
        kind=Kind.REVIEW,
        user=user or "",
        product=product,
        text=text,
        rating=rating,
        helpful_votes=helpful_votes,
        total_votes=total_votes,
        **rest,
    )


def rating(user: str | None, product: str, stars: float, **rest: Unpack[Rest]) -> Event:
    """Somebody gave a product stars, without a text."""
    return Event(kind=Kind.RATING, user=user or "", product=product, rating=stars, **rest)


def favourite(user: str | None, product: str, **rest: Unpack[Rest]) -> Event:
    """Somebody saved a product for later."""
    return Event(kind=Kind.FAVOURITE, user=user or "", product=product, **rest)


def dislike(user: str | None, product: str, **rest: Unpack[Rest]) -> Event:
    """Somebody asked not to be shown a product again."""
    return Event(kind=Kind.DISLIKE, user=user or "", product=product, **rest)


@dataclass(frozen=True, slots=True)
class Product:
    """What the shop sells.

    Attributes:
        categories: from the widest to the narrowest.
        price: of one unit, in the shop's currency.
        available: False if it must not be recommended.
        availability: how soon an available product can be delivered; None: unknown.
        listed: when the shop began to sell it, with a time zone; None: its first event counts.
        description: the shop's text.
    """

    product_id: str
    title: str = ""
    categories: tuple[str, ...] = ()
    brand: str = ""
    price: float | None = None
    available: bool = True
    availability: Availability | None = None
    listed: datetime | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if self.listed is not None and self.listed.tzinfo is None:
            raise ValueError(f"listed: {self.listed} names no time zone; datetime.now(UTC) does")
