"""The second stage of the score: the best candidates by the first, put in order by an action network.

An action network tells of each candidate in the user's state how much likelier it is to be chosen than the mixture
holds (`ce`, a logit beside log p), and what choosing it is worth (`q`, an action value: state and action are its input,
as in Lin 1992). It reads what the tally's experts say of the candidate, what the user did with it and how long ago, how
active and how content the user is, and what the product was worth to others: so it can tell a product that was just
bought from one that is bought again and again, which no mixture of counts can.

Pure. The loops are compiled.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.model.mixture import (
    ITSELF,
    LEAST,
    NEXT,
    POPULARITY,
    RELATIONS,
    SESSIONS,
    TOGETHER,
    pairs_among,
    popular_factors,
    relation_divisors,
    rings_of,
    seen_by,
)
from shared.model.ranking import fill_scores, top_k
from shared.model.session_neighbours import LAGS, Rings, View, heard, place_among, places_of
from shared.numeric.compiled import Matrix, ReadOnlyMatrix, ReadOnlyVector, Vector, compiled
from shared.numeric.elementary import exp_of, log_of
from shared.state.histories import EVENT_FEATURES, GAP_CAP, REWARD, Window
from shared.state.known import Known
from shared.state.tally import HALF_LIVES_DAYS, PAIR_ONE, REWARD_ONE, Float32Cube, TallyArrays, total_of

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# The best products by the first stage, so many of them, are put in order.
CANDIDATES = 64

# The mixture's parts, each beside the best candidate's, as logarithms.
_MEMBERS = POPULARITY + len(RELATIONS) + 1
# What an action network reads of a candidate, all about [-1, 1].
FEATURES = (
    "trending", *(f"popular_{24 * days:g}h" for days in HALF_LIVES_DAYS), "next", "together", "itself", "sessions",
    "mixture",  # beside the best candidate's
    "times",  # that the history holds it
    "had",  # whether it does
    "lag_short", "lag_long",  # how many events ago the newest of these was, decaying fast and slowly
    "since",  # and how long ago
    "events",  # of the history
    "pause",  # since the newest of them
    "newcomer",  # whether there are none
    "last_next", "last_together",  # what followed the newest event's product and came near it, beside the best's
    "seen_next", "seen_together",  # and how often it did
    "taste", "distance",  # the mean log-popularity of the history's products, and how far above it the candidate is
    "mood", "last_reward",  # the mean of the history's rewards, and the newest
    "worth",  # the mean reward of all events with the product
)  # fmt: skip
F = len(FEATURES)
HEADS = ("ce", "q")  # of an action network, in the order of its outputs

# Of the best candidate's share; what is less says no less.
_LEAST_SHARE = np.float32(math.exp(-7.0))
_MINUTES_A_DAY = 1440.0
# So many events without any reward are lent to a product.
_RATED = 3.0
_LONGEST = POPULARITY - 1
_GAP = EVENT_FEATURES.index("gap")


class ActionNetwork(NamedTuple):
    """For each of `HEADS` a perceptron with two hidden layers of H units, SiLU between (Elfwing et al. 2018).

    The heads share the state, and nothing of what they make of it: values are noisier, and choices suffer from them.
    """

    w_first: Float32Cube  # (2, H, F)
    b_first: Matrix[np.float32]  # (2, H)
    w_second: Float32Cube  # (2, H, H)
    b_second: Matrix[np.float32]  # (2, H)
    w_last: Matrix[np.float32]  # (2, H)
    b_last: Vector[np.float32]  # (2,)

    @classmethod
    def shapes(cls, hidden: int) -> dict[str, tuple[int, ...]]:
        """Of its arrays, by name."""
        h, heads = hidden, len(HEADS)
        return {
            "w_first": (heads, h, F), "b_first": (heads, h), "w_second": (heads, h, h), "b_second": (heads, h),
            "w_last": (heads, h), "b_last": (heads,),
        }  # fmt: skip


class Ranker(NamedTuple):
    """An action network, and what each of its heads counts."""

    network: ActionNetwork
    weights: Vector[np.float32]  # (2,)


class Candidates(NamedTuple):
    """K candidates, and what an action network reads of them."""

    rows: Vector[np.int64]  # (K,) best first
    features: Matrix[np.float32]  # (F, K)
    mixture: Vector[np.float32]  # (K,) how probable the mixture holds each


class Reranked(NamedTuple):
    """What the heads added to the scores of K candidates."""

    rows: Vector[np.int64]  # (K,)
    adds: Matrix[np.float32]  # (2, K) by `HEADS`


NONE_RANKED = Reranked(np.zeros(0, np.int64), np.zeros((len(HEADS), 0), np.float32))


def rerank(
    ranker: Ranker | None, known: Known, window: Window | None, mixture: FloatArray | None, values: FloatArray
) -> Reranked:
    """Put the best candidates in order, in place.

    The choice head keeps the candidates' probability together what it was: w_ce · f - log Σ p e^(w_ce f) / Σ p. The
    value head adds its advantage, w_q times what Q is above its mean under the mixture. So a candidate moves past what
    is no candidate only as far as it gained on the others.

    Args:
        mixture: (C, E) weights of the tally's experts; None: there are none, and nothing is put in order.
        values: (A,) scores by the first stage, minus infinity for what must not be shown.
    """
    if ranker is None or mixture is None or not ranker.weights.any():
        return NONE_RANKED
    rows = top_k(values, CANDIDATES)
    if len(rows) < 2:
        return NONE_RANKED
    candidates = describe(known, window, mixture, rows)
    adds: FloatArray = np.empty((len(HEADS), len(rows)), np.float32)
    _adds.unchecked(ranker.network, candidates.features, candidates.mixture, ranker.weights, adds)
    values[rows] += adds[0] + adds[1]
    return Reranked(rows, adds)


def outputs(network: ActionNetwork, features: FloatArray) -> FloatArray:
    """What each head says of K candidates, (2, K), of features (F, K)."""
    result: FloatArray = np.empty((len(HEADS), features.shape[1]), np.float32)
    _forward(network, features, result)
    return result


def describe(known: Known, window: Window | None, mixture: FloatArray, rows: IntArray) -> Candidates:
    """What an action network reads of K products.

    Args:
        window: of one user; None: nothing is known of the user.
        mixture: (C, E) weights of the tally's experts.
        rows: (K,) each once; what is best among them is what the others stand beside.
    """
    view, context = seen_by(known, window)
    features: FloatArray = np.zeros((F, len(rows)), np.float32)
    shares: FloatArray = np.zeros(len(rows), np.float32)
    weights = np.ascontiguousarray(mixture[context], np.float32)
    events, products, since_ms = _NO_EVENTS, _NO_PRODUCTS, 0
    if window is not None:
        n = int(window.lengths[0])
        events, products, since_ms = window.features[0, :n], window.products[0, :n], window.since_ms
    _describe.unchecked(
        known.tally.arrays, rings_of(known), view, weights, rows, known.tally.size, products, events, since_ms,
        features, shares,
    )  # fmt: skip
    return Candidates(rows, features, shares)


_NO_EVENTS: FloatArray = np.zeros((0, len(EVENT_FEATURES)), np.float32)
_NO_PRODUCTS: NDArray[np.int32] = np.zeros(0, np.int32)


@compiled
def _members(
    t: TallyArrays,
    rings: Rings,
    view: View,
    weights: ReadOnlyVector[np.float32],
    rows: ReadOnlyVector[np.int64],
    table: ReadOnlyVector[np.int16],
    size: int,
    out: Matrix[np.float32],
    mixture: Vector[np.float32],
    newest: Matrix[np.float32],
) -> None:
    """Fill in what each member of the mixture says of some products, (M, K), and add them up.

    A member without weight still says something, which counts nothing in the mixture.

    Args:
        out, mixture: 0 at first.
        newest: (2, K) how often each followed the product of the newest event, and came near it; 0 at first.
    """
    alone = np.zeros(POPULARITY, np.float32)
    for h in range(POPULARITY):
        alone[:] = 0.0
        alone[h] = max(weights[h], np.float32(LEAST))
        factors, evenly = popular_factors(t, alone, size)
        for k in range(len(rows)):
            out[h, k] = evenly
            if rows[k] < size:
                out[h, k] += factors[h] * t.popular[h, rows[k]]
            if weights[h] > 0.0:
                mixture[k] += out[h, k]
    for k in range(len(rows)):
        mixture[k] = max(mixture[k], np.float32(LEAST / max(1, size)))  # as `mix` has it where popularity has no weight
    if not len(view.products):
        return
    following, together = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    counts = np.zeros(len(RELATIONS))  # what each relation's lags count together
    for relation in range(len(RELATIONS)):
        for lag in range(len(view.products)):
            counts[relation] += weights[POPULARITY + relation * LAGS + lag]
    lent = LEAST
    for lag in range(len(view.products)):
        lent *= 0.55
        row = view.products[lag]
        if row < 0:
            continue
        at = POPULARITY + lag
        following[:] = 0
        together[:] = 0
        pairs_among(t, row, rows, table, following, together)
        if lag == 0:
            for k in range(len(rows)):
                newest[0, k], newest[1, k] = following[k] / PAIR_ONE, together[k] / PAIR_ONE
        by_next, by_together = relation_divisors(t, row, size)
        a = np.float32((weights[at] if counts[NEXT] > 0.0 else lent) / by_next)
        b = np.float32((weights[at + LAGS] if counts[TOGETHER] > 0.0 else lent) / by_together)
        for k in range(len(rows)):
            out[POPULARITY + NEXT, k] += a * np.float32(following[k])
            out[POPULARITY + TOGETHER, k] += b * np.float32(together[k])
        itself = place_among(table, rows, row)
        if itself >= 0:
            out[POPULARITY + ITSELF, itself] += weights[at + 2 * LAGS] if counts[ITSELF] > 0.0 else np.float32(lent)
    for relation in range(len(RELATIONS)):
        if counts[relation] > 0.0:
            for k in range(len(rows)):
                mixture[k] += out[POPULARITY + relation, k]
    shares = heard(t, rings, view, rows, table)
    for k in range(len(rows)):
        out[_MEMBERS - 1, k] = np.float32(shares[k])
        mixture[k] += weights[SESSIONS] * out[_MEMBERS - 1, k]


@compiled
def _beside_best(values: ReadOnlyVector[np.float32], out: Vector[np.float32]) -> None:
    """Fill in log(value / greatest value), a third of it and 1 more; where all are 0, all are the greatest."""
    greatest = np.float32(0.0)
    for k in range(len(values)):
        greatest = max(greatest, values[k])
    for k in range(len(values)):
        share = values[k] / greatest if greatest > 0.0 else np.float32(1.0)
        out[k] = log_of(max(share, _LEAST_SHARE)) / np.float32(3.0) + np.float32(1.0)


@compiled
def _log_popularity(t: TallyArrays, row: int, size: int) -> float:
    """Log of how many times as popular as the mean a product is at the longest half-life, none below log(1/20)."""
    total = total_of(t, _LONGEST)
    beside_mean = t.popular[_LONGEST, row] / total * size if 0 <= row < size and total > 0.0 else 0.0
    return float(math.log(beside_mean + 0.05))


@compiled
def _describe(
    t: TallyArrays,
    rings: Rings,
    view: View,
    weights: ReadOnlyVector[np.float32],
    rows: ReadOnlyVector[np.int64],
    size: int,
    products: ReadOnlyVector[np.int32],
    events: ReadOnlyMatrix[np.float32],
    since_ms: int,
    out: Matrix[np.float32],
    mixture: Vector[np.float32],
) -> None:
    """Fill in `FEATURES` of some products and the mixture's shares.

    Args:
        products, events: of the history, oldest first, (n,) and (n, F).
        since_ms: since the newest of these.
        out, mixture: 0 at first.
    """
    table = places_of(rows)
    members = np.zeros((_MEMBERS, len(rows)), np.float32)
    newest = np.zeros((len(HEADS), len(rows)), np.float32)
    _members(t, rings, view, weights, rows, table, size, members, mixture, newest)
    for member in range(_MEMBERS):
        _beside_best(members[member], out[member])
    _beside_best(mixture, out[_MEMBERS])
    times, had, lag_short, lag_long, since = (
        out[_MEMBERS + 1], out[_MEMBERS + 2], out[_MEMBERS + 3], out[_MEMBERS + 4], out[_MEMBERS + 5]
    )  # fmt: skip
    n = len(products)
    days, total = since_ms / DAY_MS, 0.0
    for lag in range(n):
        event = n - 1 - lag
        place = place_among(table, rows, products[event])
        if place >= 0:
            times[place] += np.float32(1.0)
            if had[place] == 0.0:
                had[place] = 1.0
                lag_short[place] = math.exp(-lag / 2.0)
                lag_long[place] = math.exp(-lag / 8.0)
                since[place] = math.log1p(days * _MINUTES_A_DAY) / 10.0
        days += math.expm1(min(events[event, _GAP], np.float32(1.0)) * GAP_CAP)
        total += events[event, REWARD]
    taste = 0.0
    for event in range(n):
        taste += _log_popularity(t, products[event], size) / n
    mood = total / n if n else 0.0
    last_reward = events[n - 1, REWARD] if n else np.float32(0.0)
    pause = math.log1p(since_ms / 60_000.0) / 10.0
    first = _MEMBERS + 6
    _beside_best(newest[0], out[first + 3])
    _beside_best(newest[1], out[first + 4])
    for k in range(len(rows)):
        if had[k]:
            times[k] = math.log1p(times[k])
        out[first, k] = math.log1p(n) / 3.0
        out[first + 1, k] = pause
        out[first + 2, k] = 0.0 if n else 1.0
        out[first + 5, k] = np.log1p(newest[0, k]) / np.float32(4.0)
        out[first + 6, k] = np.log1p(newest[1, k]) / np.float32(4.0)
        out[first + 7, k] = taste / 3.0
        out[first + 8, k] = (_log_popularity(t, rows[k], size) - taste) / 3.0 if n else 0.0
        out[first + 9, k] = mood
        out[first + 10, k] = last_reward
        if rows[k] < size:
            out[first + 11, k] = t.rewards[rows[k], 1] / REWARD_ONE / (t.rewards[rows[k], 0] + _RATED)


@compiled
def _silu(values: Vector[np.float32]) -> None:
    for k in range(len(values)):
        values[k] /= np.float32(1.0) + exp_of(min(-values[k], np.float32(80.0)))


@compiled
def _forward(network: ActionNetwork, features: ReadOnlyMatrix[np.float32], out: Matrix[np.float32]) -> None:
    hidden, count = network.b_first.shape[1], features.shape[1]
    first, second = np.empty((hidden, count), np.float32), np.empty((hidden, count), np.float32)
    bias = np.empty(count, np.float32)
    for head in range(len(out)):
        for h in range(hidden):
            bias[:] = network.b_first[head, h]
            fill_scores(network.w_first[head, h], features, bias, first[h])
            _silu(first[h])
        for h in range(hidden):
            bias[:] = network.b_second[head, h]
            fill_scores(network.w_second[head, h], first, bias, second[h])
            _silu(second[h])
        bias[:] = network.b_last[head]
        fill_scores(network.w_last[head], second, bias, out[head])


@compiled
def centre(mixture: ReadOnlyVector[np.float32], weights: ReadOnlyVector[np.float32], adds: Matrix[np.float32]) -> None:
    """Weigh what the heads say and take off what they say of all candidates together, in place, as `rerank` tells.

    Args:
        mixture: (K,)
        weights: (2,)
        adds: (2, K)
    """
    chosen, valued = adds
    highest = np.float32(-np.inf)
    for k in range(len(mixture)):
        chosen[k] *= weights[0]
        valued[k] *= weights[1]
        highest = max(highest, chosen[k])
    total, likelier, worth = 0.0, 0.0, 0.0
    for k in range(len(mixture)):
        total += mixture[k]
        likelier += mixture[k] * exp_of(chosen[k] - highest)
        worth += mixture[k] * valued[k]
    normaliser, mean = highest + np.float32(np.log(likelier / total)), np.float32(worth / total)
    for k in range(len(mixture)):
        chosen[k] -= normaliser
        valued[k] -= mean


@compiled
def _adds(
    network: ActionNetwork,
    features: ReadOnlyMatrix[np.float32],
    mixture: ReadOnlyVector[np.float32],
    weights: ReadOnlyVector[np.float32],
    out: Matrix[np.float32],
) -> None:
    _forward(network, features, out)
    centre(mixture, weights, out)
