"""From scores to an order, the same for what is served and what is evaluated: top, place, metrics, diversity. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.numeric.compiled import Matrix, ReadOnlyMatrix, ReadOnlyVector, Vector, compiled

FloatArray = NDArray[np.float32]

# Products whose scores are added up together: their sums stay in the processor's cache.
TOGETHER = 4096


@compiled
def fill_scores(
    query: ReadOnlyVector[np.float32],
    items: ReadOnlyMatrix[np.float32],
    bias: ReadOnlyVector[np.float32],
    out: Vector[np.float32],
) -> None:
    """Fill in the score of every product, as `scores` says."""
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
    fill_scores(np.ascontiguousarray(query), np.ascontiguousarray(items), bias, result)
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


@compiled
def ndcg(place: float, k: int) -> float:
    """NDCG@k of one event with one relevant product: 1 / log2(1 + place), 0 beyond k (Järvelin & Kekäläinen 2002)."""
    return float(1.0 / np.log2(1.0 + place)) if place <= k else 0.0


class Traits(NamedTuple):
    """What makes products alike: tags with weights, such as categories, and directions, such as learned vectors."""

    tags: Matrix[np.int32]  # (A, T) each once; -1 where there is none, at weight 0
    weights: Matrix[np.float32]  # (A, T) of a product without tags 0, else of length 1
    vectors: Matrix[np.float32]  # (V, D) of the first products; the last is that of all others
    per_length: Vector[np.float32]  # (V,) 1 / length; 0 of a product without a direction


class _Pool(NamedTuple):
    """The traits of P products, one beside the other: what is done to all of them runs along memory."""

    tags: Matrix[np.int32]  # (T, P)
    weights: Matrix[np.float32]  # (T, P)
    directions: Matrix[np.float32]  # (D, P) of length 1
    has_tags: Vector[np.float32]  # (P,) 1, or 0
    has_direction: Vector[np.float32]


@compiled
def _pool(traits: Traits, rows: ReadOnlyVector[np.int64]) -> _Pool:
    count, last = len(rows), len(traits.vectors) - 1
    tags = np.empty((traits.tags.shape[1], count), np.int32)
    weights = np.empty((traits.tags.shape[1], count), np.float32)
    directions = np.empty((traits.vectors.shape[1], count), np.float32)
    has_tags, has_direction = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for n in range(count):
        row = rows[n]
        for t in range(len(tags)):
            tags[t, n], weights[t, n] = traits.tags[row, t], traits.weights[row, t]
            if weights[t, n] > 0.0:
                has_tags[n] = 1.0
        row = min(row, last)
        per_length = traits.per_length[row]
        has_direction[n] = per_length > 0.0
        for d in range(len(directions)):
            directions[d, n] = traits.vectors[row, d] * per_length
    return _Pool(tags, weights, directions, has_tags, has_direction)


@compiled
def _fill_likeness(pool: _Pool, place: int, out: Vector[np.float32]) -> None:
    """Fill in how alike one of the products is to each, (P,), as `likeness` says."""
    none = np.float32(0.0)
    fill_scores(pool.directions[:, place].copy(), pool.directions, np.zeros(len(out), np.float32), out)
    for n in range(len(out)):
        out[n] = out[n] if out[n] > none else none
    for t in range(len(pool.tags)):
        tag, weight = pool.tags[t, place], pool.weights[t, place]
        if tag < 0:
            continue
        for other in range(len(pool.tags)):
            tags, weights = pool.tags[other], pool.weights[other]
            for n in range(len(out)):
                out[n] += weight * weights[n] if tags[n] == tag else none
    has_tags, has_direction, both = pool.has_tags[place], pool.has_direction[place], np.float32(2.0)
    for n in range(len(out)):
        if has_tags * pool.has_tags[n] + has_direction * pool.has_direction[n] == both:
            out[n] /= both


@compiled
def _fill_likenesses(traits: Traits, rows: ReadOnlyVector[np.int64], out: Matrix[np.float32]) -> None:
    pool = _pool(traits, rows)
    for place in range(len(rows)):
        _fill_likeness(pool, place, out[place])


def likeness(rows: NDArray[np.int64], traits: Traits) -> FloatArray:
    """The similarity of each pair of P products, (P, P), [0, 1].

    The mean of two cosines, that of their tags and that of their directions, where negative ones count 0; only one of
    the two where a product lacks the other.
    """
    result: FloatArray = np.empty((len(rows), len(rows)), np.float32)
    _fill_likenesses(traits, rows, result)
    return result


@compiled
def _diversified(
    values: ReadOnlyVector[np.float32],
    rows: ReadOnlyVector[np.int64],
    traits: Traits,
    strength: float,
    order: Vector[np.int64],
) -> None:
    """Fill in the order."""
    pool, least = _pool(traits, rows), values[rows[-1]]
    span = float(values[rows[0]]) - float(least)
    factor = np.float32((1.0 - strength) / span if span > 0.0 else 0.0)
    gain, alike = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
    for n in range(len(rows)):
        gain[n] = (values[rows[n]] - least) * factor
    worst = np.zeros(len(rows), np.float32)  # strength · greatest likeness to one above
    for place in range(len(order)):
        best, most = -1, np.float32(-np.inf)
        for n in range(len(gain)):
            if gain[n] > -np.inf and (best < 0 or gain[n] - worst[n] > most):
                best, most = n, gain[n] - worst[n]
        order[place] = rows[best]
        gain[best] = -np.inf
        if place < len(order) - 1:
            _fill_likeness(pool, best, alike)
            for n in range(len(gain)):
                worst[n] = max(worst[n], alike[n] * np.float32(strength))


def diversified(
    values: FloatArray, rows: NDArray[np.int64], traits: Traits, strength: float, count: int
) -> NDArray[np.int64]:
    """An order that repeats itself less: the first `count` of P rows given best first, (min(count, P),).

    Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): at each place the product with the highest
    (1 - strength) · relevance - strength · its greatest `likeness` to any placed above. Relevance is the score, scaled
    to [0, 1] between the worst and the best of those given. Ties go to the better score.

    Args:
        values: (A,) scores; of the rows finite, descending.
        rows: (P,)
        traits: of all these rows.
        strength: 0, the order stays, to 1, likeness alone decides all places but the first.
    """
    order: NDArray[np.int64] = np.empty(min(count, len(rows)), np.int64)
    if len(order):
        _diversified(values, rows, traits, strength, order)
    return order
