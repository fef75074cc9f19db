"""The policy `itemknn`: products that the same users chose, by cosine.

Item-based top-N recommendation (Deshpande & Karypis, TOIS 2004), shrinking what few users hold up as in Dacrema et al.
(RecSys 2019), newer events counting more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from shared.neighbours import Neighbours
from shared.policies.at_fixed_points import FittedNeighbours, strongest
from shared.policies.stream import Stream


def cosines(chosen: sparse.csr_matrix, shrink: float) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Of each product those beside it, and Σ_u x_ua · x_ub / (|x_a| · |x_b| + shrink).

    Args:
        chosen: (U, A) who chose what.
        shrink: above 0, so that two products that one user chose are no perfect pair.
    """
    together = (chosen.T @ chosen).tocsr()  # (A, A)
    norms = np.sqrt(together.diagonal())
    for row in range(together.shape[0]):
        entries = slice(together.indptr[row], together.indptr[row + 1])
        beside = together.indices[entries]
        value = together.data[entries] / (norms[row] * norms[beside] + shrink)
        yield beside, np.where(beside == row, 0.0, value).astype(np.float32)


class ItemKnnPolicy(FittedNeighbours):
    """Cosines, fitted at fixed points."""

    name = "itemknn"

    def __init__(self, stream: Stream, seed: int, *, shrink: float = 10.0, decay: float = 0.7, kept: int = 500) -> None:
        super().__init__(stream, seed, decay=decay, kept=kept)
        self._shrink = shrink

    def _fit(self, chosen: sparse.csr_matrix) -> Neighbours:
        return strongest(cosines(chosen, self._shrink), self._kept)
