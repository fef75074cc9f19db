"""Freshet's client for a shop.

    import freshet

    with freshet.Client("127.0.0.1:50051") as shop:
        shown = shop.recommend("ann", count=5)
        shop.record([freshet.view("ann", "B0002E1G5C", request_id=shown.request_id)])

`AsyncClient` has the same methods for asyncio. `Client.recorder` records events in batches, in the background.
"""

from freshet.answers import (
    Fallback,
    Models,
    ModelVersion,
    Past,
    Position,
    Recommendation,
    Recommended,
    Recorded,
    Strategy,
    User,
    UserClass,
)
from freshet.async_client import AsyncClient
from freshet.async_recorder import AsyncRecorder
from freshet.client import Client
from freshet.errors import (
    DeadlineExceeded,
    FreshetError,
    Full,
    InvalidRequest,
    NotFound,
    Unavailable,
    Undelivered,
)
from freshet.events import (
    Event,
    Kind,
    Product,
    cart,
    click,
    dislike,
    favourite,
    purchase,
    rating,
    returned,
    review,
    view,
)
from freshet.recorder import Recorder
from freshet.retry import Retries
from freshet.waiting import Limits

__all__ = [
    "AsyncClient",
    "AsyncRecorder",
    "Client",
    "DeadlineExceeded",
    "Event",
    "Fallback",
    "FreshetError",
    "Full",
    "InvalidRequest",
    "Kind",
    "Limits",
    "ModelVersion",
    "Models",
    "NotFound",
    "Past",
    "Position",
    "Product",
    "Recommendation",
    "Recommended",
    "Recorded",
    "Recorder",
    "Retries",
    "Strategy",
    "Unavailable",
    "Undelivered",
    "User",
    "UserClass",
    "cart",
    "click",
    "dislike",
    "favourite",
    "purchase",
    "rating",
    "returned",
    "review",
    "view",
]
