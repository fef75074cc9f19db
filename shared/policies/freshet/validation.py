"""How the weights of the heads are chosen: every n-th event is ranked by all candidates before it is learned.

Progressive validation (Blum, Kalai & Langford, COLT 1999): nothing need be held out from learning.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.model.single_experts import blend_gains
from shared.numeric.compiled import ReadOnlyMatrix, ReadOnlyVector, compiled

# Candidates for the weights of the cross-entropy head's logit and of Q; the log of the mixture has weight 1. The
# smallest first, the least of Q before others.
CANDIDATES = sorted(
    itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.5, 1.0, 2.0, 4.0)), key=lambda w: (w[0] + w[1], w[1])
)
# What each makes of log(mixture), the choice head and Q, (C, 3).
_BLENDS: NDArray[np.float32] = np.array([(1.0, ce, q) for ce, q in CANDIDATES], np.float32)
_ALONE: NDArray[np.float32] = np.ones((1, 1), np.float32)
_NO_ROWS: NDArray[np.int32] = np.zeros(0, np.int32)
WITHOUT_Q = [c for c, (_, q) in enumerate(CANDIDATES) if q == 0.0]

# The choice head is served when it beats the mixture by so many standard errors of the paired difference in NDCG@10: it
# was learned to be likelier, so little more is asked of it. Q, which trades places for reward, must stand out.
CHOICE_ERRORS, Q_ERRORS = 0.5, 2.0
LEAST_EVENTS = 100  # of fewer the standard error itself is a guess


@dataclass(frozen=True, slots=True)
class Choice:
    """Weights and what they reached on the newest events that validated.

    The choice head's weight is the one with the highest NDCG@10, Q's beside it the one with the highest `value`: that
    is NDCG@10 in which each event counts as much as its reward, if that is positive. What a shop wants ranked first is
    what users are glad to have chosen.
    """

    ce: float
    q: float
    value: float
    value_without_q: float  # the same choice head with q = 0
    hit_ratio: float  # HR@10, every event counting 1
    ndcg: float  # NDCG@10, every event counting 1
    ndcg_of_mixture: float  # NDCG@10 of the mixture alone
    ndcg_of_popularity: float  # NDCG@10 of popularity alone
    shares: tuple[float, float, float]  # of the score: the mixture's, the choice head's and the value head's
    events: int


UNDECIDED = Choice(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (1.0, 0.0, 0.0), 0)


class Validation:
    """What each candidate reached on the newest `size` events that validated."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._noted = 0
        self._gains: NDArray[np.float64] = np.zeros((size, len(CANDIDATES)))  # NDCG@10, at single precision
        self._of_popularity: NDArray[np.float32] = np.zeros(size, np.float32)  # NDCG@10
        self._rewards: NDArray[np.float32] = np.zeros(size, np.float32)
        self._spreads: NDArray[np.float32] = np.zeros((size, 3), np.float32)  # of log mixture, ce, q among candidates
        self._best: tuple[int, int] | None = None  # what `_chosen` gave since the newest event

    def note(
        self,
        mixture: NDArray[np.float32],
        heads: NDArray[np.float32],
        place: int,
        popularity: NDArray[np.float32],
        action: int,
        reward: float,
        masked: NDArray[np.int32],
    ) -> None:
        """Rank the candidates of one event by every blend.

        Args:
            mixture: (K,) how probable the mixture holds each candidate.
            heads: (2, K) what the action network's heads say of it.
            place: of the product really chosen among these; negative where it is none of them.
            popularity: (A,) shares.
            action: row of the product really chosen.
            masked: rows that could not have been recommended, the action not among them.
        """
        slot = self._noted % self._size
        gains = np.zeros(len(CANDIDATES))
        members = np.concatenate([np.log(mixture)[None], heads])  # (3, K)
        if place >= 0:
            blend_gains(members, _BLENDS, place, _NO_ROWS, gains)
        self._gains[slot] = gains.astype(np.float32)
        blend_gains(popularity[None], _ALONE, action, masked, gains[:1])
        self._of_popularity[slot] = gains[0]
        self._rewards[slot] = reward
        self._spreads[slot] = members.std(axis=1)
        self._noted += 1
        self._best = None

    def weights(self) -> tuple[float, float]:
        """The weights of `choose`, the choice head's and the value head's, in less time than all of it takes."""
        return CANDIDATES[self._chosen()[1]]

    def choose(self) -> Choice:
        """The weights that did best, of equals the smallest; 0 where a head does not beat what is without it."""
        n = min(self._noted, self._size)
        if not n:
            return UNDECIDED
        gains, worth = self._gains[:n], self._worth(n)  # (V, C), (V,)
        ce_alone, best = self._chosen()
        ce, q = CANDIDATES[best]
        return Choice(
            ce=ce,
            q=q,
            value=float(worth @ gains[:, best]),
            value_without_q=float(worth @ gains[:, ce_alone]),
            hit_ratio=float((gains[:, best] > 0.0).mean()),
            ndcg=float(gains[:, best].mean()),
            ndcg_of_mixture=float(gains[:, 0].mean()),
            ndcg_of_popularity=float(self._of_popularity[:n].astype(np.float64).mean()),
            shares=shares_of(self._spreads[:n].astype(np.float64), ce, q),
            events=n,
        )

    def _chosen(self) -> tuple[int, int]:
        """The blend that did best without the value head, and with it."""
        n = min(self._noted, self._size)
        if self._best is None and n:
            gains = self._gains[:n]
            ce_alone = _best(gains, np.full(n, 1.0 / n), np.array(WITHOUT_Q), WITHOUT_Q[0], CHOICE_ERRORS)
            ce, _ = CANDIDATES[ce_alone]
            with_q = np.array([c for c, (other, _) in enumerate(CANDIDATES) if other == ce])
            self._best = ce_alone, _best(gains, self._worth(n), with_q, ce_alone, Q_ERRORS)
        return self._best or (0, 0)

    def _worth(self, n: int) -> NDArray[np.float64]:
        """What each of the events counts for the value head, (n,), summing to 1: its reward, if that is positive."""
        worth = np.maximum(self._rewards[:n].astype(np.float64), 0.0)
        return worth / worth.sum() if worth.sum() > 0 else np.full(n, 1.0 / n)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint keeps."""
        n = min(self._noted, self._size)
        return {
            "noted": np.array([self._noted], np.int64),
            "gains": self._gains[:n].astype(np.float32),
            "of_popularity": self._of_popularity[:n].copy(),
            "rewards": self._rewards[:n].copy(),
            "spreads": self._spreads[:n].copy(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from what `to_arrays` gave."""
        self._noted, self._best = int(arrays["noted"][0]), None
        n = len(arrays["rewards"])
        self._gains[:n], self._of_popularity[:n] = arrays["gains"], arrays["of_popularity"]
        self._rewards[:n], self._spreads[:n] = arrays["rewards"], arrays["spreads"]


def shares_of(spreads: NDArray[np.float64], ce: float, q: float) -> tuple[float, float, float]:
    """What share of the score the mixture and the heads have: of the spread that each gives the candidates.

    Args:
        spreads: (V, 3) standard deviations among the candidates of an event, of log mixture and of what the heads say.
        ce: the choice head's weight.
        q: the value head's.
    """
    of_each = spreads.mean(axis=0) * (1.0, ce, q)
    mixture, of_ce, of_q = of_each / of_each.sum() if of_each.sum() > 0.0 else (1.0, 0.0, 0.0)
    return float(mixture), float(of_ce), float(of_q)


@compiled
def _best(
    gains: ReadOnlyMatrix[np.float64],
    worth: ReadOnlyVector[np.float64],
    among: ReadOnlyVector[np.int64],
    first: int,
    errors: float,
) -> int:
    """The blend with the highest gain, weighted by worth, if it stands out from the first by so many standard errors of
    the paired difference; else the first.

    Args:
        gains: (V, C)
        worth: (V,)
        among: blends to choose from.
    """
    if len(worth) < LEAST_EVENTS:
        return first
    sums = np.zeros(len(among))
    for event in range(len(worth)):
        for n in range(len(among)):
            sums[n] += worth[event] * gains[event, among[n]]
    best = among[sums.argmax()]  # the first of equals
    gained, squared = 0.0, 0.0
    for event in range(len(worth)):
        difference = worth[event] * (gains[event, best] - gains[event, first])
        gained += difference
        squared += difference * difference
    return int(best) if gained > errors * np.sqrt(squared) else first
