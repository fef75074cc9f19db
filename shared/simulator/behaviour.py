"""What a period tells of its users beside their choices: drift, what satisfies, how long visits and looks are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.pb.freshet.v1 import events_pb2 as pb
from shared.simulator.choices import logistic_regression
from shared.simulator.period import Period

VISIT_GAP_MS = 30 * 60_000  # a longer pause begins another visit
_LONGEST_DWELL_MS = 10 * 60_000
_FEWEST_CLICKS, _MOST_CLICKS = 2.0, 50.0  # a visit, whatever the log says
_PRODUCTS_A_CLICK = 5.0  # a log tells what was clicked; so many were looked at for it: assumed

_LOOKED = (pb.EVENT_KIND_VIEW, pb.EVENT_KIND_CLICK)
_ENGAGED = (pb.EVENT_KIND_CART, pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_FAVOURITE)
_LIKED_STARS = 4.0


def drift_of(own: Period, vectors: NDArray[np.float64]) -> float | None:
    """How far lasting tastes go from one visit to the next, by how much more a user's halves differ than by chance.

    The means of two halves differ even where nothing moved, by twice the variance over their number of products; what
    is beyond is spread over the visits between the middles of the halves, as a random walk's.
    """
    order = np.lexsort((own.time_ms, own.users))
    beyond: list[float] = []
    steps: list[float] = []
    for mine in np.split(order, np.flatnonzero(np.diff(own.users[order])) + 1):
        if len(mine) < 10:
            continue
        half = len(mine) // 2
        first, second = vectors[own.products[mine[:half]]], vectors[own.products[mine[half:]]]
        noise = first.var(axis=0, ddof=1).sum() / len(first) + second.var(axis=0, ddof=1).sum() / len(second)
        beyond.append(float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum() - noise))
        visits = 1 + int((np.diff(own.time_ms[mine]) > VISIT_GAP_MS).sum())
        steps.append(max(1.0, visits / 2))
    if len(beyond) < 20:
        return None
    return float(np.sqrt(max(0.0, float(np.mean(beyond) / np.mean(steps)))))


def satisfaction_of(
    own: Period, vectors: NDArray[np.float64], popularity: NDArray[np.float64], taste_weight: float
) -> dict[str, float]:
    """What satisfies who has clicked: stars from four on, or going on from a view to a cart, favourites or a purchase.

    A log of one kind without stars tells nothing of it.
    """
    rated = ~np.isnan(own.ratings)
    if rated.mean() > 0.5:
        chosen = np.flatnonzero(rated)
        labels = own.ratings[chosen] >= _LIKED_STARS
    else:
        looked = np.flatnonzero(np.isin(own.kinds, _LOOKED))
        pairs = own.users * len(own.product_ids) + own.products
        _, first = np.unique(pairs[looked], return_index=True)
        chosen = looked[first]
        labels = np.isin(pairs[chosen], pairs[np.isin(own.kinds, _ENGAGED)])
    if not len(chosen):
        return {}
    matches = taste_weight * _matches(own, vectors, chosen)
    found = logistic_regression(labels, np.column_stack([matches, popularity[own.products[chosen]]]))
    if found is None:
        return {}
    fitted = {
        "satisfied_offset": float(found[0]),
        "satisfied_taste": max(0.0, float(found[1])),
        "satisfied_popularity": float(found[2]),
    }
    bought, engaged = (int(np.isin(own.kinds, kinds).sum()) for kinds in ((pb.EVENT_KIND_PURCHASE,), _ENGAGED))
    if engaged and rated.mean() <= 0.5:
        fitted["purchase_share"] = bought / engaged
    return fitted


def _matches(own: Period, vectors: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """How each event's product matches the user's others: (M,)."""
    sums = np.zeros((int(own.users.max()) + 1, vectors.shape[1]))
    np.add.at(sums, own.users, vectors[own.products])
    counts = np.bincount(own.users, minlength=len(sums))
    mine, it = own.users[chosen], vectors[own.products[chosen]]
    others = (sums[mine] - it) / np.maximum(1, counts[mine] - 1)[:, None]
    return np.asarray((others * it).sum(axis=1))


def pace_of(period: Period) -> dict[str, float]:
    """How many visits are of newcomers, how long visits are, and how long users look at a product.

    Where times are whole days the last two can't be told.
    """
    order = np.lexsort((period.time_ms, period.users))
    gaps = np.diff(period.time_ms[order])
    together = (np.diff(period.users[order]) == 0) & (gaps <= VISIT_GAP_MS)
    visits = len(order) - int(together.sum())
    fitted = {"newcomers": len(np.unique(period.users)) / visits}
    if period.in_whole_days:
        return fitted
    clicks = float(np.clip(len(order) / visits, _FEWEST_CLICKS, _MOST_CLICKS))
    fitted["leave"] = 1.0 / (clicks * _PRODUCTS_A_CLICK)
    looks = together & (gaps > 0) & (gaps <= _LONGEST_DWELL_MS) & np.isin(period.kinds[order][:-1], _LOOKED)
    if looks.sum() >= 50:
        logs = np.log(gaps[looks] / 1000.0)
        fitted |= {"dwell_log_mean": float(logs.mean()), "dwell_log_deviation": float(logs.std())}
    return fitted
