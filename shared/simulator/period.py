"""One period of a dataset as columns: who did what with which product, in the order of time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import Unusable
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.times import DAY_MS

# Kinds that say a user wanted a product.
WANTED = (
    pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_RATING, pb.EVENT_KIND_VIEW, pb.EVENT_KIND_CLICK, pb.EVENT_KIND_CART,
    pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_FAVOURITE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Period:
    """N events of U users with A products; rows of users and products are those of the whole dataset."""

    users: NDArray[np.int64]  # (N,)
    products: NDArray[np.int64]  # (N,)
    kinds: NDArray[np.int64]  # (N,) EventKind
    time_ms: NDArray[np.int64]  # (N,) ascending
    ratings: NDArray[np.float64]  # (N,) stars; NaN where none were given
    prices: NDArray[np.float64]  # (A,) mean price; NaN where none is known
    user_ids: tuple[str, ...]  # (U,)
    product_ids: tuple[str, ...]  # (A,)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def in_whole_days(self) -> bool:
        """Whether times are days: then what happened in one visit can't be told."""
        return bool((self.time_ms % DAY_MS == 0).all())

    def between(self, from_ms: int, until_ms: int) -> Period:
        """The events from one moment on and before another.

        Raises:
            Unusable: there are none.
        """
        first, last = np.searchsorted(self.time_ms, [from_ms, until_ms])
        if first >= last:
            raise Unusable("no event lies in the period asked for; `freshet data inspect` shows what a file spans")
        return self.chosen(slice(int(first), int(last)))

    def chosen(self, which: Any) -> Period:
        """Some of the events."""
        return replace(
            self,
            users=self.users[which],
            products=self.products[which],
            kinds=self.kinds[which],
            time_ms=self.time_ms[which],
            ratings=self.ratings[which],
        )

    def middle_ms(self, share: float) -> int:
        """The moment before which a share of the events lies."""
        return int(self.time_ms[min(len(self) - 1, int(len(self) * share))])


def collect(events: Iterable[pb.Event]) -> Period:
    """The events of known users that say somebody wanted a product, in the order of time.

    Raises:
        Unusable: there are none.
    """
    users: dict[str, int] = {}
    products: dict[str, int] = {}
    rows: list[tuple[int, int, int, int, float]] = []
    paid: list[tuple[int, float]] = []
    for event in events:
        if not event.user_id or event.kind not in WANTED:
            continue
        product = products.setdefault(event.product_id, len(products))
        rating = event.rating if event.HasField("rating") else np.nan
        rows.append((users.setdefault(event.user_id, len(users)), product, event.kind, event.event_time_ms, rating))
        if event.HasField("price"):
            paid.append((product, event.price))
    if not rows:
        raise Unusable("no event of a known user says what was wanted: a simulator needs views, purchases or reviews")
    user, product_, kind, time_ms, ratings = zip(*rows, strict=True)
    order = np.argsort(np.array(time_ms, np.int64), kind="stable")
    return Period(
        users=np.array(user, np.int64)[order],
        products=np.array(product_, np.int64)[order],
        kinds=np.array(kind, np.int64)[order],
        time_ms=np.array(time_ms, np.int64)[order],
        ratings=np.array(ratings, np.float64)[order],
        prices=_means(paid, len(products)),
        user_ids=tuple(users),
        product_ids=tuple(products),
    )


def _means(paid: list[tuple[int, float]], size: int) -> NDArray[np.float64]:
    sums, counts = np.zeros(size), np.zeros(size)
    for product, price in paid:
        sums[product] += price
        counts[product] += 1
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = sums / counts
    return means
