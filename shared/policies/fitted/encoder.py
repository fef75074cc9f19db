"""What policies made of an encoder of the history and a vector per product share: scores, and the parts to serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from shared.model.format import Golden, Parts
from shared.model.served import FloatArray
from shared.policies.contract import Learned, learned_of, nothing_to_add
from shared.policies.fitted.at_fixed_points import AtFixedPoints
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.stream import Stream

HEAD = "dot"

# Users and products of the golden queries.
GOLDEN_USERS = 8
GOLDEN_PRODUCTS = 32

# Conjugate gradients solve (I + w · VᵀV) x = b exactly after as many steps as V has rows, nearly after fewer.
STEPS = 8
TINY = np.float32(1e-20)  # a residual of 0 stays 0


class EncoderScores:
    """Ranks by query · product + bias alone, and as trending while there are no products.

    Subclasses set `items`, (A0, D), and `bias`, (A0,), compute `query`, and give the same computation as `encoder`.
    """

    head = HEAD
    mixture = None
    ranker = None

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.items: FloatArray = np.zeros((0, 1), np.float32)
        self.bias: FloatArray = np.zeros(0, np.float32)

    @property
    def popularity_weight(self) -> float:
        """0: what is learned ranks alone."""
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
    """The same, fitted at fixed points: subclasses do so in `refit`."""

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


class Graph:
    """An encoder in ONNX's own operators, one call each: a traced export takes seconds, this takes milliseconds.

    `graph("Add", a, b)` adds an operator and is the name of its output. Numbers and arrays become constants, floats as
    float32 and integers as int64.
    """

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str | ArrayLike, outputs: int = 1, **attributes: Any) -> Any:
        """Add an operator; the name of its output, or the names where there are several."""
        names = [f"{operator}_{len(self._nodes)}_{n}" for n in range(outputs)]
        names_in = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self._nodes.append(helper.make_node(operator, names_in, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: ArrayLike) -> str:
        """Add a constant; its name."""
        array = np.asarray(value)
        if array.dtype != bool:
            array = array.astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64)
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def encoder(self, queries: str, dimension: int, heads: int = 1) -> bytes:
        """The model: products (B, T, D), features (B, T, F), lengths (B,) → queries (B, H, D), the output named."""
        self._nodes.append(helper.make_node("Identity", [queries], ["queries"]))
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [
                helper.make_tensor_value_info("products", TensorProto.FLOAT, ["B", "T", dimension]),
                helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", len(EVENT_FEATURES)]),
                helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
            ],
            [helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["B", heads, dimension])],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="freshet"
        )
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def whitened(items: FloatArray, regularisation: float) -> FloatArray:
    """Items in coordinates in which YᵀY + λI is the identity, (A, D): Y · L, where L · Lᵀ is the inverse.

    Scores are products of a user's and an item's vector, so they stay what they were.
    """
    gram = items.T.astype(np.float64) @ items.astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularisation
    lower = np.linalg.cholesky(np.linalg.inv(gram))
    result: FloatArray = (items @ lower).astype(np.float32)
    return result


def fold_in(vectors: FloatArray, confidence: float, steps: int = STEPS) -> FloatArray:
    """The user's vector that least squares give, (D,), in whitened coordinates.

    Solves (YᵀY + λI + Yᵀ(C - I)Y) x = YᵀC p of implicit feedback (Hu et al., ICDM 2008, eq. 4) by conjugate gradients,
    as Takács et al. (RecSys 2011) do, from x = 0. Whitened, that is (I + (c - 1) · VᵀV) x = c · Σ v.

    Args:
        vectors: V, (T, D) of the history, zeros where padded.
        confidence: c, of a choice; 1 of all else.
    """
    x = np.zeros(vectors.shape[1], np.float32)
    residual = np.float32(confidence) * vectors.sum(axis=0)
    direction, square = residual, residual @ residual
    for _ in range(steps):
        after = direction + np.float32(confidence - 1.0) * ((vectors @ direction) @ vectors)
        step = square / np.maximum(direction @ after, TINY)
        x = x + step * direction
        residual = residual - step * after
        next_square = residual @ residual
        direction = residual + (next_square / np.maximum(square, TINY)) * direction
        square = next_square
    return x


def to_onnx(dimension: int, confidence: float, steps: int = STEPS) -> bytes:
    """`fold_in` as an encoder: products (B, T, D), features (B, T, F), lengths (B,) → queries (B, 1, D)."""
    graph = Graph()

    def dot(a: str, b: str) -> str:  # (B, 1, D) each → (B, 1, 1)
        return str(graph("ReduceSum", graph("Mul", a, b), [2]))

    columns = graph("Transpose", "products", perm=[0, 2, 1])  # (B, D, T)
    residual = direction = graph("Mul", graph("ReduceSum", "products", [1]), confidence)  # (B, 1, D)
    square = dot(residual, residual)
    x = graph("Mul", residual, 0.0)
    for _ in range(steps):
        along = graph("MatMul", graph("MatMul", direction, columns), "products")
        after = graph("Add", direction, graph("Mul", along, confidence - 1.0))
        step = graph("Div", square, graph("Max", dot(direction, after), TINY))
        x = graph("Add", x, graph("Mul", step, direction))
        residual = graph("Sub", residual, graph("Mul", step, after))
        next_square = dot(residual, residual)
        kept = graph("Div", next_square, graph("Max", square, TINY))
        direction = graph("Add", residual, graph("Mul", kept, direction))
        square = next_square
    return graph.encoder(x, dimension)
