"""What policies share that are an encoder of the history and a vector per product: scores, and the parts to serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.event_features import EVENT_FEATURES
from shared.history import Window
from shared.models import Golden, Parts
from shared.policies.at_fixed_points import AtFixedPoints
from shared.policies.policy import Learned, nothing_to_add
from shared.policies.served import FloatArray
from shared.policies.stream import Stream
from shared.policies.without_encoder import learned_of

HEAD = "dot"

# Products and users of the golden queries.
GOLDEN_USERS = 8
GOLDEN_PRODUCTS = 32


class EncoderScores:
    """Ranks by query · product + bias alone, and as trending while there are no products.

    Heirs set `items`, (A0, D), and `bias`, (A0,), answer `query`, and write the same down in `encoder`.
    """

    head = HEAD

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.items: FloatArray = np.zeros((0, 1), np.float32)
        self.bias: FloatArray = np.zeros(0, np.float32)

    @property
    def popularity_weight(self) -> float:
        """None beside what is learned."""
        return 0.0 if len(self.items) else 1.0

    def related(self, window: Window) -> FloatArray:  # noqa: ARG002
        """Nothing."""
        return nothing_to_add(len(self.items))

    def scores(self, window: Window) -> FloatArray:
        """What the vectors say."""
        if not len(self.items):
            return nothing_to_add(0)
        n = int(window.lengths[0])
        history = window.products[0, :n]
        known = np.where(history < len(self.items), history, -1).astype(np.int32)
        result: FloatArray = self.query(known, window.features[0, :n]) @ self.items.T + self.bias
        return result

    def query(self, history: NDArray[np.int32], features: FloatArray) -> FloatArray:
        """The user's vector, (D,).

        Args:
            history: (n,) rows, oldest first; -1 for products without a vector.
            features: (n, F)
        """
        raise NotImplementedError

    def encoder(self) -> bytes:
        """`query` as an ONNX model."""
        raise NotImplementedError

    def input_vectors(self) -> FloatArray:
        """What the encoder takes of each product, (A0, D)."""
        return self.items

    def learned(self) -> Learned:
        """The encoder and the vectors; products that came later are not among them."""
        a = len(self.items)
        if not a:
            return learned_of(self._stream.products)
        parts = Parts(
            encoder=self.encoder(),
            input=self.input_vectors().copy(),
            outputs={self.head: self.items.copy()},
            biases={self.head: self.bias.copy()},
            products=self._stream.products[:a],
        )
        return Learned(parts, heads={self.head: 1.0}, popularity_weight=0.0, golden=self._golden())

    def _golden(self) -> Golden:
        """Scores of the users that came last."""
        windows = [
            self._stream.histories.window(row) for row in range(len(self._stream.histories.users))[-GOLDEN_USERS:]
        ]
        a, length = len(self.items), self._stream.settings.history_length
        rows = np.linspace(0, a - 1, min(GOLDEN_PRODUCTS, a), dtype=np.int32)
        scores = [self.scores(window)[rows] for window in windows]
        products = np.concatenate([w.products for w in windows] or [np.zeros((0, length), np.int32)])
        return Golden(
            Window(
                np.where(products < a, products, -1).astype(np.int32),
                np.concatenate(
                    [w.features for w in windows] or [np.zeros((0, length, len(EVENT_FEATURES)), np.float32)]
                ),
                np.array([w.lengths[0] for w in windows], np.int32),
            ),
            np.tile(rows, (len(windows), 1)),
            np.array(scores, np.float32).reshape(len(windows), len(rows)),
        )


class FittedEncoder(EncoderScores, AtFixedPoints):
    """The same, fitted at fixed points: heirs do so in `refit`."""

    def __init__(self, stream: Stream, seed: int) -> None:
        EncoderScores.__init__(self, stream)
        AtFixedPoints.__init__(self, stream, seed)

    def _to_arrays(self) -> dict[str, NDArray[Any]]:
        return {"items": self.items.copy(), "bias": self.bias.copy()}

    def _from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.items, self.bias = arrays["items"], arrays["bias"]


def vectors_of(table: FloatArray, history: NDArray[np.int32]) -> FloatArray:
    """The vectors of a history, (n, D); zeros where a product has none."""
    result: FloatArray = np.where(history[:, None] >= 0, table[np.maximum(history, 0)], np.float32(0.0))
    return result
