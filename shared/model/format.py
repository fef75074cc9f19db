"""A model version: a folder, never half visible, of parts that score products.

    encoder.onnx             where there is no action network: products (B, T, D), features (B, T, F), lengths (B,) →
                             queries, of each head (B, H, D) or one for all (B, 1, D)
    items.safetensors        input (A, D); per head of an encoder bias.<head> (A,) and, unless the head is its bias
                             alone, output.<head> (A, D); mixture (C, E), where it weighs the tally's experts
    network.safetensors      the arrays of the action network (`shared.model.candidates.ActionNetwork`), where there is
                             one, whose outputs the heads are then
    neighbours.safetensors   where there are any, per relation the starts (A + 1,), products (N,) and values (N,) of
                             `shared.model.neighbours.Neighbours`
    golden.safetensors       a few users' windows and the learner's own scores of them; of an action network, a few
                             candidates' features and the learner's own outputs
    products.txt             row → product_id, append-only within a lineage
    manifest.json            hashes, weights of the heads, log positions, metrics

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

from shared.model.candidates import HEADS, ActionNetwork
from shared.model.neighbours import Neighbours, recency_weights
from shared.state.histories import Window

SCHEMA_VERSION = 3
MANIFEST = "manifest.json"
FILES = ("items.safetensors", "golden.safetensors", "products.txt")
ENCODER, NETWORK = "encoder.onnx", "network.safetensors"  # a version has one of the two
NEIGHBOURS = "neighbours.safetensors"

# Why a version, or a record of the models topic, is not used.
REASONS = ("undecodable", "missing", "hash", "manifest", "schema", "format", "shape", "not_finite", "encoder", "golden")

# A head of this name holds action values.
VALUES = "q"

# Golden scores are computed by another engine than the learner's: differences up to this are rounding.
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
    # In place of decay and last: what each event counts, the newest first; they sum to 1, however long the history is.
    lags: tuple[float, ...] = ()

    def weights(self, length: int) -> NDArray[np.float64]:
        """What each event of a history of so many counts, oldest first, (n,)."""
        if not self.lags:
            return self.weight * recency_weights(length, self.decay, self.last)
        lags = np.array(self.lags[:length])
        return self.weight * np.concatenate([np.zeros(length - len(lags)), lags[::-1]])


class Manifest(BaseModel):
    """A version's description. The same replay gives the same manifest, byte for byte."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    version_id: str
    policy: str
    parent: str = ""
    # Head → weight in the score, in the order of the queries; those that are their bias alone come last.
    heads: dict[str, float] = Field(min_length=1)
    # Popularity's share of the mixture; with those of `neighbours` it sums to 1. 0: the heads alone count.
    popularity_weight: float = Field(1.0, ge=0, le=1)
    neighbours: dict[str, NeighbourPart] = Field(default_factory=dict)
    # What experts the mixture has, as `shared.model.mixture.EXPERT_NAMES` puts it; empty: popularity and neighbours.
    experts: str = ""
    # What the action network reads of a candidate, in order, and its hidden units; empty and 0: there is an encoder.
    network_features: list[str] = Field(default_factory=list)
    hidden: int = Field(default=0, ge=0, le=1024)
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
    # False: gradient steps that were due were left out to keep up, so the same replay may give another version.
    deterministic: bool = True
    files: dict[str, StoredFile] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _orders_every_product(self) -> Self:
        if self.neighbours and not self.popularity_weight:
            raise ValueError("popularity_weight is 0 beside neighbours, which know too few products to rank all")
        return self

    @model_validator(mode="after")
    def _has_a_mixture_beside_a_network(self) -> Self:
        if self.network_features and tuple(self.heads) != HEADS:
            heads = ", ".join(self.heads)
            raise ValueError(f"the heads {heads} are not those of an action network, {', '.join(HEADS)}")
        return self


@dataclass(frozen=True, slots=True)
class Parts:
    """What scores products; A products, H heads, D dimensions."""

    encoder: bytes  # ONNX; empty where there is a network
    input: NDArray[np.float32]  # (A, D)
    outputs: Mapping[str, NDArray[np.float32]]  # head → (A, D), of all heads that are more than their bias
    biases: Mapping[str, NDArray[np.float32]]  # head → (A,)
    products: Sequence[str]  # row → product_id
    neighbours: Mapping[str, Neighbours] = field(default_factory=dict)  # relation → what follows what
    mixture: NDArray[np.float32] | None = None  # (C, E) what each expert counts; None: popularity and neighbours do
    network: ActionNetwork | None = None  # puts the candidates of the mixture in order


@dataclass(frozen=True, slots=True)
class Golden:
    """A few windows with the learner's own scores, by which another engine is checked; G windows, K products."""

    window: Window  # of G users
    rows: NDArray[np.int32]  # (G, K) products whose scores are given
    scores: NDArray[np.float32]  # (G, K)


@dataclass(frozen=True, slots=True)
class GoldenCandidates:
    """Features of a few candidates with what the learner's own engine says of them."""

    features: NDArray[np.float32]  # (F, K)
    outputs: NDArray[np.float32]  # (2, K) by `HEADS`
