"""Fits a simulator to one period of a dataset."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from services.lab.simulator.period import (
    Period,
    choices_of,
    drift_of,
    log_popularity,
    pace_of,
    persistence,
    product_vectors,
    satisfaction_of,
    weigh,
)
from services.lab.simulator.simulator import Dynamics, Provenance, Simulator
from shared.process.errors import Unusable

_LEAST_EVENTS, _LEAST_PRODUCTS = 200, 10
_HELD_OUT = 0.2  # of the events, the last: choices are weighed on them by vectors that have not seen them


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
    """The simulator under which the period is likely; where the log shows nothing, the defaults of `Dynamics`.

    Args:
        products: that are simulated; those without an event in the period are wanted by nobody.
        data: name of the file.

    Raises:
        Unusable: too few events are left.
    """
    simulated = _within(period, products)
    if len(simulated) < _LEAST_EVENTS:
        raise Unusable(
            f"only {len(simulated)} events concern the simulated products, which are too few; name a longer period"
        )
    rng = np.random.default_rng(seed)
    size = len(products)
    popularity = log_popularity(np.bincount(simulated.products, minlength=size).astype(np.float64))
    vectors = product_vectors(_counts(simulated.users, simulated.products, size), dimension, rng)
    dynamics, figures = _behaviour(simulated, vectors, popularity, dimension, rng)
    dynamics = Dynamics(**dynamics.model_dump() | pace_of(period))
    users, record, starts = _records(simulated)
    lengths = np.diff(starts)
    tastes = np.add.reduceat(vectors[record], starts[:-1], axis=0) / lengths[:, None]
    prices = np.full(size, np.nan)
    prices[:] = simulated.prices
    return Simulator(
        dynamics=dynamics,
        origin=Provenance(
            data=data,
            from_ms=int(simulated.time_ms[0]),
            until_ms=int(simulated.time_ms[-1]),
            events=len(simulated),
            seed=seed,
            figures=figures,
        ),
        product_ids=products,
        user_ids=tuple(simulated.user_ids[row] for row in users),
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


def _records(simulated: Period) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Users, all their products in the order of time, and where each user's products begin."""
    order = np.argsort(simulated.users, kind="stable")
    users, starts = np.unique(simulated.users[order], return_index=True)
    return users, simulated.products[order], np.r_[starts, len(order)].astype(np.int64)


def _behaviour(
    simulated: Period,
    vectors: NDArray[np.float64],
    popularity: NDArray[np.float64],
    dimension: int,
    rng: np.random.Generator,
) -> tuple[Dynamics, dict[str, float]]:
    fitted: dict[str, float] = {}
    figures: dict[str, float] = {}
    split = int(len(simulated) * (1 - _HELD_OUT))
    counts = _counts(simulated.users[:split], simulated.products[:split], len(popularity))
    before = product_vectors(counts, dimension, rng)
    held_out = np.arange(len(simulated)) >= split
    sample = choices_of(simulated.users, simulated.products, before, held_out, rng)
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
    lasting = persistence(simulated.users, simulated.products, vectors)
    if lasting is not None:
        fitted["need_persistence"] = lasting
    drift = drift_of(simulated, vectors)
    if drift is not None:
        fitted["drift"] = drift
    fitted |= satisfaction_of(simulated, vectors, popularity, weights.taste)
    return Dynamics(**fitted), figures
