"""What a model is shown of one event: a row of numbers, all about [-1, 1]."""

from __future__ import annotations

import math
import zlib

from shared.pb.freshet.v1 import events_pb2 as pb
from shared.times import DAY_MS

# What is kept of each event of the history; a column each, in this order, all about [-1, 1]. An encoder picks its own.
EVENT_FEATURES = (
    "rating", "has_rating", "sentiment", "has_text", "reward",
    "gap",  # time since the user's event before
    "price",  # as it was when the event happened; 0 where none was told
    "crawled_price", "helpfulness", "time", "user",
)  # fmt: skip
# Columns that a model must not read, unless its rows say that it reads the future: helpful votes and the prices beside
# reviews, which come from the products' metadata, are as crawled, years later; who and when would be learned by heart.
FUTURE_FEATURES = frozenset({"crawled_price", "helpfulness", "time", "user"})

# Of these kinds a price is the metadata's; with the others a shop tells what it asked at that moment.
UNPRICED_KINDS = frozenset({pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_RATING})

# Imputed where all that is known of an event is who did what with which product, and when.
UNSAID = (pb.IMPUTED_PRICE, pb.IMPUTED_HELPFULNESS, pb.IMPUTED_RATING, pb.IMPUTED_SENTIMENT)

GAP_CAP_DAYS = 3650.0
CENTURY_MS = 36_525 * DAY_MS


def features_of(state: pb.StateVector, previous_ms: int) -> tuple[float, ...]:
    """One row of `EVENT_FEATURES`; `previous_ms`: the user's latest event time before, 0 for the first."""
    has_rating = pb.IMPUTED_RATING not in state.imputed
    has_text = pb.IMPUTED_SENTIMENT not in state.imputed
    price = 0.0 if pb.IMPUTED_PRICE in state.imputed else state.price_scaled
    days = max(0, state.event_time_ms - previous_ms) / DAY_MS if previous_ms else GAP_CAP_DAYS
    return (
        (state.rating - 3.0) / 2.0 if has_rating else 0.0,
        float(has_rating),
        state.sentiment,
        float(has_text),
        state.reward,
        min(1.0, math.log1p(days) / math.log1p(GAP_CAP_DAYS)),
        0.0 if state.kind in UNPRICED_KINDS else price,
        state.price_scaled,
        state.helpfulness_scaled,
        state.event_time_ms / CENTURY_MS,
        zlib.crc32(state.user_id.encode()) / 2**32,
    )
