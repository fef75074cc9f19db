"""The part of the stream that is ranked before it is learned: it chooses the weights of the parts of the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared import ranking

# Candidates for the weights of Q and of log-popularity beside the cross-entropy logit, whose weight is 1.
Q_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
PRIOR_WEIGHTS = (0.0, 0.25, 0.5, 1.0)
K = 10


@dataclass(frozen=True, slots=True)
class Choice:
    """Weights and what they reached on the held-out transitions.

    `value` is NDCG@10 in which each event counts as much as its reward, if that is positive: what a shop wants ranked
    first is what users are glad to have chosen.
    """

    q: float
    prior: float
    value: float
    value_without_q: float  # the best with q = 0
    hit_ratio: float  # HR@10, every event counting 1
    ndcg: float  # NDCG@10, every event counting 1
    events: int


UNDECIDED = Choice(q=0.0, prior=0.0, value=0.0, value_without_q=0.0, hit_ratio=0.0, ndcg=0.0, events=0)


def choose(
    logits: NDArray[np.float32],
    q: NDArray[np.float32],
    log_prior: NDArray[np.float32],
    actions: NDArray[np.int64],
    rewards: NDArray[np.float32],
    masked: Sequence[NDArray[np.int32]],
) -> Choice:
    """The weights with the highest value; of equals, the smallest.

    Args:
        logits: (V, A) of the cross-entropy head.
        q: (V, A) of the Q head.
        log_prior: (A,) log of decayed popularity.
        actions: (V,) rows of the products really chosen.
        rewards: (V,)
        masked: V arrays of rows that could not have been recommended.
    """
    if not len(actions):
        return UNDECIDED
    worth = np.maximum(rewards, 0.0)
    worth = worth / worth.sum() if worth.sum() > 0 else np.full(len(worth), 1.0 / len(worth))
    best, without_q = UNDECIDED, 0.0
    for q_weight in Q_WEIGHTS:
        for prior_weight in PRIOR_WEIGHTS:
            places = _places(logits + q_weight * q + prior_weight * log_prior, actions, masked)
            gains = np.array([ranking.ndcg(place, K) for place in places])
            value = float((worth * gains).sum())
            if q_weight == 0.0:
                without_q = max(without_q, value)
            if value > best.value + 1e-12:
                hits = float(np.mean([ranking.hit(place, K) for place in places]))
                best = Choice(q_weight, prior_weight, value, 0.0, hits, float(gains.mean()), len(actions))
    return Choice(best.q, best.prior, best.value, without_q, best.hit_ratio, best.ndcg, len(actions))


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
