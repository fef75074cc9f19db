"""How much products are like each other: in what the catalogue says of them and in what a version has learned. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.inference.attributes import Attributes
from shared.scoring import Scorer

FloatArray = NDArray[np.float32]


def likeness(rows: NDArray[np.int64], attributes: Attributes, version: Scorer | None) -> FloatArray:
    """How much each of P products is like each other one, (P, P), [0, 1].

    The cosine of their categories and brands, see `Attributes`, and that of the vectors that the version has learned,
    negative ones as 0: the mean of both where both products have both, else the one that both have.
    """
    named, alike = _alike_by_name(rows, attributes)
    if version is None:
        return alike
    vectors = version.vectors(rows)  # (P, D)
    learned = vectors.any(axis=1)
    cosine = np.maximum(vectors @ vectors.T, 0.0)
    if named.all() and learned.all():
        counts: FloatArray | np.float32 = np.float32(2.0)
    else:
        counts = np.maximum(np.outer(named, named).astype(np.float32) + np.outer(learned, learned), 1.0)
    result: FloatArray = (alike + cosine) / counts
    return result


def _alike_by_name(rows: NDArray[np.int64], attributes: Attributes) -> tuple[NDArray[np.bool_], FloatArray]:
    """Which products have categories or a brand, (P,), and the cosine of these, (P, P)."""
    tags, weights = attributes.tags[rows], attributes.weights[rows]  # (P, K)
    codes, places = tags.ravel(), np.arange(tags.size)
    winner: NDArray[np.int64] = np.empty(attributes.codes + 1, np.int64)  # code → one of its places; last: of no tag
    winner[codes] = places
    winners = winner[codes]
    column = (np.cumsum(winners == places) - 1)[winners]  # of each place: codes are numbered anew, without gaps
    spread: FloatArray = np.zeros((len(rows), int(column.max(initial=-1)) + 1), np.float32)
    spread[places // tags.shape[1], column] = weights.ravel()
    return np.any(weights, axis=1), np.matmul(spread, spread.T)
