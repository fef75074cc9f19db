"""A model version ready to score: its encoder in ONNX Runtime, its items as one matrix in the caller's own rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from shared import ranking
from shared.errors import BadEvent
from shared.heads import HeadVectors
from shared.history import EVENT_FEATURES, Window
from shared.models import GOLDEN_TOLERANCE, Golden, Manifest, Parts, read_version
from shared.neighbours import Related

# What an encoder answers. The second is told by those that read one event after the other, where heads share a query.
QUERIES, AFTER_EACH = ["queries"], ["after_each"]


class Scorer:
    """Scores the caller's products with one model version.

    Args:
        row_of: product_id → the caller's row, giving the product one when it has none.
        products: called after `row_of` of every product; how many rows the caller has.

    Raises:
        BadEvent: the encoder can't be loaded, or its answers are not the learner's own.
    """

    def __init__(
        self,
        manifest: Manifest,
        parts: Parts,
        golden: Golden,
        row_of: Callable[[str], int],
        products: Callable[[], int],
    ) -> None:
        self.manifest = manifest
        self._session, queries = _session(parts.encoder, manifest, len(parts.outputs))
        self._tells_each = len(self._session.get_outputs()) > 1
        weights = np.array(list(manifest.heads.values()), np.float32)
        has_output = np.array([head in parts.outputs for head in manifest.heads])
        counted = np.flatnonzero(weights * has_output)  # a head without weight need not be asked
        # Of each query that counts: its place in the encoder's output, and what it weighs there; Q of them. Heads that
        # share a query are one sum of weighted vectors.
        self._queries = counted if queries > 1 else np.zeros(int(counted.size > 0), np.int64)
        self._weights: NDArray[np.float32] = weights[counted, None] if queries > 1 else np.ones((1, 1), np.float32)
        rows = np.array([row_of(product) for product in parts.products], np.int64)
        a, d = products(), manifest.dimension
        self._input: NDArray[np.float32] = np.zeros((a + 1, d), np.float32)  # the last row is padding's
        self._items: NDArray[np.float32] = np.zeros((len(self._queries) * d, a), np.float32)
        self._bias: NDArray[np.float32] = np.full(a, -np.inf, np.float32)  # of products it does not know
        self._version_rows: NDArray[np.int32] = np.full(a + 1, -1, np.int32)  # the caller's row → the version's
        self._version_rows[rows] = np.arange(len(rows), dtype=np.int32)
        counting = [
            (part.weights, replace(own := parts.neighbours[relation], products=rows[own.products].astype(np.int32)))
            for relation, part in manifest.neighbours.items()
            if part.weight
        ]
        self._related = Related(counting, a) if counting else None
        self._input[rows] = parts.input
        self._per_length: NDArray[np.float32] | None = None  # (A + 1, 1) of `_input`, once it is asked for
        if queries > 1:
            for c, head in enumerate(np.array(list(manifest.heads))[counted]):
                self._items[c * d : (c + 1) * d, rows] = parts.outputs[head].T
        elif counted.size:
            outputs = [manifest.heads[head] * output for head, output in parts.outputs.items()]
            self._items[:, rows] = np.sum(outputs, axis=0).T
        self._bias[rows] = sum(weight * parts.biases[head] for head, weight in manifest.heads.items())
        self._heads = HeadVectors(manifest.heads, parts, one_query=queries == 1)
        self._check(golden, rows)

    @property
    def products(self) -> int:
        """Rows that can be scored; products that came later have none."""
        return len(self._bias)

    @property
    def history_length(self) -> int:
        """Events that are read of a history."""
        return self.manifest.history_length

    @property
    def popularity_weight(self) -> float:
        """What popularity counts in the mixture with `related`."""
        return self.manifest.popularity_weight

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the encoder is given of each of these products, at length 1, (n, D); zeros where that is nothing."""
        rows = np.minimum(rows, self.products)
        if self._per_length is None:
            lengths = np.linalg.norm(self._input, axis=1, keepdims=True)
            self._per_length = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        unit: NDArray[np.float32] = self._input[rows] * self._per_length[rows]
        return unit

    def related(self, window: Window) -> NDArray[np.float32]:
        """Weighted shares of the products that follow those of the history, (A,)."""
        if self._related is None:
            return np.zeros(self.products, np.float32)
        window = window.newest(self.manifest.history_length)
        history = window.products[0, : int(window.lengths[0])]
        return self._related.shares(self._version_rows[np.minimum(history, self.products)])

    def related_by_event(self, window: Window, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """What each event of a window of one user adds to `related` of some products, (n, K), oldest first.

        Events beyond the length of history that the version was trained on are left out: n may be less than the
        window's length.
        """
        window = window.newest(self.manifest.history_length)
        history = window.products[0, : int(window.lengths[0])]
        result = np.zeros((len(history), len(rows)), np.float32)
        if self._related is not None:
            own = rows < self.products
            history = self._version_rows[np.minimum(history, self.products)]
            result[:, own] = self._related.by_event(history, rows[own])
        return result

    def by_head(self, window: Window, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """What each group of heads says of some products, weighted, before any event and after each one.

        Args:
            window: of B users with n events each, n no more than the version's own length of history.
            rows: (K,) the caller's, of products that the version knows.

        Returns:
            `shared.heads.GROUPS` → (B, n + 1, K); the last of each add up to `scores`.
        """
        b, n = len(window.lengths), int(window.lengths[0])
        queries = np.zeros((b, n + 1, self._items.shape[0]), np.float32)
        if n and len(self._items):
            products = np.minimum(window.products[:, :n], self.products)
            after = self._after_each(products, window.features[:, :n])  # (B, n, H or 1, D)
            queries[:, 1:] = (after[:, :, self._queries] * self._weights).reshape(b, n, -1)
        vectors, biases = self._items[:, rows], self._bias[rows]
        return self._heads.split(queries, vectors, biases, self._version_rows[rows])

    def scores(self, window: Window) -> NDArray[np.float32]:
        """What the heads say of every product for one user, weighted, (A,); -inf where they know nothing of it.

        The window's rows are the caller's; those the version does not know count as unknown products, and events
        beyond the length of history that it was trained on are left out.
        """
        window = window.newest(self.manifest.history_length)
        length = max(1, int(window.lengths[0]))
        products = np.minimum(window.products[:, :length], self.products)  # beyond the last row lies padding's
        queries = self._queries_of(products, window.features[:, :length], window.lengths)  # (1, H or 1, D)
        return ranking.scores((queries[0, self._queries] * self._weights).reshape(-1), self._items, self._bias)

    def _queries_of(
        self, products: NDArray[np.int32], features: NDArray[np.float32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """(B, T) rows of `_input`, (B, T, F), (B,) → the encoder's queries, (B, H or 1, D)."""
        inputs = {"products": self._input[products], "features": features, "lengths": lengths}
        queries: NDArray[np.float32] = self._session.run(QUERIES, inputs)[0]
        return queries

    def _after_each(self, products: NDArray[np.int32], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, n) rows of `_input`, (B, n, F) → the encoder's queries after each event, (B, n, H or 1, D)."""
        b, n = products.shape
        if self._tells_each:
            inputs = {"products": self._input[products], "features": features, "lengths": np.full(b, n, np.int32)}
            after: NDArray[np.float32] = self._session.run(AFTER_EACH, inputs)[0]
            return after[:, :, None]
        lengths = np.tile(np.arange(1, n + 1, dtype=np.int32), b)
        to_come = np.arange(n) >= lengths[:, None]  # (B·n, n)
        products, features = products.repeat(n, axis=0), features.repeat(n, axis=0)
        products[to_come], features[to_come] = self.products, 0.0
        found = self._queries_of(products, features, lengths)
        return found.reshape(b, n, *found.shape[1:])

    def _check(self, golden: Golden, rows: NDArray[np.int64]) -> None:
        for g in range(len(golden.window.lengths)):
            own = golden.window.products[g : g + 1]
            window = Window(
                np.where(own >= 0, rows[own], -1).astype(np.int32) if len(rows) else own,
                golden.window.features[g : g + 1],
                golden.window.lengths[g : g + 1],
            )
            found = self.scores(window)[rows[golden.rows[g]]]
            if not np.allclose(found, golden.scores[g], rtol=GOLDEN_TOLERANCE, atol=GOLDEN_TOLERANCE):
                worst = float(np.abs(found - golden.scores[g]).max())
                raise BadEvent("golden", f"{self.manifest.version_id}: golden query {g} is off by {worst:g}")


def load_scorer(
    folder: Path, manifest_sha256: str | None, row_of: Callable[[str], int], products: Callable[[], int]
) -> Scorer:
    """Read, check and ready a version.

    Raises:
        BadEvent: it must not be served; the reason says why.
    """
    try:
        return Scorer(*read_version(folder, manifest_sha256), row_of, products)
    except BadEvent:
        raise
    except Exception as error:  # what is wrong with a version must never end a service
        raise BadEvent("encoder", f"{folder.name}: {type(error).__name__}: {error}") from error


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
