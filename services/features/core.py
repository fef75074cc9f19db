"""From one event to its state vector. Pure: the same record gives the same state, on Kafka and in a test.

All imputation, scaling and the reward are stated here and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from shared.log.records import check_event, check_not_ahead
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent

MOST_TEXT_BYTES = 65_536

# Kind of event → name of the setting that holds its reward.
_REWARD_SETTINGS: dict[int, str] = {
    kind: f"reward_{name.removeprefix('EVENT_KIND_').lower()}"
    for name, kind in pb.EventKind.items()
    if kind not in (pb.EVENT_KIND_UNSPECIFIED, pb.EVENT_KIND_TICK)
}


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """The record of `freshet.events` that an event came in."""

    topic: str
    partition: int
    offset: int
    recorded_ms: int  # the record's Kafka timestamp


def parse_event(value: bytes | None, clock_ms: int) -> pb.Event:
    """The event in a record's value.

    Args:
        clock_ms: what the clock said when the event was recorded.

    Raises:
        BadEvent: it is none, nothing may be learned from it, or it lies more than a day ahead of `clock_ms`.
    """
    if value is None:
        raise BadEvent("undecodable", "a record without a value")
    try:
        event = pb.Event.FromString(value)
    except DecodeError as error:
        raise BadEvent("undecodable", f"not an Event: {error}") from error
    check_event(event)
    check_not_ahead(event, clock_ms)
    return event


def describe(event: pb.Event, origin: SourceRecord, settings: FeaturesSettings, sentiment: Sentiment) -> pb.StateVector:
    """The state vector of a valid event; a tick is passed on without a user, a product or anything scaled."""
    state = pb.StateVector(
        user_id=event.user_id,
        product_id=event.product_id,
        kind=event.kind,
        event_time_ms=event.event_time_ms,
        event_id=event.event_id,
        source=event.source,
        sequence=event.sequence,
        request_id=event.request_id,
        source_topic=origin.topic,
        source_partition=origin.partition,
        source_offset=origin.offset,
        recorded_ms=origin.recorded_ms,
    )
    if event.kind == pb.EVENT_KIND_TICK:
        return state
    price, helpfulness = price_scaled(event, settings), helpfulness_scaled(event, settings)
    rating = event.rating if event.HasField("rating") else None
    text, cut = scored_text(event.text)
    compound = sentiment.compound(text) if text else None
    state.price_scaled = settings.default_price_scaled if price is None else price
    state.helpfulness_scaled = settings.default_helpfulness_scaled if helpfulness is None else helpfulness
    state.rating = settings.default_rating if rating is None else rating
    state.sentiment = 0.0 if compound is None else compound
    state.reward = reward(event.kind, rating, compound, settings)
    missing = {
        pb.IMPUTED_PRICE: price is None,
        pb.IMPUTED_HELPFULNESS: helpfulness is None,
        pb.IMPUTED_RATING: rating is None,
        pb.IMPUTED_SENTIMENT: compound is None,
        pb.IMPUTED_TEXT_CUT: cut,
    }
    state.imputed.extend(imputed for imputed, is_missing in missing.items() if is_missing)
    return state


def price_scaled(event: pb.Event, settings: FeaturesSettings) -> float | None:
    """log1p(price) / log1p(price_maximum), at most 1; None without a price."""
    return _log_scaled(event.price, settings.price_maximum) if event.HasField("price") else None


def helpfulness_scaled(event: pb.Event, settings: FeaturesSettings) -> float | None:
    """Which share of the voters found the review helpful, [0, 1]; None where nobody voted.

    Where the source does not tell how many voted, log1p(votes) / log1p(helpful_maximum), at most 1.
    """
    if not event.HasField("helpful_votes"):
        return None
    if not event.HasField("total_votes"):
        return _log_scaled(event.helpful_votes, settings.helpful_maximum)
    if event.total_votes == 0:
        return None
    return min(1.0, event.helpful_votes / event.total_votes)


def scored_text(text: str) -> tuple[str, bool]:
    """What of a text is scored, empty where it says nothing, and whether it was cut after 64 KiB of UTF-8."""
    if not text or text.isspace():
        return "", False
    if len(text) * 4 <= MOST_TEXT_BYTES:  # a character takes 4 bytes at most
        return text, False
    encoded = text.encode()
    if len(encoded) <= MOST_TEXT_BYTES:
        return text, False
    return encoded[:MOST_TEXT_BYTES].decode(errors="ignore"), True  # a character cut in two is left out


def reward(kind: int, rating: float | None, compound: float | None, settings: FeaturesSettings) -> float:
    """What the event says of the user's liking, [-1, 1]: clip(reward of its kind + opinion).

    The opinion is the weighted mean of (rating - 3) / 2 and the compound sentiment, over those of the two that were
    given, with `rating_weight` and `sentiment_weight`; 0 where neither was given. By default the kinds review and
    rating have no reward of their own, and the others rarely have an opinion.
    """
    weighted = weights = 0.0
    if rating is not None:
        weighted += settings.rating_weight * (rating - 3.0) / 2.0
        weights += settings.rating_weight
    if compound is not None:
        weighted += settings.sentiment_weight * compound
        weights += settings.sentiment_weight
    opinion = weighted / weights if weights else 0.0
    of_kind: float = getattr(settings, _REWARD_SETTINGS[kind])
    return max(-1.0, min(1.0, of_kind + opinion))


def _log_scaled(amount: float, maximum: float) -> float:
    return min(1.0, math.log1p(amount) / math.log1p(maximum))
