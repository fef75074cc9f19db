"""From scores to an order, the same for what is served and what is evaluated: top, place, metrics, diversity. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.process.compiled import ReadOnlyMatrix, ReadOnlyVector, Vector, compiled

FloatArray = NDArray[np.float32]

# Products whose scores are added up together: their sums stay in the processor's cache.
TOGETHER = 4096


@compiled
def _scores(
    query: ReadOnlyVector[np.float32],
    items: ReadOnlyMatrix[np.float32],
    bias: ReadOnlyVector[np.float32],
    out: Vector[np.float32],
) -> None:
    whole = len(query) // 8 * 8
    for begin in range(0, len(out), TOGETHER):
        end = min(len(out), begin + TOGETHER)
        sums = out[begin:end]
        sums[:] = bias[begin:end]
        for k in range(0, whole, 8):  # eight at a time: sums are read and written an eighth as often
            q0, q1, q2, q3 = query[k], query[k + 1], query[k + 2], query[k + 3]
            q4, q5, q6, q7 = query[k + 4], query[k + 5], query[k + 6], query[k + 7]
            i0, i1 = items[k, begin:end], items[k + 1, begin:end]
            i2, i3 = items[k + 2, begin:end], items[k + 3, begin:end]
            i4, i5 = items[k + 4, begin:end], items[k + 5, begin:end]
            i6, i7 = items[k + 6, begin:end], items[k + 7, begin:end]
            for a in range(end - begin):
                first = sums[a] + q0 * i0[a] + q1 * i1[a] + q2 * i2[a] + q3 * i3[a]
                sums[a] = first + q4 * i4[a] + q5 * i5[a] + q6 * i6[a] + q7 * i7[a]
        for k in range(whole, len(query)):
            for a in range(end - begin):
                sums[a] += query[k] * items[k, begin + a]


def scores(query: FloatArray, items: FloatArray, bias: FloatArray) -> FloatArray:
    """Score of every product: query·items + bias.

    Each product's sum is added up in the order of the query, whatever the machine; and in this thread alone, for what a
    library's threads gain they lose several times over where the other cores are busy.

    Args:
        query: (K,) the heads' queries, each already times its head's weight, one after the other.
        items: (K, A) the heads' output vectors, likewise: this way round, the sum runs along memory.
        bias: (A,) the heads' biases, weighted and summed.
    """
    result: FloatArray = np.empty(len(bias), np.float32)
    _scores(np.ascontiguousarray(query), np.ascontiguousarray(items), bias, result)
    return result


def mask(values: FloatArray, rows: NDArray[np.int32]) -> None:
    """Mask products, in place: they are never ranked."""
    values[rows] = -np.inf


@compiled
def _is_worse(values: ReadOnlyVector[np.float32], row: int, other: int) -> bool:
    return bool(values[row] < values[other] or (values[row] == values[other] and row > other))


@compiled
def _sift_down(values: ReadOnlyVector[np.float32], rows: Vector[np.int64], row: int, size: int) -> None:
    """Put a row on top of the heap instead of the one that is there, and down to where it belongs."""
    place = 0
    while 2 * place + 1 < size:
        below = 2 * place + 1
        if below + 1 < size and _is_worse(values, rows[below + 1], rows[below]):
            below += 1
        if not _is_worse(values, rows[below], row):
            break
        rows[place] = rows[below]
        place = below
    rows[place] = row


@compiled
def _top_k(values: ReadOnlyVector[np.float32], rows: Vector[np.int64]) -> int:
    """Fill in the rows of the best products, best first; how many there are.

    One pass keeps the best so far in a heap, the worst of them on top: the lowest score, of equals the highest row.
    """
    k, size = len(rows), 0
    least = np.float32(-np.inf)
    for row in range(len(values)):
        if not values[row] > least:
            continue
        if size < k:
            place = size
            size += 1
            while place > 0:
                above = (place - 1) // 2
                if not _is_worse(values, row, rows[above]):
                    break
                rows[place] = rows[above]
                place = above
            rows[place] = row
        else:
            _sift_down(values, rows, row, size)
        if size == k:
            least = values[rows[0]]
    for end in range(size - 1, 0, -1):
        worst = rows[0]
        _sift_down(values, rows, rows[end], end)
        rows[end] = worst
    return size


def top_k(values: FloatArray, k: int) -> NDArray[np.int64]:
    """Rows of the best `k` products, best first, masked ones never; equal scores by row, lowest first."""
    rows: NDArray[np.int64] = np.empty(min(k, len(values)), np.int64)
    return rows[: _top_k(np.ascontiguousarray(values), rows)]


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


@compiled
def place_of(
    product: int, values: Vector[np.float32], factor: np.float32, beside: Vector[np.float32], known: int
) -> float:
    """As `rank`, by values times a factor plus what stands beside them.

    Args:
        product: row.
        values: no fewer than the known; 0 is taken for rows beyond.
        beside: (A,) -inf of what is masked.
        known: rows with a value.
    """
    none = np.float32(0.0)
    of_product = factor * (values[product] if product < known else none) + beside[product]
    if of_product == -np.inf:
        return np.inf
    better, equal = 0, 0
    for row in range(known):
        value = factor * values[row] + beside[row]
        better += value > of_product
        equal += value == of_product
    for row in range(known, len(beside)):
        better += beside[row] > of_product
        equal += beside[row] == of_product
    return 1.0 + better + (equal - 1) / 2.0


def hit(place: float, k: int) -> float:
    """HR@k of one event: 1 when the product is among the first `k`."""
    return float(place <= k)


def ndcg(place: float, k: int) -> float:
    """NDCG@k of one event with one relevant product: 1 / log2(1 + place), 0 beyond k (Järvelin & Kekäläinen 2002)."""
    return float(1.0 / np.log2(1.0 + place)) if place <= k else 0.0


@compiled
def _diversified(
    gain: Vector[np.float32], likeness: ReadOnlyMatrix[np.float32], strength: np.float32, order: Vector[np.int64]
) -> None:
    """Fill in the order; `gain` is changed."""
    worst = np.zeros(len(gain), np.float32)  # strength · greatest likeness to one above
    for place in range(len(order)):
        best, most = -1, np.float32(-np.inf)
        for n in range(len(gain)):
            if gain[n] > -np.inf and (best < 0 or gain[n] - worst[n] > most):
                best, most = n, gain[n] - worst[n]
        order[place] = best
        gain[best] = -np.inf
        for n in range(len(gain)):
            worst[n] = max(worst[n], likeness[best, n] * strength)


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
    order: NDArray[np.int64] = np.empty(places, np.int64)
    _diversified(gain, np.ascontiguousarray(likeness), np.float32(strength), order)
    return order
