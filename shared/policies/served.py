"""What is served when a version is live: the popularity of this moment, and what the version has learned beside it.

The evaluator ranks by the same function, so what it judges is what users get.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.history import Window

FloatArray = NDArray[np.float32]


class Scores(Protocol):
    """A version that scores the caller's rows, such as `shared.scoring.Scorer`."""

    @property
    def popularity_weight(self) -> float:
        """What popularity counts in the mixture with `related`, (0, 1]."""
        ...

    def related(self, window: Window) -> FloatArray:
        """Weighted shares of the products that follow those of the history, (A0,)."""
        ...

    def scores(self, window: Window) -> FloatArray:
        """What the version has learned beside the mixture, (A0,); -inf for products that it does not know."""
        ...


class Popularity(Protocol):
    """What is popular now, such as `shared.policies.trending.Trending`."""

    def log_popularity(self) -> FloatArray:
        """Log of every product's smoothed share, (A,)."""
        ...


def served_scores(version: Scores | None, window: Window | None, popularity: Popularity) -> FloatArray:
    """Scores that order the whole catalogue for one user as it is served, masks aside, (A,).

    log(w_p · popularity + Σ_r w_r · share_r) + w_ce · logit + w_q · Q, where r are the relations between products.

    Without a version, or without a window (a user of whom nothing is known), they are log-popularity itself. A product
    that the version does not know counts as an average one: it gets the mean of what was learned of the others,
    weighted by the mixture, so a version that has learned nothing ranks exactly as popularity does.

    Raises:
        ValueError: the version has more rows than popularity.
    """
    log_popularity = popularity.log_popularity()
    if version is None or window is None or not window.lengths[0]:
        return log_popularity.copy()
    learned = version.scores(window)  # (A0,), A0 <= A
    if len(learned) > len(log_popularity):
        raise ValueError(
            f"popularity has {len(log_popularity)} rows, the version {len(learned)}: give new rows to both"
        )
    result = mix(log_popularity, version.popularity_weight, version.related(window))
    known = learned > -np.inf
    shares = np.exp(result[: len(learned)], where=known, out=np.zeros_like(learned))
    learned = np.where(known, learned, 0.0)
    mean = float(shares @ learned) / float(shares.sum()) if known.any() else 0.0
    result += np.float32(mean)
    result[: len(learned)] += np.where(known, learned - np.float32(mean), np.float32(0.0))
    return result


def mix(log_popularity: FloatArray, popularity_weight: float, related: FloatArray) -> FloatArray:
    """log(popularity_weight · popularity + related), (A,).

    Args:
        log_popularity: (A,)
        popularity_weight: above 0.
        related: (A0,), A0 <= A, weighted shares; 0 for most products.
    """
    result: FloatArray = log_popularity + np.float32(np.log(popularity_weight))
    rows = np.flatnonzero(related)
    result[rows] = np.logaddexp(result[rows], np.log(related[rows]))
    return result
