"""Putting some order by liking into one that repeats itself less."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def diversified(scores: FloatArray, likeness: FloatArray, strength: float, count: int) -> NDArray[np.int64]:
    """The order of the first `count` of P products that are given best first, (min(count, P),).

    Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): at each place the product with the highest
    (1 - strength) · relevance - strength · its greatest likeness to one above. Relevance is the score, put on [0, 1]
    between the worst and the best of those given. Of equals the one with the better score.

    Args:
        scores: (P,) finite, descending.
        likeness: (P, P), [0, 1], symmetric.
        strength: 0, the order stays, to 1, likeness alone decides all places but the first.
    """
    places = min(count, len(scores))
    if not strength or not places:
        return np.arange(places)
    span = float(scores[0]) - float(scores[-1])
    gain = (scores - scores[-1]) * np.float32((1.0 - strength) / span if span else 0.0)  # (P,)
    repeats = likeness * np.float32(strength)
    worst: FloatArray = np.zeros(len(scores), np.float32)  # (P,) strength · greatest likeness to one above
    order: NDArray[np.int64] = np.empty(places, np.int64)
    for place in range(places):
        best = order[place] = (gain - worst).argmax()
        gain[best] = -np.inf
        np.maximum(worst, repeats[best], out=worst)
    return order
