"""Running figures of what was judged: hit ratio, NDCG, reciprocal rank, coverage, novelty. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared import ranking
from shared.evaluation.prequential import TOP, Judgement

# Simple policies that learn each event as it comes.
BASELINES = ("trending", "repeat", "markov")
# `learned` is what is served, so it is trending wherever no version scored the products.
POLICIES = ("learned", *BASELINES)
# All judged events; those that a version judged; the newest so many judged ones.
WINDOWS = ("all", "learned", "recent")
KS = (5, 10, 20)

_COLUMNS = 2 * len(KS) + 1  # hit at each k, NDCG at each k, reciprocal rank


class Accuracy:
    """Means over the three windows, for all policies on the same events."""

    def __init__(self, recent_events: int) -> None:
        self.judged = 0
        self.by_version = 0
        self._recent = recent_events
        self._all: NDArray[np.float64] = np.zeros((len(POLICIES), _COLUMNS))  # sums
        self._learned: NDArray[np.float64] = np.zeros((len(POLICIES), _COLUMNS))  # sums
        # Rings of the newest judged events: N events, P policies.
        self._newest: NDArray[np.float64] = np.zeros((recent_events, len(POLICIES), _COLUMNS))  # (N, P, C)
        self._tops: NDArray[np.int64] = np.full((recent_events, len(POLICIES), TOP), -1, np.int64)  # (N, P, TOP)
        self._bits: NDArray[np.float64] = np.full((recent_events, len(POLICIES)), np.nan)  # (N, P)

    def note(self, judgement: Judgement, *, by_version: bool) -> None:
        """Count one judged event, of which each of `POLICIES` was asked; `by_version`: a learned one scored it."""
        if not judgement.is_judged:
            raise ValueError(f"an event that was not judged: {judgement.outcome}")
        slot = self.judged % self._recent
        for p, own in enumerate(judgement.rankings):
            self._newest[slot, p] = _figures(own.place)
            self._tops[slot, p] = -1
            self._tops[slot, p, : len(own.top)] = own.top
            self._bits[slot, p] = own.bits
        self._all += self._newest[slot]
        self.judged += 1
        if by_version:
            self._learned += self._newest[slot]
            self.by_version += 1

    def hit(self, policy: str, window: str, k: int) -> float:
        """HR@k; NaN before anything was judged."""
        return self._mean(policy, window, KS.index(k))

    def ndcg(self, policy: str, window: str, k: int) -> float:
        """NDCG@k; NaN before anything was judged."""
        return self._mean(policy, window, len(KS) + KS.index(k))

    def mrr(self, policy: str, window: str) -> float:
        """Mean reciprocal rank; NaN before anything was judged."""
        return self._mean(policy, window, 2 * len(KS))

    def coverage(self, policy: str, known: int) -> float:
        """Share of the `known` products among the first `TOP` of the recent window's answers; NaN before any."""
        if not self.judged or not known:
            return float("nan")
        tops = self._tops[: self.judged, POLICIES.index(policy)]
        return len(np.unique(tops[tops >= 0])) / known

    def novelty(self, policy: str) -> float:
        """Mean self-information of the recent window's answers, bits; NaN before any."""
        bits = self._bits[: self.judged, POLICIES.index(policy)]
        bits = bits[~np.isnan(bits)]
        return float(bits.mean()) if len(bits) else float("nan")

    def _mean(self, policy: str, window: str, column: int) -> float:
        p = POLICIES.index(policy)
        if window == "recent":
            newest = self._newest[: self.judged, p, column]
            return float(newest.mean()) if len(newest) else float("nan")
        sums, events = (self._all, self.judged) if window == "all" else (self._learned, self.by_version)
        return float(sums[p, column]) / events if events else float("nan")


def _figures(place: float) -> list[float]:
    """One event's columns."""
    return [*(ranking.hit(place, k) for k in KS), *(ranking.ndcg(place, k) for k in KS), 1.0 / place]
