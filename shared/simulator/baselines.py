"""Simple policies of a simulated shop. None shows what a user has been shown lately: the learned ones don't either."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shared.simulator.environment import Observation
from shared.simulator.simulator import Simulator
from shared.simulator.visits import NOTHING

Scores = Callable[[Observation], NDArray[np.float64]]  # (N, A)

_DECAY = 0.7  # what an older product of the history counts beside the next one, in co-occurrence
_WINDOW = 3  # products after a product that count as following it
PLACES = 5  # products of the history that are looked up


def hide_shown(scores: NDArray[np.float64], observed: Observation) -> NDArray[np.float64]:
    """Put what was shown lately last, in place: (N, A)."""
    user, place = np.nonzero(observed["shown"] != NOTHING)
    scores[user, observed["shown"][user, place]] = -np.inf
    return scores


def slate_of(scores: NDArray[np.float64], observed: Observation, slate: int) -> NDArray[np.int64]:
    """The best products not shown lately, best first: (N, A) → (N, L)."""
    scores = hide_shown(scores, observed)
    if slate == 1:
        return np.asarray(scores.argmax(axis=1)[:, None])
    best = np.argpartition(-scores, slate - 1, axis=1)[:, :slate]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def at_random(products: int, rng: np.random.Generator) -> Scores:
    """Any product as well as any other."""
    return lambda observed: rng.random((len(observed["shown"]), products))


def trending(simulator: Simulator) -> Scores:
    """The most wanted products of the period."""
    return lambda observed: np.repeat(simulator.popularity[None], len(observed["shown"]), axis=0)


def follows(simulator: Simulator) -> NDArray[np.float64]:
    """How often one product was wanted soon after another in the period, as shares of each: (A, A)."""
    size = len(simulator.product_ids)
    counts = np.zeros((size, size))
    record, starts = simulator.record, simulator.record_starts
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    for lag in range(1, _WINDOW + 1):
        same = owner[lag:] == owner[:-lag]
        np.add.at(counts, (record[:-lag][same], record[lag:][same]), _DECAY ** (lag - 1))
    return np.asarray(counts / np.maximum(1.0, counts.sum(axis=1, keepdims=True)))


def following(shares: NDArray[np.float64], liked: NDArray[np.int64]) -> NDArray[np.float64]:
    """What follows the products liked last, the newest counting most: (N, H) → (N, A)."""
    summed = np.zeros((len(liked), shares.shape[1]))
    for place in range(min(PLACES, liked.shape[1])):
        weight = np.where(liked[:, place] != NOTHING, _DECAY**place, 0.0)
        summed += weight[:, None] * shares[liked[:, place]]
    return summed


def cooccurrence(simulator: Simulator) -> Scores:
    """What users of the period wanted soon after what this one wants; popularity breaks ties, and serves newcomers."""
    shares, ties = follows(simulator), 1e-6 * simulator.popularity
    return lambda observed: following(shares, observed["liked"]) + ties
