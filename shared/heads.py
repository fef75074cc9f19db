"""Which of a version's heads made how much of a score: what is kept of each, beside their sum that serves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shared.models import Parts

FloatArray = NDArray[np.float32]

# A head of this name holds action values.
VALUES = "q"

# What encoders say of a sequence, what they say of values to come, and what was learned of a product whoever asks.
GROUPS = SEQUENCE, ACTION_VALUES, ALONE = "sequence", "values", "alone"


class HeadVectors:
    """Tells the sequence's part of a score from that of action values, and from heads that are their bias alone.

    Those that serve are one sum of vectors, or lie side by side; beside it only the values' own vectors are kept, at
    half precision: what that rounds off one part it adds to the other.

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
        """What each of `GROUPS` says, (…, K).

        Args:
            queries: (…, Q·D) of all heads that count, weighted.
            vectors: (Q·D, K) of the products, of all heads.
            biases: (K,) of all heads.
            rows: (K,) the version's own.
        """
        alone = np.broadcast_to(self._alone[rows], (*queries.shape[:-1], len(rows)))
        rest: FloatArray = queries @ vectors + (biases - self._alone[rows])
        if self._only_values:
            return {SEQUENCE: np.zeros_like(rest), ACTION_VALUES: rest, ALONE: alone}
        if self._values is None:
            return {SEQUENCE: rest, ACTION_VALUES: np.zeros_like(rest), ALONE: alone}
        own = self._values[rows].astype(np.float32)  # (K, D)
        d = own.shape[1]
        values: FloatArray = queries[..., self._block * d : (self._block + 1) * d] @ own.T + self._values_bias[rows]
        return {SEQUENCE: rest - values, ACTION_VALUES: values, ALONE: alone}
