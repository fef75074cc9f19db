"""Users whose newest events are like a user's, and what their sessions hold (VMIS-kNN: Kersbergen et al., Serenade,
SIGMOD 2022, over the tally's newest users and their histories).

`View` is one user's history, and `Rings` all of them, as compiled functions read them. Pure; the loops are compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.numeric.compiled import Matrix, ReadOnlyVector, Vector, compiled
from shared.state.histories import ARGUES, Window
from shared.state.tally import NEWEST_USERS, USER_INTS, USERS, TallyArrays, room_of

LAGS = 20  # events of a history that are read
# Neighbours: products of the history that are looked up, users that are listened to, and how much less an earlier match
# counts for each event.
LAST, LISTENED, MATCH_DECAY = 4, 100, 0.1
TABLE = 2048  # more than twice LAST * USERS is room enough to find users fast


@compiled
def newest_arguing(
    products: ReadOnlyVector[np.int32], argues: ReadOnlyVector[np.bool_], places: int, out: Vector[np.int32]
) -> None:
    """Fill in the products of the newest events, the newest first; -1 for those that argue for nothing.

    Args:
        products: of n events or more.
        argues: (n,)
        places: products beyond have none.
    """
    for lag in range(len(out)):
        n = len(argues) - 1 - lag
        out[lag] = products[n] if argues[n] and products[n] < places else -1


class View(NamedTuple):
    """One user's history as the compiled functions read it: n events, the newest first."""

    products: Vector[np.int32]  # (n,) rows; -1 where the tally has no place for it, or the event argues for nothing
    user: int  # row; -1: a guest

    @classmethod
    def of(cls, window: Window, products: int) -> View:
        """Of a window of one user; `products`: places of the tally."""
        newest = np.empty(min(LAGS, int(window.lengths[0])), np.int32)
        newest_arguing(window.products[0], window.arguing(), products, newest)
        return cls(newest, window.user)


NOBODY = View(np.zeros(0, np.int32), -1)


class Rings(NamedTuple):
    """All users' histories, as rings."""

    products: Matrix[np.int32]  # (U, T)
    argues: Matrix[np.uint8]  # (U, T)
    events: Vector[np.int64]  # (U,) applied in all


@compiled
def listened_to(t: TallyArrays, view: View) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The users that are listened to, and how much an event of each counts."""
    last = min(len(view.products), LAST)
    users = np.empty(last * USERS, np.int64)
    likeness = np.empty(last * USERS)
    match = np.empty(last * USERS, np.int64)
    table = np.full(TABLE, -1, np.int32)  # user → place, by open addressing
    count = 0
    for lag in range(last):
        row = view.products[lag]
        if row < 0:
            continue
        again = False
        for newer in range(lag):
            again = again or view.products[newer] == row
        if again:
            continue
        start, in_use, _ = room_of(t.products[row, NEWEST_USERS])
        for at in range(USER_INTS * start, USER_INTS * start + in_use):
            user = int(t.users[at])
            if user == view.user:
                continue
            key = (user * 2654435761) & (TABLE - 1)
            while table[key] >= 0 and users[table[key]] != user:
                key = (key + 1) & (TABLE - 1)
            place = table[key]
            if place < 0:
                place = count
                table[key] = place
                users[place], likeness[place], match[place] = user, 0.0, lag
                count += 1
            likeness[place] += (last - lag) / last
    least = np.partition(likeness[:count], count - LISTENED)[count - LISTENED] if count > LISTENED else 0.0
    listened = 0
    for place in range(count):
        if likeness[place] >= least:
            users[listened] = users[place]
            likeness[listened] = likeness[place] * (1.0 - MATCH_DECAY * match[place])
            listened += 1
    return users[:listened], likeness[:listened]


@compiled
def _counted(rings: Rings, users: ReadOnlyVector[np.int64], counts: ReadOnlyVector[np.float64]) -> float:
    """What all events of some users count together."""
    total, length = 0.0, rings.products.shape[1]
    for place in range(len(users)):
        total += counts[place] * min(rings.events[users[place]], length)
    return total


@compiled
def listen(t: TallyArrays, rings: Rings, view: View, weight: float, out: Vector[np.float32]) -> None:
    """Add what the neighbours' sessions hold, as shares times a weight."""
    users, counts = listened_to(t, view)
    if not len(users):
        return
    factor = np.float32(weight / _counted(rings, users, counts))
    length = rings.products.shape[1]
    for place in range(len(users)):
        user, adds = users[place], factor * np.float32(counts[place])
        for slot in range(min(rings.events[user], length)):
            if rings.argues[user, slot] == ARGUES:  # what does not leaves no more to the others
                other = rings.products[user, slot]
                if other < len(out):
                    out[other] += adds


@compiled
def places_of(rows: ReadOnlyVector[np.int64]) -> NDArray[np.int16]:
    """Where each row is among some, each once, by open addressing: a table that stays in the processor's cache."""
    size = 256
    while size < 8 * len(rows):
        size *= 2
    table = np.full(size, -1, np.int16)
    for k in range(len(rows)):
        key = rows[k] & (size - 1)
        while table[key] >= 0:
            key = (key + 1) & (size - 1)
        table[key] = k
    return table


@compiled
def place_among(table: ReadOnlyVector[np.int16], rows: ReadOnlyVector[np.int64], row: int) -> int:
    """Where a row is among those of the table, -1: nowhere."""
    key = row & (len(table) - 1)
    while table[key] >= 0 and rows[table[key]] != row:
        key = (key + 1) & (len(table) - 1)
    return int(table[key])


@compiled
def heard(
    t: TallyArrays, rings: Rings, view: View, rows: ReadOnlyVector[np.int64], table: ReadOnlyVector[np.int16]
) -> NDArray[np.float64]:
    """The share that the neighbours' sessions hold of some products, (K,).

    Args:
        table: as `places_of` gives it.
    """
    users, counts = listened_to(t, view)
    shares = np.zeros(len(rows))
    length = rings.products.shape[1]
    for place in range(len(users)):
        user = users[place]
        for slot in range(min(rings.events[user], length)):
            k = place_among(table, rows, rings.products[user, slot])
            if k >= 0 and rings.argues[user, slot] == ARGUES:
                shares[k] += counts[place]
    return shares / _counted(rings, users, counts) if len(users) else shares
