"""Where products lie to each other by what users did with them, for what asks how alike two are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.numeric.compiled import Matrix, ReadOnlyMatrix, compiled
from shared.state.tally import NEIGHBOURS, PAIR_INTS, PAIR_ONE, Tally, TallyArrays, partitions_of, room_of

DIMENSION = 32
_SEED = 19


def product_vectors(tally: Tally) -> NDArray[np.float32]:
    """A vector for each product, (A, D): products that come near the same others lie in one direction.

    Random indexing (Kanerva et al., CogSci 2000): each product has a random direction, and its vector is the sum of its
    neighbours' directions and its own, each weighted by the square root of how often they came near.
    """
    directions = _directions(tally.size)
    vectors: NDArray[np.float32] = directions.copy()
    _add_neighbours(tally.arrays, directions, vectors)
    return vectors


def _directions(products: int) -> NDArray[np.float32]:
    """The same for the same row, whatever the number of products."""
    rng = np.random.Generator(np.random.PCG64(_SEED))
    signs = rng.integers(0, 2, (products, DIMENSION), np.int8)
    return (2.0 * signs - 1.0).astype(np.float32) / np.float32(np.sqrt(DIMENSION))


@compiled
def _add_neighbours(t: TallyArrays, directions: ReadOnlyMatrix[np.float32], out: Matrix[np.float32]) -> None:
    for row in range(len(out)):
        for q in range(partitions_of(t)):
            start, in_use, slots = room_of(t.products[row, NEIGHBOURS + q])
            begin = PAIR_INTS * start
            for at in range(begin, begin + in_use):
                weight = np.float32(np.sqrt(t.pairs[at + 2 * slots] / PAIR_ONE))
                for d in range(out.shape[1]):
                    out[row, d] += weight * directions[t.pairs[at], d]
