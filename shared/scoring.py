"""A model version ready to score: its encoder in ONNX Runtime, its items as one matrix in the caller's own rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared import ranking
from shared.errors import BadEvent
from shared.event_features import EVENT_FEATURES
from shared.heads import HeadVectors
from shared.history import Window
from shared.model_files import read_version
from shared.models import GOLDEN_TOLERANCE, Golden, Manifest, Parts
from shared.neighbours import Beside, Related
from shared.query_encoder import QueryEncoder

FloatArray = NDArray[np.float32]

SENTIMENT = EVENT_FEATURES.index("sentiment")


class _Read:
    """What was looked up of one user's window: who asks for the reasons of scores needs it once more."""

    __slots__ = ("after_each", "beside", "explained", "features", "products", "window")

    def __init__(self, window: Window, length: int, products: int) -> None:
        newest = window.newest(length)  # events beyond those the version was trained on are left out
        n = int(newest.lengths[0])
        self.window = window
        self.products = np.minimum(newest.products[0, :n], products)  # (n,) rows; beyond the last lies padding's
        self.features = newest.features[0, :n]  # (n, F)
        self.beside: Beside | None = None  # what co-occurs, once it was asked for
        self.after_each: FloatArray | None = None  # (W, n, Q·D) queries, once they were asked for
        self.explained = False  # whether these are of all that `told` gives

    def told(self) -> Sequence[FloatArray]:
        """Features as they are, and where texts had sentiment as if they had none: W of (n, F)."""
        if not self.features[:, SENTIMENT].any():
            return [self.features]
        neutral = self.features.copy()
        neutral[:, SENTIMENT] = 0.0
        return [self.features, neutral]


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
        self._encoder = QueryEncoder(manifest, parts)
        self._latest: _Read | None = None
        rows = np.array([row_of(product) for product in parts.products], np.int64)
        a, d = products(), manifest.dimension
        self._input: FloatArray = np.zeros((a + 1, d), np.float32)  # the last row is padding's
        self._items: FloatArray = np.zeros((self._encoder.width, a), np.float32)  # of heads that share a query the sum
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
            `shared.heads.GROUPS` → (W, n + 1, K); the last of each [0] add up to `scores`. Where texts had sentiment W
            is 2, and [1] is as if they had none.
        """
        read = self._read(window)
        after_each = self._after_each(read, explained=True)  # (W, n, Q·D)
        queries = np.zeros((len(after_each), after_each.shape[1] + 1, after_each.shape[2]), np.float32)
        queries[:, 1:] = after_each
        return self._heads.split(queries, self._items[:, rows], self._bias[rows], self._version_rows[rows])

    def explains(self, window: Window) -> None:
        """Be told that `by_head` will be asked for, too: to encode all that it needs at once takes less time."""
        if self._encoder.tells_each:
            self._after_each(self._read(window), explained=True)

    def scores(self, window: Window) -> FloatArray:
        """What the heads say of every product for one user, weighted, (A,); -inf where they know nothing of it.

        The window's rows are the caller's; those the version does not know count as unknown products, and events
        beyond the length of history that it was trained on are left out.
        """
        read = self._read(window)
        if self._encoder.tells_each and len(read.products):
            query = self._after_each(read)[0, -1]
        else:
            query = self._encoder.query(self._input[read.products], read.features)
        return ranking.scores(query, self._items, self._bias)

    def _read(self, window: Window) -> _Read:
        """What is known of a window; of the latest one it is kept."""
        read = self._latest
        if read is None or read.window is not window:
            read = self._latest = _Read(window, self.manifest.history_length, self.products)
        return read

    def _beside(self, window: Window, related: Related) -> Beside:
        read = self._read(window)
        if read.beside is None:
            read.beside = related.beside(self._version_rows[read.products])
        return read.beside

    def _after_each(self, read: _Read, *, explained: bool = False) -> FloatArray:
        """As `QueryEncoder.after_each` tells it of this window."""
        if read.after_each is None or (explained and not read.explained):
            told = read.told() if explained else [read.features]
            read.after_each, read.explained = self._encoder.after_each(self._input[read.products], told), explained
        return read.after_each

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
