"""The part of the stream that is ranked before it is learned: it chooses the weights of the parts of the score."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared import ranking

# Candidates for the weights of the cross-entropy head's logit and of Q; the log of the mixture has weight 1.
CE_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
Q_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
K = 10

# The heads are served only when they beat the mixture by so many standard errors of the paired difference.
STANDARD_ERRORS = 2.0
LEAST_EVENTS = 100  # of fewer the standard error itself is a guess


@dataclass(frozen=True, slots=True)
class Choice:
    """Weights and what they reached on the held-out transitions.

    `value` is NDCG@10 in which each event counts as much as its reward, if that is positive: what a shop wants ranked
    first is what users are glad to have chosen.
    """

    ce: float
    q: float
    value: float
    value_without_q: float  # the best with q = 0
    hit_ratio: float  # HR@10, every event counting 1
    ndcg: float  # NDCG@10, every event counting 1
    ndcg_of_mixture: float  # NDCG@10 of popularity and the relations between products alone
    ndcg_of_popularity: float  # NDCG@10 of popularity alone
    events: int


UNDECIDED = Choice(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


def choose(
    logits: NDArray[np.float32],
    q: NDArray[np.float32],
    log_popularity: NDArray[np.float32],
    log_mixture: NDArray[np.float32],
    actions: NDArray[np.int64],
    rewards: NDArray[np.float32],
    masked: Sequence[NDArray[np.int32]],
) -> Choice:
    """The weights with the highest value, of equals the smallest; 0 where the heads do not beat the mixture.

    Args:
        logits: (V, A) of the cross-entropy head.
        q: (V, A) of the Q head.
        log_popularity: (V, A) as it stood at each event.
        log_mixture: (V, A) of it and the relations between products.
        actions: (V,) rows of the products really chosen.
        rewards: (V,)
        masked: V arrays of rows that could not have been recommended.
    """
    if not len(actions):
        return UNDECIDED
    worth = np.maximum(rewards, 0.0)
    worth = worth / worth.sum() if worth.sum() > 0 else np.full(len(worth), 1.0 / len(worth))
    gains = {}  # weights → NDCG@10 of each event, (V,); the smallest weights first
    for weights in sorted(itertools.product(CE_WEIGHTS, Q_WEIGHTS), key=lambda w: (w[1] + w[0], w[1])):
        gains[weights] = _gains(log_mixture + weights[0] * logits + weights[1] * q, actions, masked)
    without_q = _best({w: g for w, g in gains.items() if w[1] == 0.0}, worth)
    ce, q_weight = _best(gains, worth)
    chosen = gains[ce, q_weight]
    return Choice(
        ce=ce,
        q=q_weight,
        value=float(worth @ chosen),
        value_without_q=float(worth @ gains[without_q]),
        hit_ratio=float((chosen > 0.0).mean()),
        ndcg=float(chosen.mean()),
        ndcg_of_mixture=float(gains[0.0, 0.0].mean()),
        ndcg_of_popularity=float(_gains(log_popularity, actions, masked).mean()),
        events=len(actions),
    )


def _best(gains: Mapping[tuple[float, float], NDArray[np.float64]], worth: NDArray[np.float64]) -> tuple[float, float]:
    """The weights with the highest gain, weighted by worth, if it stands out from the mixture's; else no weights."""
    if len(worth) < LEAST_EVENTS:
        return 0.0, 0.0
    best = max(gains, key=lambda weights: float(worth @ gains[weights]))  # the first of equals
    differences = worth * (gains[best] - gains[0.0, 0.0])  # (V,)
    error = float(np.sqrt((differences**2).sum()))
    return best if differences.sum() > STANDARD_ERRORS * error else (0.0, 0.0)


def _gains(
    values: NDArray[np.float32], actions: NDArray[np.int64], masked: Sequence[NDArray[np.int32]]
) -> NDArray[np.float64]:
    """NDCG@10 of each event, (V,)."""
    return np.array([ranking.ndcg(place, K) for place in _places(values, actions, masked)])


def _places(
    values: NDArray[np.float32], actions: NDArray[np.int64], masked: Sequence[NDArray[np.int32]]
) -> NDArray[np.float64]:
    """Place of each action among all products but the masked ones, ties at half: (V,)."""
    own = values[np.arange(len(actions)), actions][:, None]  # (V, 1)
    better = (values > own).sum(axis=1).astype(np.float64)
    equal = (values == own).sum(axis=1) - 1.0
    for i, rows in enumerate(masked):
        others = np.unique(rows[rows != actions[i]])
        better[i] -= np.count_nonzero(values[i, others] > own[i])
        equal[i] -= np.count_nonzero(values[i, others] == own[i])
    places: NDArray[np.float64] = 1.0 + better + equal / 2.0
    return places
