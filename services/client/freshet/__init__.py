"""Freshet's client for a shop.

    import freshet

    with freshet.Client("127.0.0.1:50051") as shop:
        shown = shop.recommend("ann", count=5)
        shop.record([freshet.view("ann", "B0002E1G5C", request_id=shown.request_id)])
        cheap = freshet.filters.price(at_most=30) & ~freshet.filters.brand("Acme")
        shop.recommend(None, session=["B0002E1G5C"], filter=cheap, diversity=0.3, fields=["title"], explain=True)

`AsyncClient` has the same methods for asyncio. `Client.recorder` records events in batches, in the background.
"""

from freshet import filters
from freshet.answers import (
    Fallback,
    KnownProduct,
    KnownUser,
    Models,
    ModelVersion,
    Part,
    Past,
    PastShare,
    Position,
    Reason,
    Recommendation,
    Recommended,
    Recorded,
    Strategy,
    User,
    UserClass,
)
from freshet.async_client import AsyncClient
from freshet.async_recorder import AsyncRecorder
from freshet.calling import Retries
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
from freshet.filters import Availability, Filter
from freshet.messages import Wishes
from freshet.recorder import Recorder
from freshet.waiting import Limits

__all__ = [
    "AsyncClient",
    "AsyncRecorder",
    "Availability",
    "Client",
    "DeadlineExceeded",
    "Event",
    "Fallback",
    "Filter",
    "FreshetError",
    "Full",
    "InvalidRequest",
    "Kind",
    "KnownProduct",
    "KnownUser",
    "Limits",
    "ModelVersion",
    "Models",
    "NotFound",
    "Part",
    "Past",
    "PastShare",
    "Position",
    "Product",
    "Reason",
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
    "Wishes",
    "cart",
    "click",
    "dislike",
    "favourite",
    "filters",
    "purchase",
    "rating",
    "returned",
    "review",
    "view",
]
