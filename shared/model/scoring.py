"""A model version ready to score: its encoder in ONNX Runtime, its items as one matrix in the caller's own rows, or its
action network, which puts in order what the mixture of the tally's experts chose.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from shared.model import ranking
from shared.model.candidates import ActionNetwork, Ranker, outputs
from shared.model.explained import ByHead, HeadVectors
from shared.model.files import read_version
from shared.model.format import GOLDEN_TOLERANCE, Golden, GoldenCandidates, Manifest, Parts
from shared.model.neighbours import Beside, Related
from shared.process.errors import BadEvent
from shared.state.histories import EVENT_FEATURES, Window

FloatArray = NDArray[np.float32]

# What an encoder answers. The second comes from those that read one event after the other, where heads share a query.
QUERIES, AFTER_EACH = ["queries"], ["after_each"]

SENTIMENT = EVENT_FEATURES.index("sentiment")

# What encoders said of the histories they read last is kept: bytes in all, of one version.
MOST_BYTES = 64 * 2**20
ENTRY_BYTES = 256  # of an entry, beside its arrays


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
    except Exception as error:  # a wrong version must never end a service
        raise BadEvent("encoder", f"{folder.name}: {type(error).__name__}: {error}") from error


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
        candidates: GoldenCandidates | None,
        row_of: Callable[[str], int],
        products: Callable[[], int],
    ) -> None:
        self.manifest = manifest
        weights = np.array(list(manifest.heads.values()), np.float32)
        self.ranker = None if parts.network is None else Ranker(parts.network, weights)
        self._latest: _Read | None = None
        self._queries = _Latest(MOST_BYTES // 4)  # after a whole history
        self._explained = _Latest(MOST_BYTES - MOST_BYTES // 4)  # after each event of it, in each of `_Read.ways`
        self._mixture = parts.mixture
        rows = np.array([row_of(product) for product in parts.products], np.int64)
        a, d = products(), manifest.dimension
        self._input: FloatArray = np.zeros((a + 1, d), np.float32)  # the last row is padding's
        self._bias: FloatArray = np.full(a, -np.inf, np.float32)  # where it does not know the product
        self._version_rows: NDArray[np.int32] = np.full(a + 1, -1, np.int32)  # the caller's row → the version's
        self._version_rows[rows] = np.arange(len(rows), dtype=np.int32)
        counting = [
            (
                part.weights,
                replace(matrix := parts.neighbours[relation], products=rows[matrix.products].astype(np.int32)),
            )
            for relation, part in manifest.neighbours.items()
            if part.weight
        ]
        self._related = Related(counting, a) if counting else None
        self._input[rows] = parts.input
        self._per_length: FloatArray | None = None  # (A + 1,) of `_input`, once it is asked for
        if self.ranker is not None:
            self._check_network(self.ranker.network, candidates)
            return
        self._encoder = QueryEncoder(manifest, parts)
        self._items: FloatArray = np.zeros((self._encoder.width, a), np.float32)  # where heads share a query, their sum
        if not self._encoder.one_query:
            for c, head in enumerate(np.array(list(manifest.heads))[self._encoder.counted]):
                self._items[c * d : (c + 1) * d, rows] = parts.outputs[head].T
        elif self._encoder.width:
            outputs = [manifest.heads[head] * output for head, output in parts.outputs.items()]
            self._items[:, rows] = np.sum(outputs, axis=0).T
        self._bias[rows] = sum(weight * parts.biases[head] for head, weight in manifest.heads.items())
        self._heads = HeadVectors(manifest.heads, parts, one_query=self._encoder.one_query)
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
    def mixture(self) -> FloatArray | None:
        """What each of the tally's experts counts, (C, E); None: popularity and `related` are mixed."""
        return self._mixture

    @property
    def popularity_weight(self) -> float:
        """What popularity counts in the mixture with `related`."""
        return self.manifest.popularity_weight

    def directions(self) -> tuple[FloatArray, FloatArray]:
        """What the encoder is given of each product, (A + 1, D), the last for all beyond, and 1 / length, (A + 1,).

        Both are zeros where that is nothing. Not to be changed.
        """
        if self._per_length is None:
            lengths = np.linalg.norm(self._input, axis=1)
            self._per_length = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return self._input, self._per_length

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
            known = rows < self.products
            result[:, known] = self._related.by_event(self._beside(window, self._related), rows[known])
        return result

    def by_head(self, window: Window, rows: NDArray[np.int64]) -> ByHead:
        """What each group of heads says of some products, weighted, before any event of one user and after each one.

        Args:
            window: as in `scores`; n events of it are read.
            rows: (K,) the caller's.

        Returns:
            by `shared.model.explained.GROUPS`, (G, K, W, n + 1); the last of [:, :, 0] add up to `scores`. Where texts
            had sentiment W is 2, and [:, :, 1] is as if they had none. Zeros of products that it does not know.
        """
        after_each = self._after_each(self._read(window))
        return self._heads.split(after_each, self._items, self._bias, self._version_rows, rows)

    def explains(self, window: Window) -> None:
        """Announce that `by_head` will be called, too: to encode all that it needs at once takes less time."""
        if self.ranker is None and self._encoder.tells_each:
            self._read(window).explained = True

    def scores(self, window: Window) -> FloatArray:
        """What an encoder's heads say of every product for one user, weighted, (A,); -inf for those it does not know.

        The window's rows are the caller's; those the version does not know count as unknown products, and events
        beyond the length of history that it was trained on are left out.
        """
        return ranking.scores(self._query(self._read(window)), self._items, self._bias)

    def _query(self, read: _Read) -> FloatArray:
        """What item vectors are multiplied with, (Q·D,)."""
        if read.explained and len(read):
            after_all: FloatArray = self._after_each(read)[0, -1]
            return after_all
        query = self._queries.get(read.key)
        if query is None:
            vectors = self._input[read.products]
            if self._encoder.tells_each and len(read):
                query = self._encoder.after_each(vectors, [read.features])[0, -1].copy()
            else:
                query = self._encoder.query(vectors, read.features)
            self._queries.put(read.key, query)
        return query

    def _read(self, window: Window) -> _Read:
        """What was looked up for a window; that of the latest one is kept."""
        read = self._latest
        if read is None or read.window is not window:
            read = self._latest = _Read(window, self.manifest.history_length, self.products)
        return read

    def _beside(self, window: Window, related: Related) -> Beside:
        read = self._read(window)
        if read.beside is None:
            read.beside = related.beside(self._version_rows[read.products])
        return read.beside

    def _after_each(self, read: _Read) -> FloatArray:
        """As `QueryEncoder.after_each`, of this window in each of its ways."""
        queries = self._explained.get(read.key)
        if queries is None:
            queries = self._encoder.after_each(self._input[read.products], read.ways())
            self._explained.put(read.key, queries)
        return queries

    def _check_network(self, network: ActionNetwork, golden: GoldenCandidates | None) -> None:
        if golden is None or not golden.outputs.size:
            return
        computed = outputs(network, np.ascontiguousarray(golden.features))
        if not np.allclose(computed, golden.outputs, rtol=GOLDEN_TOLERANCE, atol=GOLDEN_TOLERANCE):
            worst = float(np.abs(computed - golden.outputs).max())
            raise BadEvent("golden", f"{self.manifest.version_id}: the action network is off by {worst:g}")

    def _check(self, golden: Golden, rows: NDArray[np.int64]) -> None:
        for g in range(len(golden.window.lengths)):
            products = golden.window.products[g : g + 1]
            window = Window(
                np.where(products >= 0, rows[products], -1).astype(np.int32) if len(rows) else products,
                golden.window.features[g : g + 1],
                golden.window.lengths[g : g + 1],
            )
            scores = self.scores(window)[rows[golden.rows[g]]]
            if not np.allclose(scores, golden.scores[g], rtol=GOLDEN_TOLERANCE, atol=GOLDEN_TOLERANCE):
                worst = float(np.abs(scores - golden.scores[g]).max())
                raise BadEvent("golden", f"{self.manifest.version_id}: golden query {g} is off by {worst:g}")


class _Read:
    """What was looked up for one user's window: explaining its scores needs the same again."""

    __slots__ = ("_most", "_rows", "beside", "explained", "features", "key", "window")

    def __init__(self, window: Window, length: int, products: int) -> None:
        end = int(window.lengths[0])
        newest = slice(max(0, end - length), end)  # events beyond those the version was trained on are left out
        self.window = window
        self._rows = window.products[0, newest]
        self._most = products
        self.features = window.features[0, newest]  # (n, F)
        self.beside: Beside | None = None  # what co-occurs, once it was needed
        self.explained = False  # whether `by_head` will be asked, too
        # All that an encoder's answer depends on: no event and no session can make a kept answer wrong.
        self.key = self._rows.tobytes() + self.features.tobytes()

    @property
    def products(self) -> NDArray[np.int32]:
        """(n,) rows; beyond the last lies padding's."""
        return np.minimum(self._rows, self._most)

    def __len__(self) -> int:
        return len(self._rows)

    def ways(self) -> Sequence[FloatArray]:
        """The features as they are and, where texts had sentiment, as if they had none: W of (n, F)."""
        if not self.features[:, SENTIMENT].any():
            return [self.features]
        neutral = self.features.copy()
        neutral[:, SENTIMENT] = 0.0
        return [self.features, neutral]


class _Latest:
    """Arrays by what they were computed from; the ones that were used last, within a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._arrays: OrderedDict[bytes, FloatArray] = OrderedDict()

    def get(self, key: bytes) -> FloatArray | None:
        array = self._arrays.get(key)
        if array is not None:
            self._arrays.move_to_end(key)
        return array

    def put(self, key: bytes, array: FloatArray) -> None:
        self._arrays[key] = array
        self._bytes += len(key) + array.nbytes + ENTRY_BYTES
        while self._bytes > self._most_bytes:
            oldest, dropped = self._arrays.popitem(last=False)
            self._bytes -= len(oldest) + dropped.nbytes + ENTRY_BYTES


class QueryEncoder:
    """A version's encoder in ONNX Runtime: from a history to what its heads' item vectors are multiplied with.

    A history is n events of one user, each its product's vector, (n, D), and features, (n, F).

    Attributes:
        one_query: whether all heads share one; else each has its own, and they lie side by side.
        counted: places of the queries that count among the encoder's, (Q,); a head without weight is left out.
        width: Q·D, the length of all of them together.
        tells_each: whether one run gives the query after each event, too.

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
        """After a whole history, weighted, (Q·D,); an empty history is encoded as zeros of length 0."""
        n = len(vectors)
        if not n:
            vectors, features = (
                np.zeros((1, vectors.shape[1]), np.float32),
                np.zeros((1, features.shape[1]), np.float32),
            )
        query: FloatArray = self._run(vectors[None], features[None], np.array([n], np.int32))[0]
        return query

    def after_each(self, vectors: FloatArray, ways: Sequence[FloatArray]) -> FloatArray:
        """After each event, weighted, (W, n, Q·D).

        Args:
            ways: the features of the same events, in W ways.
        """
        n = len(vectors)
        if not n or not self.width:
            return np.zeros((len(ways), n, self.width), np.float32)
        if not self.tells_each:
            return np.stack([self._after_beginnings(vectors, features) for features in ways])
        inputs = {
            "products": np.stack([vectors] * len(ways)),
            "features": np.stack(ways),
            "lengths": np.full(len(ways), n, np.int32),
        }
        queries: FloatArray = self._session.run(AFTER_EACH, inputs)[0]
        return queries

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
