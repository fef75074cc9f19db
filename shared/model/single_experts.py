"""How each expert of the mixture alone, and each blend of them, would have ranked one product. Pure; compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.model.mixture import (
    EXPERTS,
    GROUPS,
    POPULARITY,
    RELATIONS,
    FloatArray,
    relations,
    rings_of,
    room_for,
    seen_by,
)
from shared.model.ranking import ndcg, place_of
from shared.model.session_neighbours import LAGS, Rings, View
from shared.numeric.compiled import Matrix, ReadOnlyMatrix, ReadOnlyVector, Vector, compiled
from shared.state.histories import Window
from shared.state.known import Known
from shared.state.tally import HALF_LIVES_DAYS, TRENDING, TallyArrays, total_of

# Each group alone, popularity at each half-life alone, is a single expert: what the mixture must not stay behind.
SINGLE_EXPERTS = (
    "trending",
    *(f"popular-{days:g}d" if days >= 1 else f"popular-{24 * days:g}h" for days in HALF_LIVES_DAYS),
    *GROUPS[1:],
)
# What trending popularity counts beside a single expert: it orders products of which that one says nothing.
BESIDE_SINGLE = 0.001


def single_places(
    known: Known, window: Window | None, weights: FloatArray, products: int, product: int, masked: NDArray[np.int32]
) -> NDArray[np.float64]:
    """The place at which each of `SINGLE_EXPERTS` alone ranks one product, (S,): 1 is best, ties at half.

    Infinite where the product is masked.

    Args:
        weights: (C, E); they say how much each lag counts within a relation.
        products: A, as in `mix`.
        masked: (n,) rows that are not ranked.
    """
    view, context = seen_by(known, window)
    members: FloatArray = np.zeros((len(SINGLE_EXPERTS) - POPULARITY, room_for(known, products)), np.float32)
    beside: FloatArray = np.zeros(products, np.float32)
    places = np.zeros(len(SINGLE_EXPERTS))
    _single_places(
        known.tally.arrays, rings_of(known), view, weights[context], known.tally.size, product, masked, beside, members,
        places,
    )  # fmt: skip
    return places


@compiled
def _single_places(
    t: TallyArrays,
    rings: Rings,
    view: View,
    weights: ReadOnlyVector[np.float32],
    size: int,
    product: int,
    masked: ReadOnlyVector[np.int32],
    beside: Vector[np.float32],
    members: Matrix[np.float32],
    places: Vector[np.float64],
) -> None:
    """Fill the places.

    Args:
        beside: (A,) zeros.
        members: (S - POPULARITY, A) zeros.
        places: (S,)
    """
    alone = np.ones(EXPERTS, np.float32)
    for relation in range(len(RELATIONS)):  # of the lags that say something, each counts its share
        at = POPULARITY + relation * LAGS
        total = np.float32(0.0)
        for lag in range(len(view.products)):
            if view.products[lag] >= 0:
                total += weights[at + lag]
        if total > 0.0:
            for lag in range(len(view.products)):
                alone[at + lag] = weights[at + lag] / total
    relations(t, rings, view, alone, size, members)
    total_trending = total_of(t, TRENDING)
    factor = np.float32(BESIDE_SINGLE / total_trending) if total_trending > 0.0 else np.float32(0.0)
    for row in range(size):
        beside[row] = factor * t.popular[TRENDING, row]
    for row in masked:
        beside[row] = -np.inf
    for h in range(POPULARITY):
        total_popular = total_of(t, h)
        factor = np.float32(1.0 / total_popular) if total_popular > 0.0 else np.float32(0.0)
        places[h] = place_of(product, t.popular[h], factor, beside, size)
    for member in range(len(members)):
        places[POPULARITY + member] = place_of(product, members[member], np.float32(1.0), beside, len(beside))


@compiled
def blend_gains(
    members: Matrix[np.float32],
    blends: ReadOnlyMatrix[np.float32],
    product: int,
    masked: ReadOnlyVector[np.int32],
    gains: Vector[np.float64],
) -> None:
    """NDCG@10 of one product by each of some blends of members, ties at half.

    Args:
        members: (M, A)
        blends: (B, M) what each makes of each member.
        masked: (n,) rows that are not ranked; the product is, all the same.
        gains: (B,) is filled.
    """
    products = members.shape[1]
    beside = np.zeros(products, np.float32)
    for row in masked:
        beside[row] = -np.inf
    beside[product] = np.float32(0.0)
    values = np.empty(products, np.float32)
    for blend in range(len(blends)):
        values[:] = np.float32(0.0)
        for member in range(len(members)):
            weight = blends[blend, member]
            for row in range(products):
                values[row] += weight * members[member, row]
        place = place_of(product, values, np.float32(1.0), beside, products)
        gains[blend] = ndcg(place, 10)
