"""What each user did: a bounded window of recent events in arrays, and the mask of products not to be shown again."""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.numeric.arrays import grown
from shared.pb.freshet.v1 import events_pb2 as pb

# What is kept of each event of a history: a column each, in this order, all about [-1, 1]. An encoder picks some.
EVENT_FEATURES = (
    "rating", "has_rating", "sentiment", "has_text", "reward",
    "gap",  # time since the user's event before
    "price",  # when the event happened; 0 where the event has none
    "crawled_price", "helpfulness", "time", "user",
)  # fmt: skip
RATING, HAS_RATING, REWARD = (EVENT_FEATURES.index(name) for name in ("rating", "has_rating", "reward"))
# Columns that a model must not read, unless its rows say that it reads the future: helpful votes and the prices beside
# reviews, which come from the products' metadata, are as crawled, years later; who and when would be learned by heart.
FUTURE_FEATURES = frozenset({"crawled_price", "helpfulness", "time", "user"})

# The price of an event of these kinds is the metadata's; of the others it is the shop's at that moment.
UNPRICED_KINDS = frozenset({pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_RATING})

# Sending a product back or asking not to see it is no sign that it is wanted.
UNCOUNTED_KINDS = frozenset({pb.EVENT_KIND_TICK, pb.EVENT_KIND_RETURN, pb.EVENT_KIND_DISLIKE})
DISLIKED_STARS = 2.0
# What an event of a history argues for: nothing, since it disappointed; nothing, since a later event with its product
# did; its product.
DISAPPOINTED, SILENCED, ARGUES = 0, 1, 2

# Imputed where all that is known of an event is who did what with which product, and when.
UNSAID = (pb.IMPUTED_PRICE, pb.IMPUTED_HELPFULNESS, pb.IMPUTED_RATING, pb.IMPUTED_SENTIMENT)

GAP_CAP_DAYS = 3650.0
GAP_CAP = math.log1p(GAP_CAP_DAYS)
CENTURY_MS = 36_525 * DAY_MS

# Where one class of users ends and another begins, in events and in days without any.
OCCASIONAL_EVENTS, REGULAR_EVENTS, LAPSED_DAYS = 3, 10, 180

USERS_AT_ONCE = 10_000  # whose masks are joined in one go


class Window(NamedTuple):
    """The recent events of B users, oldest first, padded at the end."""

    products: NDArray[np.int32]  # (B, T) rows, -1 where padded
    features: NDArray[np.float32]  # (B, T, F)
    lengths: NDArray[np.int32]  # (B,)
    user: int = -1  # row of the only user; -1: a guest, or there are several
    since_ms: int = 0  # time since the newest event of the only user
    argues: NDArray[np.bool_] | None = None  # (B, T) events that argue for their products; None: as the features say

    def arguing(self) -> NDArray[np.bool_]:
        """Which events of the only user argue for their products, oldest first, (n,)."""
        n = int(self.lengths[0])
        if self.argues is not None:
            return self.argues[0, :n]
        of = self.features[0, :n].T  # (F, n)
        disliked = of[RATING] <= (DISLIKED_STARS - 3.0) / 2.0
        return _arguing(self.products[0, :n], np.where(of[HAS_RATING] > 0.0, disliked, of[REWARD] < 0.0))


class Histories:
    """Every user's last `length` events and mask, in arrays that double as users come.

    Products are integer rows of the caller's own numbering. A user's own order is the order of `apply`, also where an
    event is late: older than the user's newest, as live events make those of a backfill behind them.
    """

    def __init__(self, length: int, masked_kinds: frozenset[int], users: int = 1024) -> None:
        self.length = length
        self._whole: NDArray[np.int32] = np.array([length], np.int32)
        self.masked_kinds = masked_kinds
        self.users: list[str] = []
        self._rows: dict[str, int] = {}
        self._masked: list[array[int]] = []
        self._products: NDArray[np.int32] = np.full((users, length), -1, np.int32)  # (U, T), rings
        self._features: NDArray[np.float32] = np.zeros((users, length, len(EVENT_FEATURES)), np.float32)
        self._times: NDArray[np.int64] = np.zeros((users, length), np.int64)  # ms
        self._kinds: NDArray[np.uint8] = np.zeros((users, length), np.uint8)
        self._argues: NDArray[np.uint8] = np.zeros((users, length), np.uint8)
        self._counts: NDArray[np.int64] = np.zeros(users, np.int64)  # events applied in all
        self._newest: NDArray[np.int64] = np.zeros(users, np.int64)  # latest event time, ms
        self.late = 0  # events applied to these arrays that were late
        self.latest_ms = 0  # latest event time of any user

    def row(self, user_id: str) -> int | None:
        """The user's row, None when no event of the user was applied."""
        return self._rows.get(user_id)

    def row_of(self, user_id: str) -> int:
        """The user's row; a new one, without events, when there is none."""
        row = self._rows.get(user_id)
        return self._add_user(user_id) if row is None else row

    def is_late(self, state: pb.StateVector) -> bool:
        """Whether a later event of the same user was applied already."""
        row = self._rows.get(state.user_id)
        return row is not None and state.event_time_ms < self._newest[row]

    @property
    def rings(
        self,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64]]:
        """Products, times, kinds and what events argue for, (U, T), as they are kept, and how many events were applied,
        (U,): a user's event n lies at n modulo T. Not to be changed.
        """
        return self._products, self._times, self._kinds, self._argues, self._counts

    def apply(self, state: pb.StateVector, product: int, *, disappointed: bool | None = None) -> int:
        """Append one event and return the user's row.

        Args:
            disappointed: what `disappoints` says of it; None: it is not known yet.
        """
        user_id, kind, event_time_ms = state.user_id, state.kind, state.event_time_ms
        row = self.row_of(user_id)
        count, previous_ms = int(self._counts[row]), int(self._newest[row])
        slot = count % self.length
        self.late += event_time_ms < previous_ms
        self._newest[row] = max(previous_ms, event_time_ms)
        self.latest_ms = max(self.latest_ms, event_time_ms)
        self._products[row, slot] = product
        self._features[row, slot] = features_of(state, previous_ms)
        self._times[row, slot] = event_time_ms
        self._kinds[row, slot] = kind
        if disappoints(state) if disappointed is None else disappointed:
            self._argues[row, (self._products[row] == product) & (self._argues[row] == ARGUES)] = SILENCED
            self._argues[row, slot] = DISAPPOINTED
        else:
            self._argues[row, slot] = ARGUES
        self._counts[row] = count + 1
        if kind in self.masked_kinds:
            self._masked[row].append(product)
        return row

    def events(self, row: int) -> int:
        """How many events of the user were applied in all."""
        return int(self._counts[row])

    def newest_ms(self, row: int) -> int:
        """Latest event time of the user, ms."""
        return int(self._newest[row])

    def newest_features(self, row: int) -> NDArray[np.float32]:
        """The features of the user's newest event, (F,)."""
        features: NDArray[np.float32] = self._features[row, (int(self._counts[row]) - 1) % self.length].copy()
        return features

    def masked(self, row: int) -> NDArray[np.int32]:
        """Products never to be recommended to the user again; may repeat."""
        return np.array(self._masked[row], dtype=np.int32)

    def window(self, row: int, *, before_ms: int | None = None, now_ms: int | None = None) -> Window:
        """The user's recent events as a batch of one.

        Args:
            before_ms: only those earlier than this event time; None: all that are kept.
            now_ms: the time that `Window.since_ms` is told at; None: that of the newest event.
        """
        since_ms = 0 if now_ms is None else max(0, now_ms - self.newest_ms(row))
        if before_ms is None and self._counts[row] >= self.length:
            oldest = int(self._counts[row]) % self.length
            return Window(
                _unrolled(self._products[row : row + 1], oldest),
                _unrolled(self._features[row : row + 1], oldest),
                self._whole,
                row,
                since_ms,
                _unrolled(self._argues[row : row + 1], oldest) == ARGUES,
            )
        slots = self._slots(row)
        if before_ms is None:
            argues = self._argues[row, slots] == ARGUES
        else:
            slots = slots[self._times[row, slots] < before_ms]
            # What disappointed later is not known yet.
            argues = _arguing(self._products[row, slots], self._argues[row, slots] == DISAPPOINTED)
            if now_ms is not None and len(slots):
                since_ms = max(0, now_ms - int(self._times[row, slots].max()))
        n = len(slots)
        products = np.full((1, self.length), -1, np.int32)
        features = np.zeros((1, self.length, len(EVENT_FEATURES)), np.float32)
        products[0, :n] = self._products[row, slots]
        features[0, :n] = self._features[row, slots]
        padded = np.zeros((1, self.length), np.bool_)
        padded[0, :n] = argues
        return Window(products, features, np.array([n], np.int32), row, since_ms, padded)

    def ordered(self, row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Products and features of the user's recent events, oldest first, (n,) and (n, F)."""
        slots = self._slots(row)
        products: NDArray[np.int32] = self._products[row].take(slots)
        features: NDArray[np.float32] = self._features[row].take(slots, axis=0)
        return products, features

    def recent(self, row: int) -> list[tuple[int, int, int, NDArray[np.float32]]]:
        """The user's recent events, oldest first: product row, kind, event time in ms, features (F,)."""
        slots = self._slots(row)
        products, kinds, times = (column[row, slots].tolist() for column in (self._products, self._kinds, self._times))
        return list(zip(products, kinds, times, self._features[row, slots], strict=True))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the users' ids, for a checkpoint or a snapshot."""
        n = len(self.users)
        # A piece at a time: joining holds up every other thread.
        masked = [b"".join(self._masked[start : start + USERS_AT_ONCE]) for start in range(0, n, USERS_AT_ONCE)]
        return {
            "products": self._products[:n].copy(),
            "features": self._features[:n].copy(),
            "times": self._times[:n].copy(),
            "kinds": self._kinds[:n].copy(),
            "argues": self._argues[:n].copy(),
            "counts": self._counts[:n].copy(),
            "newest": self._newest[:n].copy(),
            "masked": np.frombuffer(b"".join(masked), np.int32),
            "masked_lengths": np.fromiter(map(len, self._masked), np.int64, n),
        }

    @classmethod
    def from_arrays(
        cls, users: Sequence[str], arrays: dict[str, NDArray[Any]], masked_kinds: frozenset[int]
    ) -> Histories:
        """What `to_arrays` gave, with the users' ids in the order of their rows."""
        n = len(users)
        histories = cls(arrays["products"].shape[1], masked_kinds, max(n, 1024))
        histories.users = list(users)
        histories._rows = {user: row for row, user in enumerate(users)}
        masked = np.ascontiguousarray(arrays["masked"], np.int32).data
        ends = np.cumsum(arrays["masked_lengths"]).tolist()
        histories._masked = [array("i", masked[a:b]) for a, b in pairwise([0, *ends])]
        histories._products[:n] = arrays["products"]
        histories._features[:n] = arrays["features"]
        histories._times[:n] = arrays["times"]
        histories._kinds[:n] = arrays["kinds"]
        histories._argues[:n] = arrays["argues"]
        histories._counts[:n] = arrays["counts"]
        histories._newest[:n] = arrays["newest"]
        histories.latest_ms = int(arrays["newest"].max(initial=0))
        return histories

    def _slots(self, row: int) -> NDArray[np.int64]:
        count = int(self._counts[row])
        return np.arange(max(0, count - self.length), count) % self.length

    def _add_user(self, user_id: str) -> int:
        row = len(self.users)
        if row == len(self._counts):
            for name in ("_products", "_features", "_times", "_kinds", "_argues", "_counts", "_newest"):
                setattr(self, name, grown(getattr(self, name), row + 1, -1 if name == "_products" else 0))
        self.users.append(user_id)
        self._rows[user_id] = row
        self._masked.append(array("i"))
        return row


def _unrolled(ring: NDArray[Any], oldest: int) -> NDArray[Any]:
    """A full ring, (1, T, …), from its oldest entry on."""
    return np.concatenate([ring[:, oldest:], ring[:, :oldest]], axis=1)


def _arguing(products: NDArray[np.int32], disappointed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of some events, oldest first, argue for their products: none that disappointed, nor those before it with
    the same product, (n,).
    """
    argues = ~disappointed
    for n in np.flatnonzero(disappointed).tolist():
        argues[:n] &= products[:n] != products[n]
    return argues


def features_of(state: pb.StateVector, previous_ms: int) -> tuple[float, ...]:
    """One row of `EVENT_FEATURES`; `previous_ms`: the user's latest event time before, 0 for the first."""
    imputed, price = state.imputed, state.price_scaled
    has_rating = pb.IMPUTED_RATING not in imputed
    has_text = pb.IMPUTED_SENTIMENT not in imputed
    days = max(0, state.event_time_ms - previous_ms) / DAY_MS if previous_ms else GAP_CAP_DAYS
    return (
        (state.rating - 3.0) / 2.0 if has_rating else 0.0,
        float(has_rating),
        state.sentiment,
        float(has_text),
        state.reward,
        min(1.0, math.log1p(days) / GAP_CAP),
        0.0 if state.kind in UNPRICED_KINDS or pb.IMPUTED_PRICE in imputed else price,
        price,
        state.helpfulness_scaled,
        state.event_time_ms / CENTURY_MS,
        zlib.crc32(state.user_id.encode()) / 2**32,
    )


def disappoints(state: pb.StateVector) -> bool:
    """Whether an event says that the user did not like the product: sent back, not wanted, one or two stars; a reward
    below 0 where there are no stars, since words alone mislead. Such an event is no sign of popularity, and argues for
    nothing, nor do those before it with its product.
    """
    if state.kind in UNCOUNTED_KINDS:
        return True
    return state.reward < 0.0 if pb.IMPUTED_RATING in state.imputed else state.rating <= DISLIKED_STARS


def user_class(events: int, newest_ms: int, now_ms: int) -> UserClass:
    """What class a user with so many events, the newest at `newest_ms`, is of at `now_ms`."""
    if events and now_ms - newest_ms > LAPSED_DAYS * DAY_MS:
        return UserClass.LAPSED
    if events < OCCASIONAL_EVENTS:
        return UserClass.NEW
    return UserClass.OCCASIONAL if events < REGULAR_EVENTS else UserClass.REGULAR


class UserClass(StrEnum):
    """How well a user is known."""

    NEW = "new"  # no event, or fewer than `OCCASIONAL_EVENTS`
    OCCASIONAL = "occasional"  # fewer than `REGULAR_EVENTS`
    REGULAR = "regular"
    LAPSED = "lapsed"  # any number of events, the newest more than `LAPSED_DAYS` ago


USER_CLASSES = tuple(UserClass)
