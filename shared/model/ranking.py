"""From scores to an order, the same for what is served and what is evaluated: top, place, metrics, diversity. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# Up to so many places, looking for the best one again and again is several times faster than partitioning.
FEW_PLACES = 32


def scores(query: FloatArray, items: FloatArray, bias: FloatArray) -> FloatArray:
    """Score of every product: query·items + bias.

    Args:
        query: (K,) the heads' queries, each already times its head's weight, one after the other.
        items: (K, A) the heads' output vectors, likewise: this way round, the sum runs along memory.
        bias: (A,) the heads' biases, weighted and summed.
    """
    result: FloatArray = query @ items
    result += bias
    return result


def mask(values: FloatArray, rows: NDArray[np.int32]) -> None:
    """Mask products, in place: they are never ranked."""
    values[rows] = -np.inf


def top_k(values: FloatArray, k: int) -> NDArray[np.int64]:
    """Rows of the best `k` products, best first, masked ones never; equal scores by row, lowest first."""
    k = min(k, len(values))
    if k == 0:
        return np.zeros(0, np.int64)
    if k <= FEW_PLACES:
        return _best_one_by_one(values, k)
    rows = np.flatnonzero(values >= _no_more_than_the_kth(values, k))
    best = values[rows]
    if len(rows) > k:
        ties = best >= np.partition(best, len(best) - k)[len(best) - k]  # all that tie with the last place
        rows, best = rows[ties], best[ties]
    kept: NDArray[np.int64] = rows[np.lexsort((rows, -best))][:k]
    return kept


def _no_more_than_the_kth(values: FloatArray, k: int) -> np.float32:
    """A value that the best `k` reach, and few others do; finite.

    The k-th best of a part is no more than the k-th best of all; the part is the best one of each eight.
    """
    taken = len(values) // 8
    if k < taken:
        best = values[: 8 * taken].reshape(8, taken).max(axis=0)
        kth: np.float32 = np.partition(best, taken - k)[taken - k]
        if kth > -np.inf:
            return kth
    return np.finfo(np.float32).min


def _best_one_by_one(values: FloatArray, k: int) -> NDArray[np.int64]:
    left = values.copy()
    rows: NDArray[np.int64] = np.empty(k, np.int64)
    for place in range(k):
        row = left.argmax()  # the first of equals
        if left[row] == -np.inf:
            return rows[:place]
        rows[place] = row
        left[row] = -np.inf
    return rows


def rank(values: FloatArray, row: int) -> float:
    """Place of one product, 1 is best; ties count at half, so that row order decides nothing.

    Infinite when the product is masked.
    """
    value = values[row]
    if value == -np.inf:
        return float("inf")
    better = int(np.count_nonzero(values > value))
    equal = int(np.count_nonzero(values == value)) - 1
    return 1.0 + better + equal / 2.0


def hit(place: float, k: int) -> float:
    """HR@k of one event: 1 when the product is among the first `k`."""
    return float(place <= k)


def ndcg(place: float, k: int) -> float:
    """NDCG@k of one event with one relevant product: 1 / log2(1 + place), 0 beyond k (Järvelin & Kekäläinen 2002)."""
    return float(1.0 / np.log2(1.0 + place)) if place <= k else 0.0


def diversified(scores: FloatArray, likeness: FloatArray, strength: float, count: int) -> NDArray[np.int64]:
    """An order that repeats itself less: the first `count` of P products given best first, (min(count, P),).

    Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): at each place the product with the highest
    (1 - strength) · relevance - strength · its greatest likeness to any placed above. Relevance is the score, scaled to
    [0, 1] between the worst and the best of those given. Ties go to the better score.

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
