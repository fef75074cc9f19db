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
from shared.event_features import EVENT_FEATURES
from shared.heads import HeadVectors
from shared.history import Window
from shared.model_files import read_version
from shared.models import GOLDEN_TOLERANCE, Golden, Manifest, Parts
from shared.neighbours import Beside, Related

FloatArray = NDArray[np.float32]

# What an encoder answers. The second is told by those that read one event after the other, where heads share a query.
QUERIES, AFTER_EACH = ["queries"], ["after_each"]


class _Read:
    """What was looked up of one user's window: who asks for the reasons of scores needs it once more."""

    __slots__ = ("after_each", "beside", "newest", "window")

    def __init__(self, window: Window, length: int) -> None:
        self.window = window
        self.newest = window.newest(length)  # events beyond those the version was trained on are left out
        self.beside: Beside | None = None  # what co-occurs, once it was asked for
        self.after_each: FloatArray | None = None  # (n, D) queries, once an encoder that tells them was asked


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
        self._latest: _Read | None = None
        weights = np.array(list(manifest.heads.values()), np.float32)
        has_output = np.array([head in parts.outputs for head in manifest.heads])
        counted = np.flatnonzero(weights * has_output)  # a head without weight need not be asked
        # Of each query that counts: its place in the encoder's output, and what it weighs there; Q of them. Heads that
        # share a query are one sum of weighted vectors.
        self._queries = counted if queries > 1 else np.zeros(int(counted.size > 0), np.int64)
        self._weights: FloatArray = weights[counted, None] if queries > 1 else np.ones((1, 1), np.float32)
        rows = np.array([row_of(product) for product in parts.products], np.int64)
        a, d = products(), manifest.dimension
        self._input: FloatArray = np.zeros((a + 1, d), np.float32)  # the last row is padding's
        self._items: FloatArray = np.zeros((len(self._queries) * d, a), np.float32)
        self._bias: FloatArray = np.full(a, -np.inf, np.float32)  # of products it does not know
        self._version_rows: NDArray[np.int32] = np.full(a + 1, -1, np.int32)  # the caller's row → the version's
        self._version_rows[rows] = np.arange(len(rows), dtype=np.int32)
        counting = [
            (part.weights, replace(own := parts.neighbours[relation], products=rows[own.products].astype(np.int32)))
            for relation, part in manifest.neighbours.items()
            if part.weight
        ]
        self._related = Related(counting, a) if counting else None
        self._input[rows] = parts.input
        self._per_length: FloatArray | None = None  # (A + 1, 1) of `_input`, once it is asked for
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

    def vectors(self, rows: NDArray[np.int64]) -> FloatArray:
        """What the encoder is given of each of these products, at length 1, (n, D); zeros where that is nothing."""
        rows = np.minimum(rows, self.products)
        if self._per_length is None:
            lengths = np.linalg.norm(self._input, axis=1, keepdims=True)
            self._per_length = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        unit: FloatArray = self._input[rows] * self._per_length[rows]
        return unit

    def related(self, window: Window) -> FloatArray:
        """Weighted shares of the products that follow those of the history, (A,)."""
        if self._related is None:
            return np.zeros(self.products, np.float32)
        return self._related.shares(self._beside(window, self._related))

    def related_by_event(self, window: Window, rows: NDArray[np.int64]) -> FloatArray:
        """What each event of a window of one user adds to `related` of some products, (n, K), oldest first.

        Events beyond the length of history that the version was trained on are left out: n may be less than the
        window's length.
        """
        result = np.zeros((min(int(window.lengths[0]), self.manifest.history_length), len(rows)), np.float32)
        if self._related is not None:
            own = rows < self.products
            result[:, own] = self._related.by_event(self._beside(window, self._related), rows[own])
        return result

    def by_head(self, window: Window, rows: NDArray[np.int64]) -> dict[str, FloatArray]:
        """What each group of heads says of some products, weighted, before any event of one user and after each one.

        Args:
            window: as in `scores`; n events of it are read.
            rows: (K,) the caller's, of products that the version knows.

        Returns:
            `shared.heads.GROUPS` → (n + 1, K); the last of each add up to `scores`.
        """
        read = self._read(window)
        n = int(read.newest.lengths[0])
        queries = np.zeros((n + 1, self._items.shape[0]), np.float32)
        if n and len(self._items):
            queries[1:] = self._after_each(read) if self._tells_each else self._after_beginnings(read.newest)
        return self._heads.split(queries, self._items[:, rows], self._bias[rows], self._version_rows[rows])

    def scores(self, window: Window) -> FloatArray:
        """What the heads say of every product for one user, weighted, (A,); -inf where they know nothing of it.

        The window's rows are the caller's; those the version does not know count as unknown products, and events
        beyond the length of history that it was trained on are left out.
        """
        read = self._read(window)
        newest = read.newest
        if self._tells_each and newest.lengths[0]:
            query = self._after_each(read)[-1]
        else:
            length = max(1, int(newest.lengths[0]))
            query = self._queries_of(newest.products[:, :length], newest.features[:, :length], newest.lengths)[0]
        return ranking.scores(query, self._items, self._bias)

    def _read(self, window: Window) -> _Read:
        """What is known of a window; of the latest one it is kept."""
        read = self._latest
        if read is None or read.window is not window:
            read = self._latest = _Read(window, self.manifest.history_length)
        return read

    def _beside(self, window: Window, related: Related) -> Beside:
        read = self._read(window)
        if read.beside is None:
            history = read.newest.products[0, : int(read.newest.lengths[0])]
            read.beside = related.beside(self._version_rows[np.minimum(history, self.products)])
        return read.beside

    def _queries_of(self, products: NDArray[np.int32], features: FloatArray, lengths: NDArray[np.int32]) -> FloatArray:
        """(B, T) the caller's rows, (B, T, F), (B,) → queries of all heads that count, weighted, (B, Q·D)."""
        known = np.minimum(products, self.products)  # beyond the last row lies padding's
        inputs = {"products": self._input[known], "features": features, "lengths": lengths}
        queries: FloatArray = self._session.run(QUERIES, inputs)[0]  # (B, H or 1, D)
        return (queries[:, self._queries] * self._weights).reshape(len(products), -1)

    def _after_each(self, read: _Read) -> FloatArray:
        """The query that all heads share after each event, (n, D); n > 0."""
        if read.after_each is None:
            newest, n = read.newest, int(read.newest.lengths[0])
            products = np.minimum(newest.products[:, :n], self.products)
            inputs = {"products": self._input[products], "features": newest.features[:, :n], "lengths": newest.lengths}
            after: FloatArray = self._session.run(AFTER_EACH, inputs)[0][0]
            read.after_each = after[:, : self._items.shape[0]]
        return read.after_each

    def _after_beginnings(self, newest: Window) -> FloatArray:
        """`_queries_of` each beginning of a history, (n, Q·D), where the encoder tells of the whole alone."""
        n = int(newest.lengths[0])
        lengths = np.arange(1, n + 1, dtype=np.int32)
        to_come = np.arange(n) >= lengths[:, None]  # (n, n)
        products, features = newest.products[:, :n].repeat(n, axis=0), newest.features[:, :n].repeat(n, axis=0)
        products[to_come], features[to_come] = self.products, 0.0
        return self._queries_of(products, features, lengths)

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
