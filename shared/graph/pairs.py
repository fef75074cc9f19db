"""Which products share users: viewed together, bought together, reviewed together, counted event by event. Pure."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.pb.freshet.v1 import events_pb2 as pb

ALSO_VIEWED, ALSO_BOUGHT, CO_REVIEW = "also_viewed", "also_bought", "co_review"
RELATIONS = (ALSO_VIEWED, ALSO_BOUGHT, CO_REVIEW)

# What a pair of events of one user says of their products; returns, dislikes and ticks say nothing of the kind.
RELATION_OF_KIND: dict[int, str] = {
    pb.EVENT_KIND_VIEW: ALSO_VIEWED,
    pb.EVENT_KIND_CLICK: ALSO_VIEWED,
    pb.EVENT_KIND_FAVOURITE: ALSO_VIEWED,
    pb.EVENT_KIND_CART: ALSO_BOUGHT,
    pb.EVENT_KIND_PURCHASE: ALSO_BOUGHT,
    pb.EVENT_KIND_REVIEW: CO_REVIEW,
    pb.EVENT_KIND_RATING: CO_REVIEW,
}

# A product is paired with so many that the user came to just before: else one wholesaler would pair all with all.
PAIRED = 50

_MOST_WAITING = 1 << 20


class Pair(NamedTuple):
    """Two products, by row, and what they share."""

    first: int
    second: int  # above the first
    users: int  # who came to both
    strength: float  # [0, 1)


class Pairs:
    """Counts the users of each product and of each two of them, in one relation; a user counts once.

    Args:
        shrink: users that a pair's strength is damped by, so that chance is not taken for likeness.
    """

    def __init__(self, *, shrink: float = 3.0) -> None:
        self._shrink = shrink
        self._of_user: dict[str, dict[int, None]] = {}  # user → rows, in the order of the user's first events
        self._users: defaultdict[int, int] = defaultdict(int)  # row → users
        self._waiting = array("q")  # pairs as numbers, first · 2³² + second
        self._codes = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)

    def add(self, user_id: str, row: int) -> None:
        """Count a user's coming to a product; of a user who did so before nothing is counted."""
        own = self._of_user.setdefault(user_id, {})
        if row in own:
            return
        for other, _ in zip(reversed(own), range(PAIRED), strict=False):
            self._waiting.append((min(row, other) << 32) | max(row, other))
        own[row] = None
        self._users[row] += 1
        if len(self._waiting) >= _MOST_WAITING:
            self._settle()

    def users(self, row: int) -> int:
        """Who came to a product."""
        return self._users.get(row, 0)

    def pairs(self, least: int = 1) -> Iterator[Pair]:
        """Every pair that `least` users share, by row.

        Strength is the cosine n_ab / √(n_a · n_b) of the two products' users, damped (Sarwar et al., WWW 2001).
        """
        self._settle()
        kept = self._counts >= least
        for code, users in zip(self._codes[kept].tolist(), self._counts[kept].tolist(), strict=True):
            first, second = code >> 32, code & 0xFFFFFFFF
            alone = (self._users[first] * self._users[second]) ** 0.5
            yield Pair(first, second, users, users / (alone + self._shrink))

    def _settle(self) -> None:
        """Sum up what waits."""
        if not self._waiting:
            return
        codes: NDArray[np.int64] = np.concatenate([self._codes, np.frombuffer(self._waiting, np.int64)])
        counts = np.concatenate([self._counts, np.ones(len(codes) - len(self._codes), np.int64)])
        self._codes, places = np.unique(codes, return_inverse=True)
        self._counts = np.bincount(places, counts).astype(np.int64)
        self._waiting = array("q")
