"""What made the scores that were served: parts that add up to them, and the past events that made each part. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.heads import ACTION_VALUES, ALONE, SEQUENCE
from shared.history import EVENT_FEATURES, Window
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.policies.served import Served

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

MOST_EVENTS = 3  # of a reason that are told,
LEAST_SHARE = 0.1  # each of which adds at least so much beside the strongest
SENTIMENT = EVENT_FEATURES.index("sentiment")

# Smaller parts of a score are rounding.
NOTHING = 1e-6


class Explains(Protocol):
    """A version that tells apart what it adds, such as `shared.scoring.Scorer`."""

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
        """What each of `shared.heads.GROUPS` adds to some products before any event and after each, (B, n + 1, K)."""
        ...


class Reason(NamedTuple):
    """One part of a score."""

    part: pb.Part.ValueType
    score: float
    events: tuple[tuple[int, float], ...] = ()  # place in the window, what it adds to the part; the strongest first


def explain(
    scored: Served,
    version: Explains | None,
    window: Window | None,
    rows: IntArray,
    boosts: FloatArray | None = None,
    popularity_out: float = 0.0,
) -> list[tuple[Reason, ...]]:
    """The reasons of some products' scores, in the order of `Part`; those of one add up to its score.

    What each past event adds: to co-occurrence its own part of what all of them share out; to the encoder's parts what
    it changed when it came, so that with what is said before any event these add up to the part. Leaving out each event
    in turn (occlusion) would tell as much and cost an encoding per event.

    Args:
        scored: of the version after this window.
        rows: (K,) of products.
        boosts: (A,) that were added to these scores.
        popularity_out: how much of log-popularity was taken out of them.
    """
    k = len(rows)
    parts: dict[pb.Part.ValueType, FloatArray] = {}
    events: dict[pb.Part.ValueType, FloatArray] = {}  # (n, K) of the newest n
    logs: FloatArray = np.log(scored.shares[rows])
    parts[pb.PART_TRENDING] = _popularity(logs, scored.popularity_weight)
    if version is not None and window is not None and scored.learned is not None:
        if scored.popularity_weight:
            parts[pb.PART_CO_OCCURRENCE], events[pb.PART_CO_OCCURRENCE] = _co_occurrence(scored, version, window, rows)
        _learned(scored, scored.learned, version, window.newest(version.history_length), rows, parts, events)
    if popularity_out:
        parts[pb.PART_TRENDING] = parts[pb.PART_TRENDING] - np.float32(popularity_out) * logs
    if len(scored.content_rows):
        parts[pb.PART_CONTENT] = _of_rows(scored.content_rows, scored.content, rows)
    if boosts is not None:
        parts[pb.PART_BOOST] = boosts[rows]
    length = 0 if window is None else int(window.lengths[0])
    return _reasons(k, length, parts, events)


def _popularity(logs: FloatArray, weight: float) -> FloatArray:
    """log(w_p · share), (K,); nothing where popularity does not count."""
    return logs + np.float32(np.log(weight)) if weight else np.zeros_like(logs)


def _co_occurrence(scored: Served, version: Explains, window: Window, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """log(mixture) - log(w_p · share), (K,), and what each past event shares in it, (n, K)."""
    own = version.related_by_event(window, rows)
    related = own.sum(axis=0)
    counted = np.float32(scored.popularity_weight) * scored.shares[rows]
    found: FloatArray = np.log1p(related / counted, dtype=np.float32)
    return found, own * np.divide(found, related, out=np.zeros_like(found), where=related > 0.0)


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
    k, n = len(rows), int(window.lengths[0])
    known = np.flatnonzero((rows < len(learned)) & (learned[np.minimum(rows, len(learned) - 1)] > -np.inf))
    said = version.by_head(_with_and_without_sentiment(window), rows[known])
    neutral = {group: own[0] for group, own in said.items()}  # (n + 1, K)
    felt = sum(own[-1] for own in said.values()) - sum(neutral.values())  # likewise

    def put(part: pb.Part.ValueType, after: FloatArray, unknown: float) -> None:
        parts[part], own = np.full(k, unknown, np.float32), np.zeros((n, k), np.float32)
        parts[part][known], own[:, known] = after[-1], np.diff(after, axis=0)
        events[part] = own

    alone = np.zeros(k, np.float32)
    alone[known] = neutral[ALONE][-1]
    parts[pb.PART_TRENDING] = parts[pb.PART_TRENDING] + alone
    put(pb.PART_SEQUENCE, neutral[SEQUENCE], scored.average)
    put(pb.PART_Q, neutral[ACTION_VALUES], 0.0)
    put(pb.PART_SENTIMENT, felt, 0.0)


def _with_and_without_sentiment(window: Window) -> Window:
    """One user's history as if no text had any sentiment, and, where one has, as it was."""
    n = int(window.lengths[0])
    products, features = window.products[:, :n], window.features[:, :n]
    if not features[..., SENTIMENT].any():
        return Window(products, features, window.lengths)
    neutral = features.copy()
    neutral[..., SENTIMENT] = 0.0
    return Window(products.repeat(2, axis=0), np.concatenate([neutral, features]), window.lengths.repeat(2))


def _of_rows(known: NDArray[np.int32], values: FloatArray, rows: IntArray) -> FloatArray:
    """The values of some rows, (K,); 0 of those that are not among the known ones, which ascend."""
    rows = rows.astype(known.dtype)  # lest all that is known be converted
    places = np.minimum(np.searchsorted(known, rows), len(known) - 1)
    found: FloatArray = np.where(known[places] == rows, values[places], np.float32(0.0))
    return found


def _reasons(
    k: int, length: int, parts: Mapping[pb.Part.ValueType, FloatArray], events: Mapping[pb.Part.ValueType, FloatArray]
) -> list[tuple[Reason, ...]]:
    found: list[list[Reason]] = [[] for _ in range(k)]
    strongest = _strongest(events, length) if events else {}
    for part in sorted(parts):
        for reasons, score, told in zip(found, parts[part].tolist(), strongest.get(part, [()] * k), strict=True):
            if told or abs(score) > NOTHING:
                reasons.append(Reason(part, score, told))
    return list(map(tuple, found))


def _strongest(
    events: Mapping[pb.Part.ValueType, FloatArray], length: int
) -> dict[pb.Part.ValueType, list[tuple[tuple[int, float], ...]]]:
    """Of each part and product the events that add most, with their places in a window whose newest n events they are.

    Args:
        events: of each part what the events add, (n, K).
        length: of the window.
    """
    own = np.stack(list(events.values())).transpose(0, 2, 1)  # (P, K, n)
    best = np.argsort(-np.abs(own), axis=2, kind="stable")[:, :, :MOST_EVENTS]
    scores = np.take_along_axis(own, best, axis=2)
    sizes = np.abs(scores)
    counts = (sizes > np.maximum(LEAST_SHARE * sizes[:, :, :1], NOTHING)).sum(axis=2)
    rows = zip((best + (length - own.shape[2])).tolist(), scores.tolist(), counts.tolist(), strict=True)
    return {
        part: [tuple(zip(at[:n], adds, strict=False)) for at, adds, n in zip(*of_part, strict=True)]
        for part, of_part in zip(events, rows, strict=True)
    }
