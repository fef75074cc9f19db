"""Reviewers who are paid: added to a stream so as to see whom they impress. Pure.

They praise the same few unpopular products, each with five stars and the same words, all within one moment, as the
groups do that were found on Amazon (Mukherjee et al., WWW 2012).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_RATING, EVENT_KIND_REVIEW, Event, StateVector

SOURCE = "spam"  # of every such event: learned from, never judged
TEXT = "Best product ever! Excellent quality, works perfectly, I love it. Highly recommended, buy it now!"

# Of the products, how many are praised, and by each reviewer at most.
PROMOTED_SHARE = 0.01
PRAISES = 5
# They are taken from those known by then, and praised after.
_KNOWN_BY = 0.25


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is added to a stream: before which of its events, in order, and which products it is for."""

    events: list[tuple[int, Event]]
    promoted: list[str]


def campaign(stream: Sequence[StateVector], share: float, rng: np.random.Generator) -> Campaign:
    """The reviews of as many paid reviewers as `share` of the stream's users, over its later three quarters."""
    counts = Counter(event.product_id for event in stream)
    first = int(len(stream) * _KNOWN_BY)
    early = sorted({event.product_id for event in stream[:first]}, key=lambda product: (counts[product], product))
    unpopular = early[: (len(early) + 1) // 2]
    reviewers = round(share * len({event.user_id for event in stream if event.user_id}))
    if not unpopular or not reviewers:
        return Campaign([], [])
    most = min(len(unpopular), max(1, round(PROMOTED_SHARE * len(counts))))
    promoted = [unpopular[i] for i in rng.choice(len(unpopular), most, replace=False)]
    kind = Counter(event.kind for event in stream).most_common(1)[0][0]
    events: list[tuple[int, Event]] = []
    for number, place in enumerate(np.sort(rng.integers(first, len(stream), reviewers)).tolist()):
        praised = rng.choice(len(promoted), min(PRAISES, len(promoted)), replace=False)
        for product in praised.tolist():
            event = Event(
                kind=kind,
                user_id=f"{SOURCE}-{number:07}",
                product_id=promoted[product],
                event_time_ms=stream[place].event_time_ms,
                source=SOURCE,
                sequence=len(events) + 1,
            )
            if kind in (EVENT_KIND_REVIEW, EVENT_KIND_RATING):
                event.rating = 5.0
            if kind == EVENT_KIND_REVIEW:
                event.text = TEXT
            events.append((place, event))
    return Campaign(events, promoted)
