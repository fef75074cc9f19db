"""Between this client's values and the protocol's messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from google.protobuf.field_mask_pb2 import FieldMask

from freshet import answers
from freshet.errors import InvalidRequest
from freshet.events import Event, Kind, Product
from freshet.filters import AVAILABILITIES, Availability, Filter
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1 import recommender_pb2 as calls

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {kind: pb.EventKind.Value(f"EVENT_KIND_{kind.name}") for kind in Kind}
_KIND_OF = {number: kind for kind, number in _KINDS.items()}
_STRATEGIES = {
    calls.STRATEGY_LEARNED: answers.Strategy.LEARNED,
    calls.STRATEGY_TRENDING: answers.Strategy.TRENDING,
    calls.STRATEGY_COUNTED: answers.Strategy.COUNTED,
}
_FALLBACKS = {
    calls.FALLBACK_UNSPECIFIED: None,
    calls.FALLBACK_NO_MODEL: answers.Fallback.NO_MODEL,
    calls.FALLBACK_UNKNOWN_USER: answers.Fallback.UNKNOWN_USER,
    calls.FALLBACK_EMPTY_CATALOGUE: answers.Fallback.EMPTY_CATALOGUE,
    calls.FALLBACK_NOTHING_LEFT: answers.Fallback.NOTHING_LEFT,
}
_PARTS = {calls.Part.Value(f"PART_{part.name}"): part for part in answers.Part if part is not answers.Part.UNKNOWN}
_AVAILABILITY_OF = {number: kind for kind, number in AVAILABILITIES.items()}
_CLASSES = {
    calls.USER_CLASS_NEW: answers.UserClass.NEW,
    calls.USER_CLASS_OCCASIONAL: answers.UserClass.OCCASIONAL,
    calls.USER_CLASS_REGULAR: answers.UserClass.REGULAR,
    calls.USER_CLASS_LAPSED: answers.UserClass.LAPSED,
}


class Wishes(TypedDict, total=False):
    """What an answer should be like: keyword arguments of every call that recommends, all of them optional."""

    count: int  # products wanted, 1 to 1,000 (default: 10)
    exclude: Iterable[str]  # products that must not be in this answer
    filter: Filter  # only products that match it
    boosts: Mapping[Filter, float]  # factors, above 0, for the odds of the products that match each filter
    diversity: float  # how much an answer avoids products similar to those above them, 0 to 1
    minimum_score: float  # leave out products whose score is lower
    fields: Iterable[str]  # fields of each product to return beside its id, such as "title" and "price"
    explain: bool  # return what each score is made of


def event_message(event: Event) -> pb.Event:
    """An event as it is sent."""
    return pb.Event(
        event_id=event.event_id,
        kind=_KINDS[Kind(event.kind)],
        user_id=event.user,
        product_id=event.product,
        event_time_ms=_ms(event.at),
        text=event.text,
        rating=event.rating,
        helpful_votes=event.helpful_votes,
        total_votes=event.total_votes,
        price=event.price,
        quantity=event.quantity,
        dwell_seconds=event.dwell_seconds,
        request_id=event.request_id,
    )


def product_message(product: Product) -> pb.Product:
    """A product as it is sent."""
    return pb.Product(
        product_id=product.product_id,
        title=product.title,
        categories=product.categories,
        brand=product.brand,
        price=product.price,
        unavailable=not product.available,
        availability=_availability(product),
        listed_ms=None if product.listed is None else _ms(product.listed),
        description=product.description,
    )


def _availability(product: Product) -> pb.Availability.ValueType:
    if product.availability is None:
        return pb.AVAILABILITY_UNSPECIFIED
    return AVAILABILITIES[Availability(product.availability)]


def product(message: pb.Product) -> Product:
    """A product of an answer."""
    return Product(
        product_id=message.product_id,
        title=message.title,
        categories=tuple(message.categories),
        brand=message.brand,
        price=message.price if message.HasField("price") else None,
        available=not message.unavailable,
        availability=_AVAILABILITY_OF.get(message.availability),
        listed=_moment(message.listed_ms) if message.HasField("listed_ms") else None,
        description=message.description,
    )


def recommend_request(
    user: str | None, session: Iterable[str], after: answers.Position | None, wishes: Wishes
) -> calls.RecommendRequest:
    """What `recommend` sends."""
    return calls.RecommendRequest(
        user_id=user or "",
        session_product_ids=session,
        after_position=None if after is None else pb.LogPosition(partition=after.partition, offset=after.offset),
        wishes=wishes_message(wishes),
    )


def wishes_message(wishes: Wishes) -> calls.Wishes:
    """Wishes as they are sent.

    Raises:
        TypeError: there is no such wish.
        InvalidRequest: a count that can't be sent; the service refuses what can be, and is too much.
    """
    unknown = [name for name in wishes if name not in Wishes.__annotations__]
    if unknown:
        raise TypeError(f"there is no argument {unknown[0]!r}; there are {', '.join(Wishes.__annotations__)}")
    count = wishes.get("count", 0)
    if count < 0:
        raise InvalidRequest(f"wishes.count: must not be negative, got {count}")
    wanted = wishes.get("filter")
    fields = list(wishes.get("fields", ()))
    return calls.Wishes(
        count=count,
        exclude_product_ids=wishes.get("exclude", ()),
        filter=None if wanted is None else wanted.message,
        boosts=[
            calls.Boost(products=which.message, factor=factor) for which, factor in wishes.get("boosts", {}).items()
        ],
        diversity=wishes.get("diversity", 0.0),
        minimum_score=wishes.get("minimum_score"),
        product_fields=FieldMask(paths=fields) if fields else None,
        explain=wishes.get("explain", False),
    )


def recommendation(answer: calls.RecommendResponse) -> answers.Recommendation:
    """What `recommend` gives."""
    return answers.Recommendation(
        products=recommended(answer.products),
        model_version=answer.model_version,
        strategy=_STRATEGIES.get(answer.strategy, answers.Strategy.UNKNOWN),
        fallback=_FALLBACKS.get(answer.fallback, answers.Fallback.UNKNOWN),
        position=_position(answer),
        request_id=answer.request_id,
    )


def recommended(products: Iterable[calls.RecommendedProduct]) -> tuple[answers.Recommended, ...]:
    """The products of an answer."""
    return tuple(
        answers.Recommended(
            entry.product_id,
            entry.score,
            entry.propensity,
            entry.explored,
            product(entry.product) if entry.HasField("product") else None,
            tuple(map(_reason, entry.reasons)),
        )
        for entry in products
    )


def known_product(answer: calls.GetProductResponse) -> answers.KnownProduct:
    """What `product` gives."""
    return answers.KnownProduct(
        product=product(answer.product),
        events=answer.events,
        share=answer.share,
        rank=answer.popularity_rank or None,
        first_event=_moment(answer.first_event_ms) if answer.first_event_ms else None,
    )


def known_user(answer: calls.KnownUser) -> answers.KnownUser:
    """What `users` gives."""
    return answers.KnownUser(
        user_id=answer.user_id,
        events=answer.events,
        newest=_moment(answer.newest_ms),
        user_class=_CLASSES.get(answer.user_class, answers.UserClass.UNKNOWN),
    )


def _reason(reason: calls.Reason) -> answers.Reason:
    return answers.Reason(
        part=_PARTS.get(reason.part, answers.Part.UNKNOWN),
        score=reason.score,
        events=tuple(
            answers.PastShare(
                product_id=event.product_id,
                kind=_KIND_OF.get(event.kind),
                at=_moment(event.event_time_ms) if event.event_time_ms else None,
                score=event.score,
            )
            for event in reason.events
        ),
        times=reason.times,
    )


def recorded(answer: calls.RecordEventsResponse) -> list[answers.Recorded]:
    """What `record` gives."""
    return [
        answers.Recorded(event.event_id, answers.Position(event.position.partition, event.position.offset))
        for event in answer.events
    ]


def user(answer: calls.GetUserResponse) -> answers.User:
    """What `user` gives."""
    return answers.User(
        user_id=answer.user_id,
        history=tuple(
            answers.Past(
                product_id=event.product_id,
                kind=_KIND_OF.get(event.kind),
                at=_moment(event.event_time_ms),
                rating=event.rating or None,
                sentiment=event.sentiment,
                reward=event.reward,
            )
            for event in answer.history
        ),
        events=answer.events,
        masked_products=answer.masked_products,
        position=_position(answer),
        user_class=_CLASSES.get(answer.user_class, answers.UserClass.UNKNOWN),
    )


def models(answer: calls.ListModelsResponse) -> answers.Models:
    """What `models` gives."""
    return answers.Models(
        versions=tuple(
            answers.ModelVersion(
                version_id=version.version_id,
                policy=version.policy,
                created=_moment(version.created_ms),
                events=version.applied_events,
                products=version.products,
                metrics=dict(version.metrics),
            )
            for version in answer.versions
        ),
        serving=answer.serving_version,
        pinned=answer.pinned_version,
    )


def _position(answer: calls.RecommendResponse | calls.GetUserResponse) -> answers.Position | None:
    if not answer.HasField("position"):
        return None
    return answers.Position(answer.position.partition, answer.position.offset)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
