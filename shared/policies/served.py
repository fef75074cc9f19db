"""What is served when a version is live: what it has learned first, then the products it does not know yet.

The evaluator ranks by the same functions, so what it judges is what users get.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.history import Window

FloatArray = NDArray[np.float32]


class Scores(Protocol):
    """A version that scores the caller's rows, such as `shared.scoring.Scorer`."""

    def scores(self, window: Window, log_popularity: FloatArray | None = None) -> FloatArray:
        """What the version knows beside popularity, (A0,); -inf for products that it does not know."""
        ...


class Popularity(Protocol):
    """What is popular now, such as `shared.policies.trending.Trending`."""

    def log_popularity(self) -> FloatArray:
        """Log of every product's smoothed share, (A,)."""
        ...


def served_scores(version: Scores | None, window: Window | None, popularity: Popularity) -> FloatArray:
    """Scores that order the whole catalogue for one user as it is served, masks aside, (A,).

    Without a version, or without a window (a user of whom nothing is known), they are log-popularity itself.
    """
    trending = popularity.log_popularity()
    if version is None or window is None or not window.lengths[0]:
        return blend(None, trending)
    learned = version.scores(window)  # (A0,)
    if len(learned) > len(trending):
        raise ValueError(f"popularity has {len(trending)} rows, the version {len(learned)}: give new rows to both")
    return blend(learned + trending[: len(learned)], trending)


def blend(learned: FloatArray | None, trending: FloatArray) -> FloatArray:
    """Scores in which all learned products come first, in their own order, and the others follow by trending, (A,).

    Learned products keep their scores; the others get values below the lowest of them, a step of 1 for each step
    in trending, since adding small shares to large scores would round them into ties. Equals stay equal.

    Args:
        learned: (A0,), A0 <= A; -inf for products that were not scored; None: nothing was.
        trending: (A,), finite
    """
    if learned is None:
        return trending.astype(np.float32)  # a copy, as every other answer is
    result = np.full(len(trending), -np.inf, np.float32)
    result[: len(learned)] = learned
    others = np.flatnonzero(result == -np.inf)
    if len(others):
        lowest = float(learned.min(where=learned > -np.inf, initial=0.0)) if len(learned) else 0.0
        place = np.unique(-trending[others], return_inverse=True)[1]  # the most popular is step 0
        result[others] = np.floor(lowest) - 1.0 - place
    return result
