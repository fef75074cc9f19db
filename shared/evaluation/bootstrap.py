"""How sure a mean is: users are drawn again and again, the same ones for every policy. Pure.

Efron & Tibshirani, An Introduction to the Bootstrap, 1993: percentile intervals. A user's events go together, since
they are no independent evidence; of two policies the difference is looked at draw by draw (Koehn, EMNLP 2004).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 1000
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over events, and between what it lies with `LEVEL`."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much one policy is above another, and how probable so much would be if it were not (two-sided)."""

    mean: float
    low: float
    high: float
    p: float


class Means:
    """Means over events of M columns, as measured and in every draw of users."""

    def __init__(self, users: NDArray[np.int32], values: FloatArray, rng: np.random.Generator, draws: int) -> None:
        """Draw.

        Args:
            users: (N,) whose event it was.
            values: (N, M)
        """
        own, of = np.unique(users, return_inverse=True)
        u, m = len(own), values.shape[1]
        events = np.bincount(of, minlength=u).astype(np.float64)  # (U,)
        sums = np.stack([np.bincount(of, values[:, c], minlength=u) for c in range(m)], axis=1)  # (U, M)
        self.measured: FloatArray = sums.sum(axis=0) / events.sum() if u else np.full(m, np.nan)
        self.drawn: FloatArray = np.empty((draws if u else 0, m))  # (R, M)
        start = 0
        for weights in _draws(u, draws if u else 0, rng):
            end = start + len(weights)
            self.drawn[start:end] = (weights @ sums) / (weights @ events)[:, None]
            start = end

    def estimate(self, column: int) -> Estimate:
        """One column's mean."""
        return Estimate(float(self.measured[column]), *_percentiles(self.drawn[:, column]))

    def difference(self, column: int, other: int) -> Difference:
        """One column's mean beside another's."""
        measured = float(self.measured[column] - self.measured[other])
        drawn = self.drawn[:, column] - self.drawn[:, other]
        if not len(drawn):
            return Difference(measured, float("nan"), float("nan"), float("nan"))
        rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
        p = min(1.0, 2.0 * (1 + rarer) / (1 + len(drawn)))
        return Difference(measured, *_percentiles(drawn), p)


def holm(ps: dict[str, float]) -> dict[str, float]:
    """Probabilities of several comparisons at once, so corrected that none of all is taken for more (Holm 1979)."""
    corrected: dict[str, float] = {}
    worst = 0.0
    for place, (name, p) in enumerate(sorted(ps.items(), key=lambda entry: entry[1])):
        worst = max(worst, min(1.0, (len(ps) - place) * p))
        corrected[name] = worst
    return corrected


def _draws(users: int, draws: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each user was drawn, (r, U), a few draws at a time."""
    for start in range(0, draws, _AT_ONCE):
        drawn = rng.integers(users, size=(min(_AT_ONCE, draws - start), users))
        yield np.stack([np.bincount(row, minlength=users) for row in drawn]).astype(np.float64)


def _percentiles(drawn: FloatArray) -> tuple[float, float]:
    if not len(drawn) or np.isnan(drawn).any():
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
