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


def hide_shown(scores: NDArray[np.float64], observed: Observation) -> NDArray[np.float64]:
    """Put what was shown lately last, in place: (N, A)."""
    user, place = np.nonzero(observed["shown"] != NOTHING)
    scores[user, observed["shown"][user, place]] = -np.inf
    return scores


def slate_of(scores: NDArray[np.float64], observed: Observation, slate: int) -> NDArray[np.int64]:
    """The best products not shown lately, best first: (N, A) → (N, L)."""
    scores = hide_shown(scores, observed)
    if slate == 1:
        return scores.argmax(axis=1)[:, None]
    best = np.argpartition(-scores, slate - 1, axis=1)[:, :slate]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def at_random(products: int, rng: np.random.Generator) -> Scores:
    """Any product as well as any other."""
    return lambda observed: rng.random((len(observed["shown"]), products))


def trending(simulator: Simulator) -> Scores:
    """The most wanted products of the period."""
    return lambda observed: np.repeat(simulator.popularity[None], len(observed["shown"]), axis=0)


def cooccurrence(simulator: Simulator) -> Scores:
    """What users of the period wanted soon after what this one wants: the newest counts most, popularity breaks ties."""
    size = len(simulator.product_ids)
    follows = np.zeros((size, size))
    record, starts = simulator.record, simulator.record_starts
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    for lag in range(1, _WINDOW + 1):
        same = owner[lag:] == owner[:-lag]
        np.add.at(follows, (record[:-lag][same], record[lag:][same]), _DECAY ** (lag - 1))
    follows /= np.maximum(1.0, follows.sum(axis=1, keepdims=True))
    ties = 1e-6 * simulator.popularity

    def scores(observed: Observation) -> NDArray[np.float64]:
        liked = observed["liked"][:, :5]
        weight = np.where(liked != NOTHING, _DECAY ** np.arange(liked.shape[1]), 0.0)
        summed = np.repeat(ties[None], len(liked), axis=0)
        for place in range(liked.shape[1]):
            summed += weight[:, place, None] * follows[liked[:, place]]
        return summed

    return scores
