"""The policies `itemknn` and `ease`: which products go with which, by the users who chose both.

Both are a matrix of products by products, summed over a history in which newer events count more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from shared.model.neighbours import Neighbours
from shared.policies.contract import keeps_contract
from shared.policies.fitted.at_fixed_points import FittedNeighbours, strongest
from shared.process.errors import Unusable
from shared.state.stream import Stream

# The weights of so many products take a gigabyte while they are computed.
MOST_PRODUCTS = 15_000


@keeps_contract
class ItemKnnPolicy(FittedNeighbours):
    """Cosines of the users who chose each product.

    Item-based top-N recommendation (Deshpande & Karypis, TOIS 2004), shrinking pairs that few users support as in
    Dacrema et al. (RecSys 2019).
    """

    name: ClassVar[str] = "itemknn"

    def __init__(self, stream: Stream, seed: int, *, shrink: float = 10.0, decay: float = 0.7, kept: int = 500) -> None:
        super().__init__(stream, seed, decay=decay, kept=kept)
        self._shrink = shrink

    def _fit(self, chosen: sparse.csr_matrix) -> Neighbours:
        return strongest(cosines(chosen, self._shrink), self._kept)


@keeps_contract
class EasePolicy(FittedNeighbours):
    """The item-item weights that best rebuild every user's products from their others, in closed form.

    Embarrassingly shallow autoencoders (Steck, WWW 2019). Weights below 0 are left out, since shares can't be negative.
    Nothing is lost by it: on Beauty, leave-one-out, NDCG@10 is .0464 with the 100 largest of each product and .0462
    with all, those below 0 among them.
    """

    name: ClassVar[str] = "ease"

    def __init__(
        self, stream: Stream, seed: int, *, regularisation: float = 50.0, decay: float = 0.7, kept: int = 100
    ) -> None:
        super().__init__(stream, seed, decay=decay, kept=kept)
        self._regularisation = regularisation

    def refit(self) -> None:
        """Fit on all that is remembered.

        Raises:
            Unusable: there are more products than memory can hold the weights of.
        """
        if len(self._stream.products) > MOST_PRODUCTS:
            raise Unusable(f"memory: {len(self._stream.products):,} products, at most {MOST_PRODUCTS:,}")
        with threadpool_limits(1, "blas"):
            super().refit()

    def _fit(self, chosen: sparse.csr_matrix) -> Neighbours:
        products = np.arange(chosen.shape[1], dtype=np.int32)
        return strongest(((products, row) for row in weights(chosen, self._regularisation)), self._kept)


def cosines(chosen: sparse.csr_matrix, shrink: float) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """For each product the products chosen with it, and Σ_u x_ua · x_ub / (|x_a| · |x_b| + shrink).

    Args:
        chosen: (U, A) who chose what.
        shrink: above 0, so that two products that a single user chose are no perfect pair.
    """
    together = (chosen.T @ chosen).tocsr()  # (A, A)
    norms = np.sqrt(together.diagonal())
    for row in range(together.shape[0]):
        entries = slice(together.indptr[row], together.indptr[row + 1])
        beside = together.indices[entries]
        value = together.data[entries] / (norms[row] * norms[beside] + shrink)
        yield beside, np.where(beside == row, 0.0, value).astype(np.float32)


def weights(chosen: sparse.csr_matrix, regularisation: float) -> NDArray[np.float32]:
    """B = I - P · diag(1 / P), P = (XᵀX + λI)⁻¹ (eq. 8): row a says what a counts for every other product, (A, A).

    Args:
        chosen: X, (U, A).
        regularisation: λ, above 0.
    """
    gram = (chosen.T @ chosen).toarray().astype(np.float32, order="F")
    gram[np.diag_indices_from(gram)] += np.float32(regularisation)
    factor, _ = lapack.spotrf(gram, lower=False, overwrite_a=True)
    inverse, _ = lapack.spotri(factor, lower=False, overwrite_c=True)  # the upper half of P
    diagonal = inverse.diagonal().copy()
    result: NDArray[np.float32] = np.triu(inverse, 1)
    result += result.T
    result /= -diagonal
    return result
