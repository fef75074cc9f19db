"""One review as SNAP publishes it → one `Event`.

| | 2014 | 2018 | other crawls in SNAP's names |
|---|---|---|---|
| user, product | `reviewerID`, `asin` | the same | the same, sometimes null |
| stars, time | `overall`, `unixReviewTime` (seconds) | the same | the same, sometimes null |
| helpfulness | `helpful` [helpful, all] | `vote`, a string such as "1,234", all are helpful | none |
| text | `summary`, `reviewText` | the same | the same |

The rest (`verified`, `style`, `image`, `reviewerName`, `reviewTime`) says nothing that an event holds.
"""

from __future__ import annotations

import html

from replay.records import Record, as_number, clean, identifier, number
from shared.errors import BadEvent
from shared.events import END_MS, check_event
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_RATING, EVENT_KIND_REVIEW, Event

_MOST_VOTES = 2**53  # beyond, the number was no count


def to_event(record: Record) -> Event:
    """The event, without the source and sequence that its place in the order will give it.

    Raises:
        BadEvent: no user, product or time, or a field is not what it should be.
    """
    user_id = identifier(record, "reviewerID", "no_user")
    product_id = identifier(record, "asin", "no_product")
    time_ms = _time_ms(record)
    text = _text(record)
    rating = number(record, "overall", "bad_rating")
    if rating is None and not text:
        raise BadEvent("nothing_said", "overall, reviewText, summary: neither stars nor a text")
    event = Event(
        kind=EVENT_KIND_REVIEW if text else EVENT_KIND_RATING,
        user_id=user_id,
        product_id=product_id,
        event_time_ms=time_ms,
        text=text,
        source="unordered",
        sequence=1,
    )
    if rating is not None:
        event.rating = rating
    _set_votes(event, record)
    check_event(event)
    event.ClearField("source")
    event.ClearField("sequence")
    return event


def _time_ms(record: Record) -> int:
    seconds = number(record, "unixReviewTime", "bad_time")
    if seconds is None:
        raise BadEvent("no_time", "unixReviewTime: missing")
    if not 0 < seconds * 1000 < END_MS:
        raise BadEvent("bad_time", f"unixReviewTime: seconds since 1970, above 0 and before 2200, got {seconds:g}")
    return int(seconds * 1000)


def _text(record: Record) -> str:
    """Title and body, separated by a line break."""
    parts = []
    for name in ("summary", "reviewText"):
        value = record.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise BadEvent("bad_text", f"{name}: must be a string, got a {type(value).__name__}")
        if part := clean(html.unescape(value)).strip():
            parts.append(part)
    return "\n".join(parts)


def _set_votes(event: Event, record: Record) -> None:
    helpful = record.get("helpful")
    if helpful is not None:
        if not isinstance(helpful, list | tuple) or len(helpful) != 2:
            raise BadEvent("bad_votes", "helpful: must be [helpful votes, all votes]")
        event.helpful_votes = _votes(helpful[0], "helpful")
        event.total_votes = _votes(helpful[1], "helpful")
    elif (votes := record.get("vote")) not in (None, ""):
        event.helpful_votes = _votes(votes, "vote")


def _votes(value: object, name: str) -> int:
    votes = as_number(value, name, "bad_votes")
    if not 0 <= votes <= _MOST_VOTES or votes != int(votes):
        raise BadEvent("bad_votes", f"{name}: must be a count, got {votes:g}")
    return int(votes)
