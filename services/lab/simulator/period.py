"""One period of a dataset, who did what with which product, and what it shows of its users.

collect, Period                           events as columns, in the order of time
product_vectors, log_popularity           which products are alike, and how much each is wanted
choices_of, weigh                         what popularity, lasting taste and present need count in choices
persistence, drift_of                     how long needs last, and how tastes drift
satisfaction_of, pace_of                  what satisfies, and how long visits and looks are
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse.linalg import svds

from shared.log.records import DAY_MS
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import Unusable

# Kinds of events in which a user wanted a product.
WANTED = (
    pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_RATING, pb.EVENT_KIND_VIEW, pb.EVENT_KIND_CLICK, pb.EVENT_KIND_CART,
    pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_FAVOURITE,
)  # fmt: skip

VISIT_GAP_MS = 30 * 60_000  # a longer pause begins another visit
_LONGEST_DWELL_MS = 10 * 60_000
_FEWEST_CLICKS, _MOST_CLICKS = 2.0, 50.0  # a visit, whatever the log says
_PRODUCTS_A_CLICK = 5.0  # looked at for each click of the log, which does not show them: assumed

_LOOKED = (pb.EVENT_KIND_VIEW, pb.EVENT_KIND_CLICK)
_ENGAGED = (pb.EVENT_KIND_CART, pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_FAVOURITE)
_LIKED_STARS = 4.0
_LONGEST_LAG = 20  # events between two products whose likeness is measured
MOST_CHOICES = 1_500  # that weights are fitted to
SHRINK_EVENTS = 2.0  # a product of few events is known badly: its vector is events / (events + this) long


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
        """Whether times are days: then visits can't be told apart."""
        return bool((self.time_ms % DAY_MS == 0).all())

    def between(self, from_ms: int, until_ms: int) -> Period:
        """The events from one moment on and before another.

        Raises:
            Unusable: there are none.
        """
        first, last = np.searchsorted(self.time_ms, [from_ms, until_ms])
        if first >= last:
            raise Unusable("no event lies in that period; `freshet data inspect` shows which time a file spans")
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
    """The events in which known users wanted a product, in the order of time.

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
        raise Unusable("no known user viewed, bought or reviewed anything, which a simulator needs")
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


# Products.


def product_vectors(counts: sparse.csr_array, dimension: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Vectors whose inner products say how alike products are, (A, D), of length below 1.

    Right singular vectors of the counts divided by the roots of both sums, without the first, which is popularity
    alone (spectral co-clustering: Dhillon, KDD 2001, section 4), the sums raised by their mean so that rarely seen
    products don't make dimensions of their own (Chaudhuri, Chung & Tsiatas, COLT 2012).

    Args:
        counts: (U, A), not negative.
    """
    damped = counts.astype(np.float64)
    damped.data = np.log1p(damped.data)
    of_users, of_products = np.asarray(damped.sum(axis=1)).ravel(), np.asarray(damped.sum(axis=0)).ravel()
    left = 1.0 / np.sqrt(of_users + of_users.mean())
    right = 1.0 / np.sqrt(of_products + of_products.mean())
    scaled = sparse.diags_array(left) @ damped @ sparse.diags_array(right)
    factors = min(dimension + 1, min(counts.shape) - 1)
    _, values, transposed = svds(scaled.tocsc(), k=factors, v0=rng.standard_normal(min(counts.shape)))
    best = np.argsort(-values)[1:]  # ascending as they come
    coordinates = np.zeros((counts.shape[1], dimension))
    coordinates[:, : len(best)] = (transposed[best] * values[best, None]).T * right[:, None]
    events = np.asarray(counts.sum(axis=0)).ravel()
    length = np.linalg.norm(coordinates, axis=1)
    known = events / (events + SHRINK_EVENTS)
    return coordinates * np.where(length > 1e-12, known / np.maximum(length, 1e-12), 0.0)[:, None]


def log_popularity(events: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log of each product's events and one, 0 on average over the products: (A,) → (A,)."""
    raised = np.log1p(events)
    return np.asarray(raised - raised.mean())


# Choices.


@dataclass(frozen=True, slots=True)
class Choices:
    """M choices among A products in D dimensions, with what was known of the user before."""

    chosen: NDArray[np.int64]  # (M,)
    taste: NDArray[np.float64]  # (M, D) mean of the user's other products
    previous: NDArray[np.float64]  # (M, D) the product before


@dataclass(frozen=True, slots=True)
class Weights:
    """Of a conditional logit: popularity·log-popularity + taste·match, where need_share of the match is the need's."""

    popularity: float
    taste: float
    need_share: float
    log_likelihood: float  # mean per choice
    log_likelihood_popularity: float  # of log-popularity with weight 1, alone


def choices_of(
    users: NDArray[np.int64],
    products: NDArray[np.int64],
    vectors: NDArray[np.float64],
    judged: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Choices:
    """A sample of the choices that were made after another one; the taste leaves out the choice itself.

    Args:
        users: (N,) in the order of time.
        products: (N,)
        judged: (N,) which events may be in the sample.
    """
    order = np.argsort(users, kind="stable")
    users, products, judged = users[order], products[order], judged[order]
    starts = np.flatnonzero(np.r_[True, users[1:] != users[:-1]])
    sizes = np.diff(np.r_[starts, len(users)])
    sums = np.add.reduceat(vectors[products], starts, axis=0)
    group = np.repeat(np.arange(len(starts)), sizes)
    later = np.flatnonzero((users[1:] == users[:-1]) & (products[1:] != products[:-1]) & judged[1:]) + 1
    if len(later) > MOST_CHOICES:
        later = np.sort(rng.choice(later, MOST_CHOICES, replace=False))
    others = np.maximum(1, sizes[group[later]] - 1)[:, None]
    return Choices(
        chosen=products[later],
        taste=(sums[group[later]] - vectors[products[later]]) / others,
        previous=vectors[products[later - 1]],
    )


def weigh(choices: Choices, vectors: NDArray[np.float64], popularity: NDArray[np.float64]) -> Weights:
    """The weights under which the choices are likeliest (conditional logit: McFadden 1974).

    Need's share is a·previous against b·taste in the utility: the weight is a + b, the share a / (a + b).
    """
    if not len(choices.chosen):
        return Weights(1.0, 0.0, 0.0, 0.0, 0.0)
    lasting, present = choices.taste @ vectors.T, choices.previous @ vectors.T  # (M, A)
    everyone = np.arange(len(choices.chosen))

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        popular, by_taste, by_need = weights
        utility = popular * popularity[None, :] + by_taste * lasting + by_need * present
        utility -= utility.max(axis=1, keepdims=True)
        share = np.exp(utility)
        share /= share.sum(axis=1, keepdims=True)
        likely = np.log(np.maximum(share[everyone, choices.chosen], 1e-300)).mean()
        gradient = [
            (part[everyone, choices.chosen] - (share * part).sum(axis=1)).mean()
            for part in (np.broadcast_to(popularity, share.shape), lasting, present)
        ]
        return -float(likely), -np.array(gradient)

    optimum = minimize(loss, [1.0, 4.0, 4.0], jac=True, method="L-BFGS-B", bounds=[(0, 2), (0, 40), (0, 40)])
    popular, by_taste, by_need = (float(weight) for weight in optimum.x)
    both = by_taste + by_need
    return Weights(
        popularity=popular,
        taste=both,
        need_share=by_need / both if both else 0.0,
        log_likelihood=-float(optimum.fun),
        log_likelihood_popularity=-loss(np.array([1.0, 0.0, 0.0]))[0],
    )


def persistence(users: NDArray[np.int64], products: NDArray[np.int64], vectors: NDArray[np.float64]) -> float | None:
    """The chance that a need outlives an event; None where the likeness of products does not fall with their distance.

    Were needs renewed at random, the likeness of a user's products n events apart would be
    always + more·persistenceⁿ: the persistence whose curve lies nearest to the likenesses, by least squares.
    """
    order = np.argsort(users, kind="stable")
    users, products = users[order], products[order]
    likeness, weights = [], []
    for lag in range(1, _LONGEST_LAG + 1):
        same = (users[lag:] == users[:-lag]) & (products[lag:] != products[:-lag])
        if same.sum() < 50:
            break
        likeness.append(float((vectors[products[lag:][same]] * vectors[products[:-lag][same]]).sum(axis=1).mean()))
        weights.append(float(np.sqrt(same.sum())))
    if len(likeness) < 4:
        return None
    lags = np.arange(1, len(likeness) + 1)
    best: tuple[float, float] | None = None
    for chance in np.arange(0.3, 0.99, 0.01):
        design = np.column_stack([np.ones(len(lags)), chance**lags]) * np.array(weights)[:, None]
        fitted, *_ = np.linalg.lstsq(design, np.array(likeness) * weights, rcond=None)
        error = float(((design @ fitted - np.array(likeness) * weights) ** 2).sum())
        if fitted[1] > 0 and (best is None or error < best[0]):
            best = (error, float(chance))
    return None if best is None else best[1]


def logistic_regression(labels: NDArray[np.bool_], columns: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Offset and slopes of a lightly damped logistic regression; None where there are few labels, or one alone.

    Args:
        labels: (M,)
        columns: (M, C)
    """
    if len(labels) < 50 or labels.all() or not labels.any():
        return None
    design = np.column_stack([np.ones(len(labels)), columns])
    damping = 1e-3 * np.r_[0.0, np.ones(columns.shape[1])]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        x = design @ weights
        value = np.logaddexp(0.0, x).mean() - (labels * x).mean() + (damping * weights**2).sum()
        slope = design.T @ (1 / (1 + np.exp(-x)) - labels) / len(labels) + 2 * damping * weights
        return float(value), slope

    start = np.zeros(design.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x)


# Needs, tastes, satisfaction, pace.


def drift_of(period: Period, vectors: NDArray[np.float64]) -> float | None:
    """How far lasting tastes go from one visit to the next, by how much more a user's halves differ than by chance.

    The means of two halves differ even where nothing moved, by twice the variance over their number of products; what
    is beyond is spread over the visits between the middles of the halves, as a random walk's.
    """
    order = np.lexsort((period.time_ms, period.users))
    beyond: list[float] = []
    steps: list[float] = []
    for mine in np.split(order, np.flatnonzero(np.diff(period.users[order])) + 1):
        if len(mine) < 10:
            continue
        half = len(mine) // 2
        first, second = vectors[period.products[mine[:half]]], vectors[period.products[mine[half:]]]
        noise = first.var(axis=0, ddof=1).sum() / len(first) + second.var(axis=0, ddof=1).sum() / len(second)
        beyond.append(float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum() - noise))
        visits = 1 + int((np.diff(period.time_ms[mine]) > VISIT_GAP_MS).sum())
        steps.append(max(1.0, visits / 2))
    if len(beyond) < 20:
        return None
    return float(np.sqrt(max(0.0, float(np.mean(beyond) / np.mean(steps)))))


def satisfaction_of(
    period: Period, vectors: NDArray[np.float64], popularity: NDArray[np.float64], taste_weight: float
) -> dict[str, float]:
    """What satisfies after a click: four stars or more, or going on from a view to a cart, favourites or a purchase.

    A log of one kind without stars shows nothing of it.
    """
    rated = ~np.isnan(period.ratings)
    if rated.mean() > 0.5:
        chosen = np.flatnonzero(rated)
        labels = period.ratings[chosen] >= _LIKED_STARS
    else:
        looked = np.flatnonzero(np.isin(period.kinds, _LOOKED))
        pairs = period.users * len(period.product_ids) + period.products
        _, first = np.unique(pairs[looked], return_index=True)
        chosen = looked[first]
        labels = np.isin(pairs[chosen], pairs[np.isin(period.kinds, _ENGAGED)])
    if not len(chosen):
        return {}
    matches = taste_weight * _matches(period, vectors, chosen)
    weights = logistic_regression(labels, np.column_stack([matches, popularity[period.products[chosen]]]))
    if weights is None:
        return {}
    fitted = {
        "satisfied_offset": float(weights[0]),
        "satisfied_taste": max(0.0, float(weights[1])),
        "satisfied_popularity": float(weights[2]),
    }
    bought, engaged = (int(np.isin(period.kinds, kinds).sum()) for kinds in ((pb.EVENT_KIND_PURCHASE,), _ENGAGED))
    if engaged and rated.mean() <= 0.5:
        fitted["purchase_share"] = bought / engaged
    return fitted


def _matches(period: Period, vectors: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """How each event's product matches the user's others: (M,)."""
    sums = np.zeros((int(period.users.max()) + 1, vectors.shape[1]))
    np.add.at(sums, period.users, vectors[period.products])
    counts = np.bincount(period.users, minlength=len(sums))
    users, products = period.users[chosen], vectors[period.products[chosen]]
    others = (sums[users] - products) / np.maximum(1, counts[users] - 1)[:, None]
    return np.asarray((others * products).sum(axis=1))


def pace_of(period: Period) -> dict[str, float]:
    """How many visits are of newcomers, how long visits are, and how long users look at a product.

    Where times are whole days the last two can't be known.
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
