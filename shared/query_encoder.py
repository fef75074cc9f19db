"""A model version's encoder in ONNX Runtime: from a history to what its heads' item vectors are multiplied with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from shared.errors import BadEvent
from shared.event_features import EVENT_FEATURES
from shared.models import Manifest, Parts

FloatArray = NDArray[np.float32]

# What an encoder answers. The second is told by those that read one event after the other, where heads share a query.
QUERIES, AFTER_EACH = ["queries"], ["after_each"]


class QueryEncoder:
    """Encodes histories of one user: n events of which each is its product's vector, (n, D), and features, (n, F).

    Attributes:
        one_query: whether all heads share one; else each has its own, and they lie side by side.
        counted: of each query that counts its place among the encoder's, (Q,); a head without weight need not be asked.
        width: Q·D, the length of all of them together.
        tells_each: whether it tells, without being run anew, what there was after each event.

    Raises:
        BadEvent: the encoder can't be loaded, or takes or gives something else.
    """

    def __init__(self, manifest: Manifest, parts: Parts) -> None:
        self._session, queries = _session(parts.encoder, manifest, len(parts.outputs))
        weights = np.array(list(manifest.heads.values()), np.float32)
        counted = np.flatnonzero(weights * np.array([head in parts.outputs for head in manifest.heads]))
        self.one_query = queries == 1
        self.counted = np.zeros(int(counted.size > 0), np.int64) if self.one_query else counted
        self.width = len(self.counted) * manifest.dimension
        self.tells_each = len(self._session.get_outputs()) > 1
        self._weights: FloatArray = np.ones((1, 1), np.float32) if self.one_query else weights[counted, None]

    def query(self, vectors: FloatArray, features: FloatArray) -> FloatArray:
        """After a whole history, weighted, (Q·D,); one without events is nothing at all."""
        n = len(vectors)
        if not n:
            vectors, features = (
                np.zeros((1, vectors.shape[1]), np.float32),
                np.zeros((1, features.shape[1]), np.float32),
            )
        found: FloatArray = self._run(vectors[None], features[None], np.array([n], np.int32))[0]
        return found

    def after_each(self, vectors: FloatArray, told: Sequence[FloatArray]) -> FloatArray:
        """After each event, weighted, (W, n, Q·D).

        Args:
            told: features of the same events in W ways.
        """
        n = len(vectors)
        if not n or not self.width:
            return np.zeros((len(told), n, self.width), np.float32)
        if not self.tells_each:
            return np.stack([self._after_beginnings(vectors, features) for features in told])
        inputs = {
            "products": np.stack([vectors] * len(told)),
            "features": np.stack(told),
            "lengths": np.full(len(told), n, np.int32),
        }
        found: FloatArray = self._session.run(AFTER_EACH, inputs)[0]
        return found

    def _after_beginnings(self, vectors: FloatArray, features: FloatArray) -> FloatArray:
        """By encoding each beginning of the history, (n, Q·D)."""
        n = len(vectors)
        lengths = np.arange(1, n + 1, dtype=np.int32)
        happened = (np.arange(n) < lengths[:, None])[..., None]  # (n, n, 1)
        return self._run(np.where(happened, vectors, 0.0), np.where(happened, features, 0.0), lengths)

    def _run(self, vectors: FloatArray, features: FloatArray, lengths: NDArray[np.int32]) -> FloatArray:
        """(B, T, D), (B, T, F), (B,) → (B, Q·D)."""
        inputs = {"products": vectors, "features": features, "lengths": lengths}
        queries: FloatArray = self._session.run(QUERIES, inputs)[0]  # (B, H or 1, D)
        return (queries[:, self.counted] * self._weights).reshape(len(lengths), -1)


def _session(encoder: bytes, manifest: Manifest, heads: int) -> tuple[onnxruntime.InferenceSession, int]:
    """The encoder, ready to run, and how many queries it gives: one for all heads that want any, or one for each."""
    version_id = manifest.version_id
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(encoder, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise BadEvent("encoder", f"{version_id}: {error}") from error
    names = [node.name for node in session.get_inputs()]
    if names != ["products", "features", "lengths"]:
        raise BadEvent("encoder", f"{version_id}: the encoder takes {names}")
    d, features = (node.shape[-1] for node in session.get_inputs()[:2])
    if features != len(EVENT_FEATURES):
        raise BadEvent("encoder", f"{version_id}: the encoder takes {features} event features")
    if d != manifest.dimension:
        raise BadEvent("encoder", f"{version_id}: the encoder takes vectors of length {d}, not {manifest.dimension}")
    if (names := [node.name for node in session.get_outputs()]) not in (QUERIES, QUERIES + AFTER_EACH):
        raise BadEvent("encoder", f"{version_id}: the encoder gives {names}")
    queries = session.get_outputs()[0].shape[1]
    if queries not in (1, heads):
        raise BadEvent("encoder", f"{version_id}: the encoder gives {queries} queries for {heads} heads")
    return session, queries
