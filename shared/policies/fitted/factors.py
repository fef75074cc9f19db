"""The policies `ials` and `bpr`: matrix factorisation of who chose what, by the `implicit` library.

A user's vector is computed from the history, so that new events and new users count without a refit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from shared.model.served import FloatArray
from shared.policies.contract import keeps_contract
from shared.policies.fitted.at_fixed_points import user_products
from shared.policies.fitted.encoder import FittedEncoder, Graph, fold_in, to_onnx, vectors_of, whitened
from shared.state.stream import Stream

RIDGE = 1.0  # of the map from products to users, in users


@keeps_contract
class IalsPolicy(FittedEncoder):
    """Weighted least squares, collaborative filtering for implicit feedback (Hu et al., ICDM 2008).

    Fitted are vectors of products; a user's vector is folded in from the history's.

    Args:
        factors: D
        regularisation: λ of users' and products' vectors.
        confidence: of a choice, where that of no choice is 1.
        iterations: over users and products, each.
    """

    name: ClassVar[str] = "ials"
    fit_sequences = None

    def __init__(
        self,
        stream: Stream,
        seed: int,
        *,
        factors: int = 256,
        regularisation: float = 10.0,
        confidence: float = 10.0,
        iterations: int = 15,
    ) -> None:
        super().__init__(stream, seed)
        self._regularisation = regularisation
        self._confidence = confidence
        self._factors = factors
        self._iterations = iterations

    def refit(self) -> None:
        """Fit on all that is remembered."""
        sequences = self._remembered.sequences()
        if not sequences:
            return
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=self._factors,
                regularization=self._regularisation,
                alpha=self._confidence,
                iterations=self._iterations,
                num_threads=1,
                random_state=self._seed,
            )
            model.fit(user_products(sequences, len(self._stream.products)), show_progress=False)
            self.items = whitened(model.item_factors, self._regularisation)
        self.bias = np.zeros(len(self.items), np.float32)

    def query(self, history: NDArray[np.int32], features: FloatArray) -> FloatArray:  # noqa: ARG002
        """Folded in."""
        return fold_in(vectors_of(self.items, history), self._confidence)

    def encoder(self) -> bytes:
        """The folding in."""
        return to_onnx(self.items.shape[1], self._confidence)


@keeps_contract
class BprPolicy(FittedEncoder):
    """Ranks each user's products above others drawn at random: Bayesian personalised ranking (Rendle et al., UAI 2009).

    Fitted are vectors and biases of products. A user who came later has no vector, so users' are mapped from the mean
    of their products' by least squares (Gantner et al., ICDM 2010).

    Args:
        factors: D
        iterations: passes over the choices.
    """

    name: ClassVar[str] = "bpr"
    fit_sequences = None

    def __init__(
        self,
        stream: Stream,
        seed: int,
        *,
        factors: int = 128,
        learning_rate: float = 0.1,
        regularisation: float = 0.01,
        iterations: int = 100,
    ) -> None:
        super().__init__(stream, seed)
        self._factors = factors
        self._learning_rate = learning_rate
        self._regularisation = regularisation
        self._iterations = iterations
        self._map: FloatArray = np.zeros((factors, factors), np.float32)
        self._offset: FloatArray = np.zeros(factors, np.float32)

    def refit(self) -> None:
        """Fit on all that is remembered."""
        sequences = self._remembered.sequences()
        if not sequences:
            return
        chosen = user_products(sequences, len(self._stream.products))
        with threadpool_limits(1, "blas"):
            model = BayesianPersonalizedRanking(
                factors=self._factors,
                learning_rate=self._learning_rate,
                regularization=self._regularisation,
                iterations=self._iterations,
                num_threads=1,  # with more the same seed gives other vectors
                random_state=self._seed,
            )
            model.fit(chosen, show_progress=False)
            self.items = np.ascontiguousarray(model.item_factors[:, :-1])
            self.bias = model.item_factors[:, -1].copy()
            self._map, self._offset = users_from_products(chosen, self.items, model.user_factors[:, :-1])

    def query(self, history: NDArray[np.int32], features: FloatArray) -> FloatArray:  # noqa: ARG002
        """Mapped from the mean of the history's vectors."""
        mean = vectors_of(self.items, history).sum(axis=0) / np.float32(max(1, len(history)))
        result: FloatArray = mean @ self._map + self._offset
        return result

    def encoder(self) -> bytes:
        """The mean and the map."""
        graph = Graph()
        count = graph("Reshape", graph("Max", graph("Cast", "lengths", to=1), 1.0), [-1, 1, 1])  # 1: float
        mean = graph("Div", graph("ReduceSum", "products", [1]), count)  # (B, 1, D)
        return graph.encoder(graph("Add", graph("MatMul", mean, self._map), self._offset), self.items.shape[1])

    def _to_arrays(self) -> dict[str, NDArray[Any]]:
        return super()._to_arrays() | {"map": self._map.copy(), "offset": self._offset.copy()}

    def _from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        super()._from_arrays(arrays)
        self._map, self._offset = arrays["map"], arrays["offset"]


def users_from_products(
    chosen: sparse.csr_matrix, items: FloatArray, users: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The map (D, D) and offset (D,) from the mean of a user's products' vectors to the user's own, by least squares.

    Args:
        chosen: (U, A)
        items: (A, D)
        users: (U, D)
    """
    counts = np.maximum(1.0, np.asarray(chosen.sum(axis=1)))  # (U, 1)
    means = np.hstack([(chosen @ items) / counts, np.ones_like(counts)]).astype(np.float64)  # (U, D + 1)
    gram = means.T @ means
    gram[np.diag_indices(items.shape[1])] += RIDGE  # not the offset
    solved = np.linalg.solve(gram, means.T @ users).astype(np.float32)
    return solved[:-1], solved[-1]
