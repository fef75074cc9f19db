"""What made the scores that were served: parts that add up to them, and the past events that made each part. Pure.

`explain` gives the reasons; `HeadVectors` is how a version separates what its heads add.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from shared.model.format import VALUES, Parts
from shared.model.mixture import ITSELF, NEXT, TOGETHER, separate
from shared.model.served import Popularity, Served
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.compiled import Matrix, ReadOnlyMatrix, Vector, compiled
from shared.state.histories import Window
from shared.state.known import Known
from shared.state.tally import Float32Cube

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# Events that are given for a reason, and what each of them adds at least, as a share of the strongest.
MOST_EVENTS = 3
LEAST_SHARE = 0.1

# Smaller parts of a score are rounding.
NOTHING = 1e-6

# What encoders say of a sequence, what they say of values to come, and what was learned of a product for all users.
GROUPS = SEQUENCE, ACTION_VALUES, ALONE = "sequence", "values", "alone"


class Explains(Protocol):
    """A version that separates what it adds, such as `shared.model.scoring.Scorer`."""

    @property
    def products(self) -> int:
        """Rows that can be scored; A0."""
        ...

    @property
    def history_length(self) -> int:
        """Events that are read of a history."""
        ...

    def related_by_event(self, window: Window, rows: IntArray) -> FloatArray:
        """What each event of a window of one user adds to `related` of some products, (n, K), oldest first."""
        ...

    def by_head(self, window: Window, rows: IntArray) -> Mapping[str, FloatArray]:
        """What each of `GROUPS` adds to some products before any event and after each, (W, n + 1, K).

        As `related_by_event`, of the newest n events that count; quick for the window that was scored last. Where texts
        had sentiment W is 2, and [1] is as if they had none.
        """
        ...


class Reasons(NamedTuple):
    """One part of the scores of K products, and the events that add most to it: at most M, the strongest first."""

    part: pb.Part.ValueType
    scores: FloatArray  # (K,)
    counts: IntArray  # (K,) events that are given for each
    places: IntArray  # (K, M) their places in the window; those beyond the count mean nothing
    adds: FloatArray  # (K, M) what they add to the part; likewise


def explain(
    scored: Served,
    version: Explains | None,
    window: Window | None,
    rows: IntArray,
    popularity: Popularity,
    boosts: FloatArray | None = None,
    popularity_out: float = 0.0,
) -> list[Reasons]:
    """The reasons of some products' scores, in the order of `Part`; those of one product add up to its score.

    What each past event adds: to co-occurrence its share of the sum; to the encoder's parts what it changed when it
    came, so that with what the encoder says before any event these add up to the part. Leaving out each event in turn
    (occlusion) would tell as much and cost an encoding per event.

    Args:
        scored: of the version after this window.
        rows: (K,) of products.
        popularity: what the scores were made of.
        boosts: (A,) that were added to these scores.
        popularity_out: how much of log-popularity was subtracted from them.
    """
    parts: dict[pb.Part.ValueType, FloatArray] = {}
    events: dict[pb.Part.ValueType, FloatArray] = {}  # (n, K) of the newest n
    logs: FloatArray = np.log(scored.shares[rows])
    if scored.experts is None:
        parts[pb.PART_TRENDING] = _popularity(logs, scored.popularity_weight)
    else:
        _mixed(cast(Known, popularity), scored.experts, window, rows, parts, events)
    if version is not None and window is not None and scored.learned is not None:
        if scored.popularity_weight and scored.experts is None:
            parts[pb.PART_CO_OCCURRENCE], events[pb.PART_CO_OCCURRENCE] = _co_occurrence(scored, version, window, rows)
        _learned(scored, scored.learned, version, window, rows, parts, events)
    if popularity_out:
        parts[pb.PART_TRENDING] = parts[pb.PART_TRENDING] - np.float32(popularity_out) * logs
    if len(scored.content_rows):
        parts[pb.PART_CONTENT] = _of_rows(scored.content_rows, scored.content, rows)
    if boosts is not None:
        parts[pb.PART_BOOST] = boosts[rows]
    length = 0 if window is None else int(window.lengths[0])
    return _reasons(length, len(rows), parts, events)


@compiled
def _share_out(
    popular: Vector[np.float32],
    by_relation: Float32Cube,
    sessions: Vector[np.float32],
    co_occurrence: Vector[np.float32],
    itself: Vector[np.float32],
    neighbours: Vector[np.float32],
) -> None:
    """Fill in the parts, (K,); what each event adds to them takes the place of what it added to the mixture.

    Args:
        by_relation: (3, n, K); what is at `NEXT` is then that of both relations.
    """
    n = by_relation.shape[1]
    for k in range(len(popular)):
        others = sessions[k]
        for event in range(n):
            others += by_relation[NEXT, event, k] + by_relation[TOGETHER, event, k] + by_relation[ITSELF, event, k]
        if not others > 0.0:
            by_relation[:, :, k] = 0.0
            continue
        each = np.float32(np.log1p(others / popular[k])) / others
        for event in range(n):
            beside = (by_relation[NEXT, event, k] + by_relation[TOGETHER, event, k]) * each
            by_relation[NEXT, event, k] = beside
            by_relation[ITSELF, event, k] *= each
            co_occurrence[k] += beside
            itself[k] += by_relation[ITSELF, event, k]
        neighbours[k] = sessions[k] * each


def _mixed(
    known: Known,
    experts: FloatArray,
    window: Window | None,
    rows: IntArray,
    parts: dict[pb.Part.ValueType, FloatArray],
    events: dict[pb.Part.ValueType, FloatArray],
) -> None:
    """Put in what the tally's experts add: log(popularity), and what the others make of it, shared out among them.

    log(mixture) - log(popularity) is shared out by how much each adds to the mixture: what goes with other products
    of the history, these products themselves, and the neighbours' sessions.
    """
    popular, by_relation, sessions = separate(known, window, experts, rows)
    parts[pb.PART_TRENDING] = np.log(popular)
    if window is None or not window.lengths[0]:
        return
    co_occurrence, itself, neighbours = (np.zeros(len(rows), np.float32) for _ in range(3))
    _share_out(popular, by_relation, sessions, co_occurrence, itself, neighbours)
    parts[pb.PART_CO_OCCURRENCE], events[pb.PART_CO_OCCURRENCE] = co_occurrence, by_relation[NEXT]
    parts[pb.PART_ITSELF], events[pb.PART_ITSELF] = itself, by_relation[ITSELF]
    parts[pb.PART_NEIGHBOURS] = neighbours


def _popularity(logs: FloatArray, weight: float) -> FloatArray:
    """log(w_p · share), (K,); nothing where popularity does not count."""
    return logs + np.float32(np.log(weight)) if weight else np.zeros_like(logs)


def _co_occurrence(scored: Served, version: Explains, window: Window, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """log(mixture) - log(w_p · share), (K,), and each past event's share of it, (n, K).

    Versions of this kind count what disappointed, too; but nobody is told that a product goes with one he disliked.
    """
    by_event = version.related_by_event(window, rows)
    related = by_event.sum(axis=0)
    counted = np.float32(scored.popularity_weight) * scored.shares[rows]
    part: FloatArray = np.log1p(related / counted, dtype=np.float32)
    each = np.divide(part, related, out=np.zeros_like(part), where=related > 0.0)
    argues = window.arguing()
    return part, by_event * each * argues[len(argues) - len(by_event) :, None]


def _learned(
    scored: Served,
    learned: FloatArray,
    version: Explains,
    window: Window,
    rows: IntArray,
    parts: dict[pb.Part.ValueType, FloatArray],
    events: dict[pb.Part.ValueType, FloatArray],
) -> None:
    """Put in what the heads add."""
    k = len(rows)
    known = np.flatnonzero((rows < len(learned)) & (learned[np.minimum(rows, len(learned) - 1)] > -np.inf))
    heads = version.by_head(window, rows[known])
    n = heads[ALONE].shape[1] - 1

    def put(part: pb.Part.ValueType, after: FloatArray, unknown: float) -> None:
        parts[part], events[part] = np.full(k, unknown, np.float32), np.zeros((n, k), np.float32)
        parts[part][known], events[part][:, known] = after[-1], after[1:] - after[:-1]

    alone = np.zeros(k, np.float32)
    alone[known] = heads[ALONE][-1, -1]
    parts[pb.PART_TRENDING] = parts[pb.PART_TRENDING] + alone
    put(pb.PART_SEQUENCE, heads[SEQUENCE][-1], scored.average)
    put(pb.PART_Q, heads[ACTION_VALUES][-1], 0.0)
    if len(heads[ALONE]) > 1:
        felt = heads[SEQUENCE] + heads[ACTION_VALUES]
        put(pb.PART_SENTIMENT, felt[0] - felt[1], 0.0)


def _of_rows(known: NDArray[np.int32], values: FloatArray, rows: IntArray) -> FloatArray:
    """The values of some rows, (K,); 0 for those not among the known ones, which are in ascending order."""
    rows = rows.astype(known.dtype)  # else numpy would convert all of `known`
    places = np.minimum(np.searchsorted(known, rows), len(known) - 1)
    result: FloatArray = np.where(known[places] == rows, values[places], np.float32(0.0))
    return result


@compiled
def _strongest(
    events: ReadOnlyMatrix[np.float32],
    length: int,
    counts: Vector[np.int64],
    places: Matrix[np.int64],
    adds: Matrix[np.float32],
) -> None:
    """Fill in the events that add most to one part of each product.

    Args:
        events: (n, K) what the newest n events add.
        length: of the window.
        counts: (K,) how many are given.
        places: (K, M) in the window; 0 at first, as `adds`.
    """
    n, m = len(events), places.shape[1]
    for k in range(len(counts)):
        strongest = np.float32(0.0)
        for place in range(min(m, n)):
            best = -1
            for event in range(n):
                taken = False
                for before in range(place):
                    taken = taken or places[k, before] == event
                if not taken and (best < 0 or abs(events[event, k]) > abs(events[best, k])):
                    best = event
            size = abs(events[best, k])
            if place == 0:
                strongest = size
            if not size > max(np.float32(LEAST_SHARE) * strongest, np.float32(NOTHING)):
                break
            places[k, place] = best
            adds[k, place] = events[best, k]
            counts[k] = place + 1
        for place in range(counts[k]):
            places[k, place] += length - n


def _reasons(
    length: int,
    products: int,
    parts: Mapping[pb.Part.ValueType, FloatArray],
    events: Mapping[pb.Part.ValueType, FloatArray],
) -> list[Reasons]:
    """As `explain` gives them.

    Args:
        length: of the window.
        products: K.
        parts: what each adds, (K,).
        events: what the newest n events of the window add to some of the parts, (n, K); n may differ.
    """
    counts = np.zeros((len(parts), products), np.int64)
    places = np.zeros((len(parts), products, MOST_EVENTS), np.int64)
    adds = np.zeros((len(parts), products, MOST_EVENTS), np.float32)
    reasons = []
    for n, part in enumerate(sorted(parts)):
        if part in events:
            _strongest(np.ascontiguousarray(events[part]), length, counts[n], places[n], adds[n])
        reasons.append(Reasons(part, parts[part], counts[n], places[n], adds[n]))
    return reasons


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
        self._values: NDArray[np.float16] | None = None  # (A, D), weighted where the query is not
        self._values_bias = zeros  # (A,) weighted
        self._block = 0  # of the values' query, where queries lie side by side
        if VALUES in counted and not self._only_values:
            weight = heads[VALUES]
            self._values = (parts.outputs[VALUES] * (weight if one_query else 1.0)).astype(np.float16)
            self._values_bias = (weight * parts.biases[VALUES]).astype(np.float32)
            self._block = 0 if one_query else counted.index(VALUES)

    def split(
        self, queries: FloatArray, vectors: FloatArray, biases: FloatArray, rows: NDArray[np.int32]
    ) -> dict[str, FloatArray]:
        """What each of `GROUPS` adds, (…, K).

        Args:
            queries: (…, Q·D) of all heads that count, weighted.
            vectors: (Q·D, K) of the products, of all heads.
            biases: (K,) of all heads.
            rows: (K,) the version's.
        """
        alone = np.broadcast_to(self._alone[rows], (*queries.shape[:-1], len(rows)))
        rest: FloatArray = queries @ vectors + (biases - self._alone[rows])
        if self._only_values:
            return {SEQUENCE: np.zeros_like(rest), ACTION_VALUES: rest, ALONE: alone}
        if self._values is None:
            return {SEQUENCE: rest, ACTION_VALUES: np.zeros_like(rest), ALONE: alone}
        vectors_q = self._values[rows].astype(np.float32)  # (K, D)
        d = vectors_q.shape[1]
        query = queries[..., self._block * d : (self._block + 1) * d]
        values: FloatArray = query @ vectors_q.T + self._values_bias[rows]
        return {SEQUENCE: rest - values, ACTION_VALUES: values, ALONE: alone}
