"""What decides a user's choices: popularity, lasting taste and present need, weighed by maximum likelihood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

MOST_CHOICES = 1_500
_LONGEST_LAG = 20


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

    found = minimize(loss, [1.0, 4.0, 4.0], jac=True, method="L-BFGS-B", bounds=[(0, 2), (0, 40), (0, 40)])
    popular, by_taste, by_need = (float(weight) for weight in found.x)
    both = by_taste + by_need
    return Weights(
        popularity=popular,
        taste=both,
        need_share=by_need / both if both else 0.0,
        log_likelihood=-float(found.fun),
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
        found, *_ = np.linalg.lstsq(design, np.array(likeness) * weights, rcond=None)
        error = float(((design @ found - np.array(likeness) * weights) ** 2).sum())
        if found[1] > 0 and (best is None or error < best[0]):
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
