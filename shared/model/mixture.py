"""The mixture of experts: how probable each product is as a user's next, by the tally alone.

p(product) = Σ_e w_e · p_e(product). The experts: popularity at each half-life; three relations beside each event of the
history, by how many events ago that was (what followed the product, what came near it, the product itself); and the
neighbours' sessions: what those users did whose newest events are like this user's (VMIS-kNN: Kersbergen et al.,
Serenade, SIGMOD 2022, over the tally's newest users and their histories).

The weights depend on the context: how many events the history holds and how long ago the last one was. They are learned
from the order of all users' events (`shared.policies.freshet.weights`), which no two processes share unless they read
one log in one order; so they travel in versions, and `DEFAULT` stands in before the first. What disappointed the user
argues for nothing.

Pure. The loops are compiled.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.model.session_neighbours import LAGS, NOBODY, Rings, View, heard, listen, place_among, places_of
from shared.numeric.compiled import Matrix, ReadOnlyVector, Vector, compiled, prefetch
from shared.state.histories import Window
from shared.state.known import Known
from shared.state.tally import (
    HALF_LIVES_DAYS,
    NEIGHBOURS,
    NEXT_TOTAL,
    PAIR_INTS,
    PAIR_ONE,
    SLOTS,
    SMOOTHING,
    TOGETHER_TOTAL,
    Float32Cube,
    TallyArrays,
    partitions_of,
    prefetch_pairs,
    room_of,
    total_of,
)

FloatArray = NDArray[np.float32]

# Experts, in the order of their weights: popularity, then each relation by lag, the newest first, then the sessions.
POPULARITY = 1 + len(HALF_LIVES_DAYS)
RELATIONS = NEXT, TOGETHER, ITSELF = 0, 1, 2
SESSIONS = POPULARITY + len(RELATIONS) * LAGS
EXPERTS = SESSIONS + 1
# What experts do together, in the order of what `groups` gives.
GROUPS = ("popularity", "next", "together", "itself", "sessions")

# The least that popularity counts: no product has probability 0.
LEAST = 1e-9
# A product's pairs are divided by (total + SHRINK)^POWER, times the mean total to the rest: one with many neighbours
# says more than it would as a share, one that was seen once says less.
SHRINK, POWER = 3.0, 0.7

# Where one context ends and the next begins.
LENGTHS = (1, 3, 9)  # events of the history, at most
PAUSES_MS = (1_800_000, DAY_MS, 30 * DAY_MS)  # since the last one, less than
CONTEXTS = 1 + (len(LENGTHS) + 1) * (len(PAUSES_MS) + 1)  # the first: no history
# By this a version says what its weights belong to.
EXPERT_NAMES = (
    f"popularity trending {' '.join(f'{days:g}' for days in HALF_LIVES_DAYS)} days; next, together, itself by "
    f"{LAGS} lags; sessions; {CONTEXTS} contexts"
)


def context_of(length: int, since_ms: int) -> int:
    """The context of a history: its place among `CONTEXTS`.

    Args:
        length: events of it.
        since_ms: time since the last one.
    """
    if not length:
        return 0
    return 1 + bisect_left(LENGTHS, length) * (len(PAUSES_MS) + 1) + bisect_right(PAUSES_MS, since_ms)


def default_weights() -> FloatArray:
    """The weights before any were learned, (C, E): a blend that did well on shops and on reviews alike."""
    weights = np.zeros((CONTEXTS, EXPERTS), np.float32)
    lags = 0.55 ** np.arange(LAGS)
    lags /= lags.sum()
    weights[:, :POPULARITY] = 0.1 / POPULARITY
    weights[0, :POPULARITY] = 0.0
    weights[0, 0] = 1.0  # nobody's history: what is trending
    for relation, share in ((NEXT, 0.35), (TOGETHER, 0.3), (ITSELF, 0.02)):
        begin = POPULARITY + relation * LAGS
        weights[1:, begin : begin + LAGS] = share * lags
    weights[1:, SESSIONS] = 0.03
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


DEFAULT = default_weights()


def context_at(window: Window | None) -> int:
    """The context of a window of one user; None: nothing is known of the user."""
    return 0 if window is None else context_of(int(window.lengths[0]), window.since_ms)


def mix(known: Known, window: Window | None, weights: FloatArray, products: int) -> FloatArray:
    """How probable each product is as the next, (A,), each above 0 and all about 1 together.

    Args:
        window: of one user; None: nothing is known of the user.
        weights: (C, E)
        products: A, no less than the tally's.

    Raises:
        ValueError: the tally has more products.
    """
    view, context = seen_by(known, window)
    result: FloatArray = np.zeros(room_for(known, products), np.float32)
    of_context = np.ascontiguousarray(weights[context], np.float32)
    _mix.unchecked(known.tally.arrays, rings_of(known), view, of_context, known.tally.size, result)
    return result


def groups(known: Known, window: Window | None, weights: FloatArray, products: int) -> FloatArray:
    """What each group of experts adds to the mixture, (G, A); popularity by each half-life, G = POPULARITY + 4.

    Args:
        weights: (E,) of the experts.
        products: A, as in `mix`.
    """
    view, _ = seen_by(known, window)
    result: FloatArray = np.zeros((POPULARITY + len(GROUPS) - 1, room_for(known, products)), np.float32)
    weights = np.ascontiguousarray(weights, np.float32)
    _groups.unchecked(known.tally.arrays, rings_of(known), view, weights, known.tally.size, result)
    return result


def expert_shares(known: Known, window: Window | None, product: int) -> NDArray[np.float64]:
    """How probable each expert alone holds one product, (E,)."""
    view, _ = seen_by(known, window)
    result = np.zeros(EXPERTS)
    _of_product.unchecked(known.tally.arrays, rings_of(known), view, product, known.tally.size, result)
    return result


class Separated(NamedTuple):
    """What made `mix` of K products; all together is that."""

    popularity: Vector[np.float32]  # (K,)
    by_event: Float32Cube  # (3, n, K) by relation: what each event of the window adds, oldest first
    sessions: Vector[np.float32]  # (K,) what the neighbours' sessions add


def separate(known: Known, window: Window | None, weights: FloatArray, rows: NDArray[np.int64]) -> Separated:
    """What made `mix` of some products.

    Args:
        window, weights: as in `mix`.
        rows: (K,), each once.
    """
    view, context = seen_by(known, window)
    result = Separated(
        np.zeros(len(rows), np.float32),
        np.zeros((len(RELATIONS), len(view.products), len(rows)), np.float32),
        np.zeros(len(rows), np.float32),
    )
    _separate(known.tally.arrays, rings_of(known), view, weights[context], rows, known.tally.size, result)
    return result


def room_for(known: Known, products: int) -> int:
    """The number of products, for which there must be room.

    Raises:
        ValueError: the tally has more.
    """
    if products < known.tally.size:  # what is compiled would write beyond the end
        raise ValueError(f"the tally has {known.tally.size} products, and there is room for {products}")
    return products


def seen_by(known: Known, window: Window | None) -> tuple[View, int]:
    """A window of one user as compiled functions read it, and its context; None: nothing is known of the user."""
    return NOBODY if window is None else View.of(window, known.tally.size), context_at(window)


def rings_of(known: Known) -> Rings:
    """All users' histories as compiled functions read them."""
    products, _, _, argues, events = known.histories.rings
    return Rings(products, argues, events)


@compiled
def _divisor(total: int, of_all: int, products: int) -> float:
    """What the pairs of a product are divided by.

    Args:
        total: of the product.
        of_all: of all products together.
        products: how many.
    """
    mean = max(1.0, of_all / PAIR_ONE / max(1, products))
    return float(PAIR_ONE * (total / PAIR_ONE + SHRINK) ** POWER * mean ** (1.0 - POWER))


@compiled
def relation_divisors(t: TallyArrays, row: int, size: int) -> tuple[float, float]:
    """What a product's pairs are divided by: of what followed it, and of what came near it."""
    return (
        _divisor(t.products[row, NEXT_TOTAL], t.pair_totals[0], size),
        _divisor(t.products[row, TOGETHER_TOTAL], t.pair_totals[1], size),
    )


@compiled
def popular_factors(
    t: TallyArrays, weights: ReadOnlyVector[np.float32], size: int
) -> tuple[NDArray[np.float32], np.float32]:
    """What each half-life's counts are multiplied with, (H,), and what every product gets."""
    factors = np.zeros(POPULARITY, np.float32)
    rest = 0.0
    for h in range(POPULARITY):
        weight = float(weights[h])
        if weight <= 0.0:
            continue
        total = total_of(t, h)
        rest += weight * SMOOTHING if total > 0.0 else weight
        if total > 0.0:
            factors[h] = weight * (1.0 - SMOOTHING) / total
    return factors, np.float32(max(rest, LEAST) / max(1, size))


@compiled
def _popular(t: TallyArrays, weights: ReadOnlyVector[np.float32], size: int, out: Vector[np.float32]) -> None:
    """Add popularity at all half-lives."""
    factors, evenly = popular_factors(t, weights, size)
    f0, f1, f2, f3, f4 = factors
    p0, p1, p2, p3, p4 = t.popular[0], t.popular[1], t.popular[2], t.popular[3], t.popular[4]
    for product in range(size):  # all at once: memory is read and written once
        out[product] += (
            f0 * p0[product] + f1 * p1[product] + f2 * p2[product] + f3 * p3[product] + f4 * p4[product] + evenly
        )
    for product in range(size, len(out)):
        out[product] += evenly


@compiled
def _relate(
    t: TallyArrays, product: int, following: float, together: float, size: int, out: Vector[np.float32]
) -> None:
    """Add what followed a product, and what came near it."""
    by_next, by_together = relation_divisors(t, product, size)
    a, b = np.float32(following / by_next), np.float32(together / by_together)
    added = np.empty(SLOTS)
    for q in range(partitions_of(t)):
        start, in_use, slots = room_of(t.products[product, NEIGHBOURS + q])
        begin = PAIR_INTS * start
        neighbours = t.pairs[begin : begin + in_use]
        nexts = t.pairs[begin + slots : begin + slots + in_use]
        near = t.pairs[begin + 2 * slots : begin + 2 * slots + in_use]
        for n in range(in_use):  # what is added first, several at a time
            added[n] = a * nexts[n] + b * near[n]
        for n in range(in_use):
            out[np.uint32(neighbours[n])] += added[n]


@compiled
def _mix(
    t: TallyArrays, rings: Rings, view: View, weights: ReadOnlyVector[np.float32], size: int, out: Vector[np.float32]
) -> None:
    for row in view.products:
        prefetch(t.products, row * t.products.shape[1])
    for row in view.products:  # their pairs come while popularity is counted
        if row >= 0:
            for q in range(partitions_of(t)):
                prefetch_pairs(t, row, q, PAIR_INTS)
    _popular(t, weights, size, out)
    for lag in range(len(view.products)):
        row = view.products[lag]
        if row >= 0:
            at = POPULARITY + lag
            _relate(t, row, weights[at], weights[at + LAGS], size, out)
            out[row] += weights[at + 2 * LAGS]
    if len(view.products) and weights[SESSIONS] > 0.0:
        listen(t, rings, view, weights[SESSIONS], out)


@compiled
def relations(
    t: TallyArrays, rings: Rings, view: View, weights: ReadOnlyVector[np.float32], size: int, out: Matrix[np.float32]
) -> None:
    """Add what the relations and the sessions say, each to a row of its own."""
    for lag in range(len(view.products)):
        row = view.products[lag]
        if row >= 0:
            at = POPULARITY + lag
            _relate(t, row, weights[at], 0.0, size, out[NEXT])
            _relate(t, row, 0.0, weights[at + LAGS], size, out[TOGETHER])
            out[ITSELF, row] += weights[at + 2 * LAGS]
    if len(view.products):
        listen(t, rings, view, max(weights[SESSIONS], np.float32(LEAST)), out[len(RELATIONS)])


@compiled
def _groups(
    t: TallyArrays, rings: Rings, view: View, weights: ReadOnlyVector[np.float32], size: int, out: Matrix[np.float32]
) -> None:
    alone = np.zeros(POPULARITY, np.float32)
    for h in range(POPULARITY):
        alone[:] = 0.0
        alone[h] = max(weights[h], np.float32(LEAST))
        _popular(t, alone, size, out[h])
    relations(t, rings, view, weights, size, out[POPULARITY:])


@compiled
def _share(t: TallyArrays, h: int, product: int, size: int) -> float:
    total = total_of(t, h)
    evenly = 1.0 / max(1, size)
    if total <= 0.0:
        return evenly
    counted = t.popular[h, product] / total if product < size else 0.0
    return float((1.0 - SMOOTHING) * counted + SMOOTHING * evenly)


@compiled
def _beside(t: TallyArrays, row: int, product: int) -> tuple[int, int]:
    """How often a product followed another, and came near it."""
    following, together = 0, 0
    for q in range(partitions_of(t)):
        start, in_use, slots = room_of(t.products[row, NEIGHBOURS + q])
        begin = PAIR_INTS * start
        for at in range(begin, begin + in_use):
            if t.pairs[at] == product:
                following += t.pairs[at + slots]
                together += t.pairs[at + 2 * slots]
    return following, together


@compiled
def _of_product(t: TallyArrays, rings: Rings, view: View, product: int, size: int, out: Vector[np.float64]) -> None:
    for h in range(POPULARITY):
        out[h] = _share(t, h, product, size)
    for lag in range(len(view.products)):
        row = view.products[lag]
        if row < 0:
            continue
        following, together = _beside(t, row, product)
        at = POPULARITY + lag
        by_next, by_together = relation_divisors(t, row, size)
        out[at], out[at + LAGS] = following / by_next, together / by_together
        out[at + 2 * LAGS] = 1.0 if row == product else 0.0
    if len(view.products):
        only = np.array([product])
        out[SESSIONS] = heard(t, rings, view, only, places_of(only))[0]


@compiled
def pairs_among(
    t: TallyArrays,
    row: int,
    rows: ReadOnlyVector[np.int64],
    table: ReadOnlyVector[np.int16],
    following: Vector[np.int64],
    together: Vector[np.int64],
) -> None:
    """Add how often each of some products followed another, and came near it, (K,) each.

    Args:
        table: of these products, as `places_of` gives it.
    """
    for q in range(partitions_of(t)):
        start, in_use, slots = room_of(t.products[row, NEIGHBOURS + q])
        begin = PAIR_INTS * start
        for at in range(begin, begin + in_use):
            k = place_among(table, rows, t.pairs[at])
            if k >= 0:
                following[k] += t.pairs[at + slots]
                together[k] += t.pairs[at + 2 * slots]


@compiled
def _separate(
    t: TallyArrays,
    rings: Rings,
    view: View,
    weights: ReadOnlyVector[np.float32],
    rows: ReadOnlyVector[np.int64],
    size: int,
    out: Separated,
) -> None:
    """Fill in what makes the mixture of some products; `out` is 0 at first."""
    popular, events, sessions = out
    factors, evenly = popular_factors(t, weights, size)
    for k in range(len(rows)):
        if rows[k] < size:
            for h in range(POPULARITY):
                popular[k] += factors[h] * t.popular[h, rows[k]]
        popular[k] += evenly
    if not len(view.products):
        return
    table = places_of(rows)
    if weights[SESSIONS] > 0.0:
        sessions[:] = heard(t, rings, view, rows, table) * weights[SESSIONS]
    for lag in range(len(view.products)):
        row = view.products[lag]
        if row < 0:
            continue
        following, together = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        pairs_among(t, row, rows, table, following, together)
        at, n = POPULARITY + lag, len(view.products) - 1 - lag
        by_next, by_together = relation_divisors(t, row, size)
        a, b = weights[at] / by_next, weights[at + LAGS] / by_together
        for k in range(len(rows)):
            events[NEXT, n, k] = a * following[k]
            events[TOGETHER, n, k] = b * together[k]
        itself = place_among(table, rows, row)
        if itself >= 0:
            events[ITSELF, n, itself] = weights[at + 2 * LAGS]
