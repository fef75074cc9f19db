"""A model version: a folder, never half visible, of parts that score products.

    encoder.onnx             products (B, T, D), features (B, T, F), lengths (B,) → queries, of each head (B, H, D) or
                             one for all (B, 1, D)
    items.safetensors        input (A, D); per head bias.<head> (A,) and, but where it is the bias alone,
                             output.<head> (A, D)
    neighbours.safetensors   where there are any, per relation the starts (A + 1,), products (N,) and values (N,) of
                             `shared.model.neighbours.Neighbours`
    golden.safetensors       a few users' windows and the scores the learner itself gave them
    products.txt             row → product_id, append-only within a lineage
    manifest.json            hashes, weights of the heads, where in the log it stands, how it did

What is served is in `shared.model.served`, how it is written and read in `shared.model.files`. No pickle is ever
loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.model.neighbours import Neighbours, recency_weights
from shared.state.histories import Window

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
FILES = ("encoder.onnx", "items.safetensors", "golden.safetensors", "products.txt")
NEIGHBOURS = "neighbours.safetensors"

# Why a version, or a record of the models topic, is not used.
REASONS = (
    "undecodable",
    "missing",
    "hash",
    "manifest",
    "schema",
    "format",
    "shape",
    "not_finite",
    "encoder",
    "golden",
)

# Golden scores are computed by another engine than the learner's: this much of difference is rounding.
GOLDEN_TOLERANCE = 1e-3


class StoredFile(BaseModel):
    """One file of a version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size_bytes: int


class NeighbourPart(BaseModel):
    """How one relation between products enters the score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(ge=0, le=1)  # its share of the mixture with popularity
    decay: float = Field(default=1.0, gt=0, le=1)  # what an event of the history counts beside the one after it
    last: int = Field(default=0, ge=0)  # newest events of the history that count; 0: all
    # In place of these: what each event counts, the newest first, whether the history is as long or not; they sum to 1.
    lags: tuple[float, ...] = ()

    def weights(self, length: int) -> NDArray[np.float64]:
        """What each event of a history of so many counts, oldest first, (n,)."""
        if not self.lags:
            return self.weight * recency_weights(length, self.decay, self.last)
        lags = np.array(self.lags[:length])
        return self.weight * np.concatenate([np.zeros(length - len(lags)), lags[::-1]])


class Manifest(BaseModel):
    """What a version says of itself. The same replay gives the same manifest, byte for byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    version_id: str
    policy: str
    parent: str = ""
    # Head → weight in the score, in the order of the queries; those that are their bias alone come last.
    heads: dict[str, float] = Field(min_length=1)
    # Popularity's share of the mixture; 1 with those of `neighbours`. 0, where there are none: the heads alone count.
    popularity_weight: float = Field(1.0, ge=0, le=1)
    neighbours: dict[str, NeighbourPart] = Field(default_factory=dict)
    history_length: int  # T
    event_features: list[str]  # names of the F columns
    dimension: int  # D
    products: int  # A
    epsilon: float  # exploration rate
    discount: float
    metrics: dict[str, float] = Field(default_factory=dict)  # on the validation part of the stream
    positions: dict[str, int]  # partition of `freshet.events` → next offset not learned
    applied_events: int
    steps: int
    ordered: bool
    files: dict[str, StoredFile] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _orders_every_product(self) -> Self:
        if self.neighbours and not self.popularity_weight:
            raise ValueError("popularity_weight is 0 beside neighbours, which know too few products to rank all")
        return self


@dataclass(frozen=True, slots=True)
class Parts:
    """What scores products; A products, H heads, D dimensions."""

    encoder: bytes  # ONNX
    input: NDArray[np.float32]  # (A, D)
    outputs: Mapping[str, NDArray[np.float32]]  # head → (A, D), of all that are more than their bias
    biases: Mapping[str, NDArray[np.float32]]  # head → (A,)
    products: Sequence[str]  # row → product_id
    neighbours: Mapping[str, Neighbours] = field(default_factory=dict)  # relation → who follows whom


@dataclass(frozen=True, slots=True)
class Golden:
    """A few windows with the learner's own scores, to check another engine by; G windows, K products."""

    window: Window  # of G users
    rows: NDArray[np.int32]  # (G, K) products whose scores are given
    scores: NDArray[np.float32]  # (G, K)


# Which of a version's heads made how much of a score: what is kept of each, beside their sum that serves.

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
