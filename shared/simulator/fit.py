"""Fits a simulator to one period of a dataset."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from shared.errors import Unusable
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.simulator.choices import choices_of, logistic_regression, persistence, weigh
from shared.simulator.dynamics import Dynamics
from shared.simulator.period import Period
from shared.simulator.simulator import Origin, Simulator
from shared.simulator.tastes import log_popularity, product_vectors

VISIT_GAP_MS = 30 * 60_000  # a longer pause begins another visit
_LONGEST_DWELL_MS = 10 * 60_000
_LEAST_EVENTS, _LEAST_PRODUCTS = 200, 10
_HELD_OUT = 0.2  # of the events, the last: choices are weighed on them by vectors that have not seen them
_FEWEST_CLICKS, _MOST_CLICKS = 2.0, 50.0  # a visit, whatever the log says
_PRODUCTS_A_CLICK = 5.0  # a log tells what was clicked; so many were looked at for it: assumed

_LOOKED = (pb.EVENT_KIND_VIEW, pb.EVENT_KIND_CLICK)
_ENGAGED = (pb.EVENT_KIND_CART, pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_FAVOURITE)
_LIKED_STARS = 4.0


def catalogue(period: Period, least_events: int, most_products: int) -> tuple[str, ...]:
    """The products that a simulator of this period knows: the most wanted, with so many events at least.

    Raises:
        Unusable: too few of them.
    """
    counts = np.bincount(period.products, minlength=len(period.product_ids))
    best = np.argsort(-counts, kind="stable")[:most_products]
    kept = np.sort(best[counts[best] >= least_events])
    if len(kept) < _LEAST_PRODUCTS:
        raise Unusable(
            f"only {len(kept)} products have {least_events} events or more in the period; "
            "name a longer period, or ask for fewer with --least-events"
        )
    return tuple(period.product_ids[row] for row in kept)


def fit(period: Period, products: tuple[str, ...], *, dimension: int = 16, seed: int = 7, data: str = "") -> Simulator:
    """The simulator under which the period is likely; where the log does not tell, the defaults of `Dynamics`.

    Args:
        products: that are simulated; of those without an event in the period it is learned that nobody wants them.
        data: name of the file.

    Raises:
        Unusable: too few events are left.
    """
    own = _within(period, products)
    if len(own) < _LEAST_EVENTS:
        raise Unusable(f"only {len(own)} events are of the simulated products, too few; name a longer period")
    rng = np.random.default_rng(seed)
    size = len(products)
    popularity = log_popularity(np.bincount(own.products, minlength=size).astype(np.float64))
    vectors = product_vectors(_counts(own.users, own.products, size), dimension, rng)
    dynamics, figures = _behaviour(own, vectors, popularity, dimension, rng)
    dynamics = Dynamics(**dynamics.model_dump() | _pace(period))
    users, record, starts = _records(own)
    lengths = np.diff(starts)
    tastes = np.add.reduceat(vectors[record], starts[:-1], axis=0) / lengths[:, None]
    prices = np.full(size, np.nan)
    prices[:] = own.prices
    return Simulator(
        dynamics=dynamics,
        origin=Origin(
            data=data,
            from_ms=int(own.time_ms[0]),
            until_ms=int(own.time_ms[-1]),
            events=len(own),
            seed=seed,
            figures=figures,
        ),
        product_ids=products,
        user_ids=tuple(own.user_ids[row] for row in users),
        popularity=popularity,
        vectors=vectors,
        tastes=tastes,
        prices=prices,
        record_starts=starts,
        record=record,
    )


def _within(period: Period, products: tuple[str, ...]) -> Period:
    """The events of the products, rows being those of `products`."""
    rows = {product: row for row, product in enumerate(products)}
    moved = np.array([rows.get(product, -1) for product in period.product_ids], np.int64)
    kept = period.chosen(moved[period.products] >= 0)
    prices = np.full(len(products), np.nan)
    for before, after in enumerate(moved):
        if after >= 0:
            prices[after] = period.prices[before]
    return Period(
        users=kept.users,
        products=moved[kept.products],
        kinds=kept.kinds,
        time_ms=kept.time_ms,
        ratings=kept.ratings,
        prices=prices,
        user_ids=period.user_ids,
        product_ids=products,
    )


def _counts(users: NDArray[np.int64], products: NDArray[np.int64], size: int) -> sparse.csr_array:
    _, rows = np.unique(users, return_inverse=True)
    counts = sparse.csr_array((np.ones(len(users)), (rows, products)), shape=(int(rows.max()) + 1, size))
    counts.sum_duplicates()
    return counts


def _records(own: Period) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Users, all their products in the order of time, and where each user's begin."""
    order = np.argsort(own.users, kind="stable")
    users, starts = np.unique(own.users[order], return_index=True)
    return users, own.products[order], np.r_[starts, len(order)].astype(np.int64)


def _behaviour(
    own: Period,
    vectors: NDArray[np.float64],
    popularity: NDArray[np.float64],
    dimension: int,
    rng: np.random.Generator,
) -> tuple[Dynamics, dict[str, float]]:
    fitted: dict[str, float] = {}
    figures: dict[str, float] = {}
    split = int(len(own) * (1 - _HELD_OUT))
    before = product_vectors(_counts(own.users[:split], own.products[:split], len(popularity)), dimension, rng)
    held_out = np.arange(len(own)) >= split
    sample = choices_of(own.users, own.products, before, held_out, rng)
    weights = weigh(sample, before, popularity)
    fitted |= {
        "popularity_weight": weights.popularity,
        "taste_weight": weights.taste,
        "need_share": weights.need_share,
    }
    figures |= {
        "log_likelihood": weights.log_likelihood,
        "log_likelihood_popularity": weights.log_likelihood_popularity,
        "log_likelihood_uniform": -float(np.log(len(popularity))),
        "choices": float(len(sample.chosen)),
    }
    lasting = persistence(own.users, own.products, vectors)
    if lasting is not None:
        fitted["need_persistence"] = lasting
    drift = _drift(own, vectors)
    if drift is not None:
        fitted["drift"] = drift
    fitted |= _satisfaction(own, vectors, popularity, weights.taste)
    return Dynamics(**fitted), figures


def _drift(own: Period, vectors: NDArray[np.float64]) -> float | None:
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


def _satisfaction(
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


def _pace(period: Period) -> dict[str, float]:
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
