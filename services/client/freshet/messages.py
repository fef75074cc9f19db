"""Between this client's values and the protocol's messages. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from freshet import answers
from freshet.events import Event, Kind, Product
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1 import recommender_pb2 as calls

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {kind: pb.EventKind.Value(f"EVENT_KIND_{kind.name}") for kind in Kind}
_KIND_OF = {number: kind for kind, number in _KINDS.items()}
_STRATEGIES = {
    calls.STRATEGY_LEARNED: answers.Strategy.LEARNED,
    calls.STRATEGY_TRENDING: answers.Strategy.TRENDING,
}
_FALLBACKS = {
    calls.FALLBACK_UNSPECIFIED: None,
    calls.FALLBACK_NO_MODEL: answers.Fallback.NO_MODEL,
    calls.FALLBACK_UNKNOWN_USER: answers.Fallback.UNKNOWN_USER,
    calls.FALLBACK_EMPTY_CATALOGUE: answers.Fallback.EMPTY_CATALOGUE,
    calls.FALLBACK_NOTHING_LEFT: answers.Fallback.NOTHING_LEFT,
}
_CLASSES = {
    calls.USER_CLASS_NEW: answers.UserClass.NEW,
    calls.USER_CLASS_OCCASIONAL: answers.UserClass.OCCASIONAL,
    calls.USER_CLASS_REGULAR: answers.UserClass.REGULAR,
    calls.USER_CLASS_LAPSED: answers.UserClass.LAPSED,
}


def event_message(event: Event) -> pb.Event:
    """An event as it is sent."""
    return pb.Event(
        event_id=event.event_id,
        kind=_KINDS[Kind(event.kind)],
        user_id=event.user,
        product_id=event.product,
        event_time_ms=(event.at - _EPOCH) // timedelta(milliseconds=1),
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
    )


def recommend_request(
    user: str | None, count: int, exclude: Iterable[str], after: answers.Position | None
) -> calls.RecommendRequest:
    """What `recommend` sends. A guest gets a name that nobody has, and so what is trending."""
    position = None if after is None else pb.LogPosition(partition=after.partition, offset=after.offset)
    return calls.RecommendRequest(
        user_id=user or f"guest-{uuid4().hex}", count=count, exclude_product_ids=exclude, after_position=position
    )


def recommendation(answer: calls.RecommendResponse) -> answers.Recommendation:
    """What `recommend` gives."""
    return answers.Recommendation(
        products=tuple(
            answers.Recommended(found.product_id, found.score, found.propensity, found.explored)
            for found in answer.products
        ),
        model_version=answer.model_version,
        strategy=_STRATEGIES.get(answer.strategy, answers.Strategy.UNKNOWN),
        fallback=_FALLBACKS.get(answer.fallback, answers.Fallback.UNKNOWN),
        position=_position(answer),
        request_id=answer.request_id,
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


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
