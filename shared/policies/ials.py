"""The policy `ials`: matrix factorisation of who chose what, by weighted least squares.

Collaborative filtering for implicit feedback (Hu et al., ICDM 2008), by the `implicit` library; a user's vector is
folded in from the history, so that new events count without a refit.
"""

from __future__ import annotations

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from shared.policies.at_fixed_points import user_products
from shared.policies.fitted_encoder import FittedEncoder, vectors_of
from shared.policies.fold_in import fold_in, to_onnx, whitened
from shared.policies.served import FloatArray
from shared.policies.stream import Stream


class IalsPolicy(FittedEncoder):
    """Vectors of products, fitted at fixed points.

    Args:
        factors: D
        regularisation: λ of users' and products' vectors.
        confidence: of a choice, where that of no choice is 1.
        iterations: over users and products, each.
    """

    name = "ials"

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
