"""A user's vector from the vectors of the history's products, by an encoder: new users and events need no refit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.policies.onnx_graph import Graph

Array = NDArray[np.float32]

# Conjugate gradients solve (I + w · VᵀV) x = b exactly after as many steps as V has rows, nearly after fewer.
STEPS = 8
TINY = np.float32(1e-20)  # a residual of 0 stays 0


def whitened(items: Array, regularisation: float) -> Array:
    """Items in coordinates in which YᵀY + λI is the identity, (A, D): Y · L, where L · Lᵀ is the inverse.

    Scores are products of a user's and an item's vector, so they stay what they were.
    """
    gram = items.T.astype(np.float64) @ items.astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularisation
    lower = np.linalg.cholesky(np.linalg.inv(gram))
    result: Array = (items @ lower).astype(np.float32)
    return result


def fold_in(vectors: Array, confidence: float, steps: int = STEPS) -> Array:
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
