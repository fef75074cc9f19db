"""What made the scores that were served: parts that add up to them, and the past events that made each part. Pure.

`explain` gives the reasons; `HeadVectors` is how a version separates what its heads add. The loops are compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from shared.model.format import VALUES, Parts
from shared.model.mixture import ITSELF, NEXT, TOGETHER, Separated, separate
from shared.model.ranking import fill_scores
from shared.model.served import Popularity, Served
from shared.numeric.compiled import Form, Matrix, ReadOnlyMatrix, ReadOnlyVector, compiled
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.state.histories import Window
from shared.state.known import Known
from shared.state.tally import Float32Cube, Int64Cube

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# Events that are given for a reason, and what each of them adds at least, as a share of the strongest.
MOST_EVENTS = 3
LEAST_SHARE = 0.1

# Smaller parts of a score are rounding.
NOTHING = 1e-6

# The parts, as compiled functions know them.
PARTS = 1 + max(pb.Part.values())
TRENDING, CO_OCCURRENCE, SEQUENCE = int(pb.PART_TRENDING), int(pb.PART_CO_OCCURRENCE), int(pb.PART_SEQUENCE)
VALUE, SENTIMENT, CONTENT = int(pb.PART_Q), int(pb.PART_SENTIMENT), int(pb.PART_CONTENT)
BOOST, OF_ITSELF, NEIGHBOURS = int(pb.PART_BOOST), int(pb.PART_ITSELF), int(pb.PART_NEIGHBOURS)

# What encoders say of a sequence, what they say of values to come, and what was learned of a product for all users.
GROUPS = OF_SEQUENCE, OF_VALUES, ALONE = 0, 1, 2

# By group, product, way and event: (G, K, W, n + 1).
ByHead: TypeAlias = Annotated[NDArray[np.float32], Form(4)]


class Explains(Protocol):
    """A version that separates what it adds, such as `shared.model.scoring.Scorer`."""

    @property
    def history_length(self) -> int:
        """Events that are read of a history."""
        ...

    def related_by_event(self, window: Window, rows: IntArray) -> FloatArray:
        """What each event of a window of one user adds to `related` of some products, (n, K), oldest first."""
        ...

    def by_head(self, window: Window, rows: IntArray) -> ByHead:
        """What each of `GROUPS` adds to some products before any event and after each, (G, K, W, n + 1).

        As `related_by_event`, of the newest n events that count; quick for the window that was scored last. Where texts
        had sentiment W is 2, and [:, :, 1] is as if they had none. What it gives of unknown products means nothing.
        """
        ...


class Reasons(NamedTuple):
    """What made the scores of K products, by `Part`: what each part adds, and the M events at most that add most to it.

    A part of which no more than `NOTHING` came, and no event tells, is no reason.
    """

    scores: Matrix[np.float32]  # (P, K)
    counts: Matrix[np.int64]  # (P, K) events that are given for each, the strongest first
    places: Int64Cube  # (P, K, M) their places in the window; those beyond the count mean nothing
    adds: Float32Cube  # (P, K, M) what they add to the part; likewise

    @classmethod
    def none(cls, products: int) -> Reasons:
        """Of scores of which nothing is said."""
        scores, counts = np.zeros((PARTS, products), np.float32), np.zeros((PARTS, products), np.int64)
        events = PARTS, products, MOST_EVENTS
        return cls(scores, counts, np.zeros(events, np.int64), np.zeros(events, np.float32))


_NO_HEADS: FloatArray = np.zeros((len(GROUPS), 0, 1, 1), np.float32)
_NO_VALUES: FloatArray = np.zeros(0, np.float32)


def explain(
    scored: Served,
    version: Explains | None,
    window: Window | None,
    rows: IntArray,
    popularity: Popularity,
    boosts: FloatArray | None = None,
    popularity_out: float = 0.0,
) -> Reasons:
    """The reasons of some products' scores; the parts of one product add up to its score.

    What each past event adds: to co-occurrence its share of the sum; to the encoder's parts what it changed when it
    came, so that with what the encoder says before any event these add up to the part. Leaving out each event in turn
    (occlusion) would tell as much and cost an encoding per event.

    Args:
        scored: of the version after this window.
        rows: (K,) of products, each once.
        popularity: what the scores were made of.
        boosts: (A,) that were added to these scores.
        popularity_out: how much of log-popularity was subtracted from them.
    """
    reasons, heads, learned = Reasons.none(len(rows)), _NO_HEADS, _NO_VALUES
    length = 0 if window is None else int(window.lengths[0])
    if scored.experts is not None:
        _mixed(separate(cast(Known, popularity), window, scored.experts, rows), length, reasons)
    elif scored.popularity_weight:
        reasons.scores[TRENDING] = np.log(scored.shares[rows]) + np.float32(np.log(scored.popularity_weight))
    if version is not None and window is not None and scored.learned is not None:
        heads, learned = version.by_head(window, rows), scored.learned
        if scored.popularity_weight and scored.experts is None:
            _co_occurrence(scored, version, window, rows, reasons)
    _put_in_order(scored.reranked.rows, scored.reranked.adds, rows, reasons)
    _added(
        heads, learned, rows, scored.average, length, scored.content_rows, scored.content,
        _NO_VALUES if boosts is None else boosts, scored.shares, popularity_out, reasons,
    )  # fmt: skip
    return reasons


@compiled
def _strongest(adds: ReadOnlyVector[np.float32], length: int, part: int, k: int, reasons: Reasons) -> None:
    """Give the events that add most to one part of a product.

    Args:
        adds: (n,) what the newest n events add.
        length: of the window.
        reasons: nothing is said of this part yet.
    """
    places, given, count = reasons.places[part, k], reasons.adds[part, k], 0
    for event in range(len(adds)):
        size = abs(adds[event])
        place = count
        while place > 0 and size > abs(given[place - 1]):
            place -= 1
        if place == len(given) or not size > np.float32(NOTHING):
            continue
        count = min(count + 1, len(given))
        for behind in range(count - 1, place, -1):
            given[behind], places[behind] = given[behind - 1], places[behind - 1]
        given[place], places[place] = adds[event], event + length - len(adds)
    while count > 1 and not abs(given[count - 1]) > np.float32(LEAST_SHARE) * abs(given[0]):
        count -= 1
    reasons.counts[part, k] = count


@compiled
def _mixed(separated: Separated, length: int, reasons: Reasons) -> None:
    """Put in what the tally's experts add: log(popularity), and what the others make of it, shared out among them.

    log(mixture) - log(popularity) is shared out by how much each adds to the mixture: what goes with other products
    of the history, these products themselves, and the neighbours' sessions.

    Args:
        length: of the window.
    """
    popular, by_event, sessions = separated
    n = by_event.shape[1]
    beside, itself = np.zeros(n, np.float32), np.zeros(n, np.float32)
    for k in range(len(popular)):
        reasons.scores[TRENDING, k] = np.log(popular[k])
        others = sessions[k]
        for event in range(n):
            others += by_event[NEXT, event, k] + by_event[TOGETHER, event, k] + by_event[ITSELF, event, k]
        if not others > 0.0:
            continue
        each = np.float32(np.log1p(others / popular[k])) / others
        for event in range(n):
            beside[event] = (by_event[NEXT, event, k] + by_event[TOGETHER, event, k]) * each
            itself[event] = by_event[ITSELF, event, k] * each
            reasons.scores[CO_OCCURRENCE, k] += beside[event]
            reasons.scores[OF_ITSELF, k] += itself[event]
        reasons.scores[NEIGHBOURS, k] = sessions[k] * each
        _strongest(beside, length, CO_OCCURRENCE, k, reasons)
        _strongest(itself, length, OF_ITSELF, k, reasons)


@compiled
def _put_in_order(
    candidates: ReadOnlyVector[np.int64], adds: Matrix[np.float32], rows: ReadOnlyVector[np.int64], reasons: Reasons
) -> None:
    """Put in what the heads of an action network add to the candidates among the products; no event alone tells it.

    Args:
        candidates: (C,)
        adds: (2, C) by `shared.model.candidates.HEADS`.
    """
    for c in range(len(candidates)):
        for k in range(len(rows)):
            if rows[k] == candidates[c]:
                reasons.scores[SEQUENCE, k] = adds[0, c]
                reasons.scores[VALUE, k] = adds[1, c]


def _co_occurrence(scored: Served, version: Explains, window: Window, rows: IntArray, reasons: Reasons) -> None:
    """Put in log(mixture) - log(w_p · share), and each past event's share of it.

    Versions of this kind count what disappointed, too; but nobody is told that a product goes with one he disliked.
    """
    by_event = version.related_by_event(window, rows)
    related = by_event.sum(axis=0)
    counted = np.float32(scored.popularity_weight) * scored.shares[rows]
    part: FloatArray = np.log1p(related / counted, dtype=np.float32)
    reasons.scores[CO_OCCURRENCE] = part
    each = np.divide(part, related, out=np.zeros_like(part), where=related > 0.0)
    argues = window.arguing()
    adds = (by_event * each).T * argues[len(argues) - len(by_event) :]
    _tell(np.ascontiguousarray(adds), len(argues), CO_OCCURRENCE, reasons)


@compiled
def _tell(adds: ReadOnlyMatrix[np.float32], length: int, part: int, reasons: Reasons) -> None:
    """Give the events that add most to one part of each product.

    Args:
        adds: (K, n) what the newest n events add.
        length: of the window.
    """
    for k in range(len(adds)):
        _strongest(adds[k], length, part, k, reasons)


@compiled
def _felt(heads: ByHead, events: int, k: int) -> np.float32:
    """What sentiment adds after so many events."""
    sequence, values = heads[OF_SEQUENCE, k], heads[OF_VALUES, k]
    return np.float32(sequence[0, events] + values[0, events] - (sequence[1, events] + values[1, events]))


@compiled
def _added(
    heads: ByHead,
    learned: ReadOnlyVector[np.float32],
    rows: ReadOnlyVector[np.int64],
    average: float,
    length: int,
    content_rows: ReadOnlyVector[np.int32],
    content: ReadOnlyVector[np.float32],
    boosts: ReadOnlyVector[np.float32],
    shares: ReadOnlyVector[np.float32],
    popularity_out: float,
    reasons: Reasons,
) -> None:
    """Put in what is added to the mixture: what the heads say, content, boosts, and less of popularity.

    Args:
        heads: as `Explains.by_head` gives it.
        learned, average, content_rows, content, shares: as in `Served`.
        length: of the window.
        boosts: (A,); empty: there are none.
    """
    ways, n = heads.shape[2], heads.shape[3] - 1
    adds = np.zeros(n, np.float32)
    for k in range(len(rows)):
        if popularity_out:
            reasons.scores[TRENDING, k] -= np.float32(popularity_out) * np.log(shares[rows[k]])
        place = np.searchsorted(content_rows, rows[k])
        if place < len(content_rows) and content_rows[place] == rows[k]:
            reasons.scores[CONTENT, k] = content[place]
        if len(boosts):
            reasons.scores[BOOST, k] = boosts[rows[k]]
        if rows[k] >= len(learned) or learned[rows[k]] == -np.inf:
            reasons.scores[SEQUENCE, k] += average
            continue
        reasons.scores[TRENDING, k] += heads[ALONE, k, 0, n]
        for group, part in ((OF_SEQUENCE, SEQUENCE), (OF_VALUES, VALUE)):
            after = heads[group, k, ways - 1]
            reasons.scores[part, k] = after[n]
            for event in range(n):
                adds[event] = after[event + 1] - after[event]
            _strongest(adds, length, part, k, reasons)
        if ways > 1:
            felt = _felt(heads, 0, k)
            for event in range(n):
                before, felt = felt, _felt(heads, event + 1, k)
                adds[event] = felt - before
            reasons.scores[SENTIMENT, k] = felt
            _strongest(adds, length, SENTIMENT, k, reasons)


class HeadVectors:
    """Separates the parts that a version's heads add to a score: `GROUPS`.

    The vectors that serve are one sum over the heads, or lie side by side. Beside them only those of action values are
    kept, at half precision: what rounding takes from one part it adds to the other.

    Args:
        heads: head → weight in the score.
        parts: of the version.
        one_query: whether all heads share one.
    """

    def __init__(self, heads: Mapping[str, float], parts: Parts, *, one_query: bool) -> None:
        zeros = np.zeros(len(parts.products), np.float32)
        alone = [head for head in heads if head not in parts.outputs]
        self._alone: FloatArray = sum((heads[h] * parts.biases[h] for h in alone), zeros).astype(np.float32)  # (A,)
        counted = [head for head in heads if head in parts.outputs and heads[head]]
        self._only_values = counted == [VALUES]
        self._values: NDArray[np.uint16] = np.zeros((0, 0), np.uint16)  # (A, D) bits, weighted where the query is not
        self._values_bias = zeros  # (A,) weighted
        self._block = 0  # of the values' query, where queries lie side by side
        if VALUES in counted and not self._only_values:
            weight = heads[VALUES]
            halves = (parts.outputs[VALUES] * (weight if one_query else 1.0)).astype(np.float16)
            self._values = np.ascontiguousarray(halves).view(np.uint16)
            self._values_bias = (weight * parts.biases[VALUES]).astype(np.float32)
            self._block = 0 if one_query else counted.index(VALUES)

    def split(
        self,
        after_each: ByHead,
        vectors: FloatArray,
        biases: FloatArray,
        version_rows: NDArray[np.int32],
        rows: IntArray,
    ) -> ByHead:
        """What each of `GROUPS` adds before any event and after each, (G, K, W, n + 1); zeros of unknown products.

        Args:
            after_each: (W, n, Q·D) queries of all heads that count, weighted.
            vectors: (Q·D, A0) of the caller's products, of all heads.
            biases: (A0,) of all heads.
            version_rows: (A0 or more,) the caller's row → the version's, -1 where it has none.
            rows: (K,) the caller's.
        """
        ways, n, _ = after_each.shape
        result: ByHead = np.zeros((len(GROUPS), len(rows), ways, n + 1), np.float32)
        _split(
            after_each, vectors, biases, version_rows, rows, self._alone, self._values, self._values_bias, self._block,
            OF_VALUES if self._only_values else OF_SEQUENCE, result,
        )  # fmt: skip
        return result


# Half-precision numbers times this are those whose bits begin alike, at single precision.
_HALF = np.float32(2.0**112)


@compiled
def _split(
    after_each: Float32Cube,
    vectors: ReadOnlyMatrix[np.float32],
    biases: ReadOnlyVector[np.float32],
    version_rows: ReadOnlyVector[np.int32],
    rows: ReadOnlyVector[np.int64],
    alone: ReadOnlyVector[np.float32],
    values: ReadOnlyMatrix[np.uint16],
    values_bias: ReadOnlyVector[np.float32],
    block: int,
    rest: int,
    out: ByHead,
) -> None:
    """Fill in what each group adds, as `HeadVectors.split` gives it.

    Args:
        values: (A, D) bits of half-precision numbers; empty: they are not told apart.
        block: of the values' query in the queries.
        rest: the group to which all belongs that is not told apart.
        out: 0 at first.
    """
    ways, n, width = after_each.shape
    d, shown = values.shape[1], ways * (n + 1)
    queries = np.zeros((width, shown), np.float32)  # side by side, those before any event are 0
    for way in range(ways):
        for event in range(n):
            for i in range(width):
                queries[i, way * (n + 1) + event + 1] = after_each[way, event, i]
    vector, bias = np.empty(width, np.float32), np.empty(shown, np.float32)
    bits = np.empty(d, np.int32)
    of_values = bits.view(np.float32)
    for k in range(len(rows)):
        row = rows[k]
        place = version_rows[row] if row < len(biases) else -1
        if place < 0:
            continue
        out[ALONE, k] = alone[place]
        for i in range(width):
            vector[i] = vectors[i, row]
        bias[:] = biases[row] - alone[place]
        of_all, of_these = out[rest, k].reshape(shown), out[OF_VALUES, k].reshape(shown)
        fill_scores(vector, queries, bias, of_all)
        if not d:
            continue
        for i in range(d):
            half = np.int32(values[place, i])
            bits[i] = ((half & 0x8000) << 16) | ((half & 0x7FFF) << 13)
        for i in range(d):
            of_values[i] *= _HALF
        bias[:] = values_bias[place]
        fill_scores(of_values, queries[block * d : (block + 1) * d], bias, of_these)
        of_all -= of_these
