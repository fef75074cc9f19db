"""From what is known, a version and a request to an answer. Pure: no log, randomness passed in.

In steps: `score` gives every product its value, `limit` takes out what must not be shown, `place` chooses and orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.attributes import Attributes
from services.inference.knowledge import Knowledge
from services.inference.likeness import likeness
from services.inference.scored import Scored, score
from services.inference.viewers import Viewer
from shared import ranking
from shared.diversity import diversified
from shared.explained import Reasons, explain
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.scoring import Scorer

FloatArray = NDArray[np.float32]

# Diversity chooses among so many times the products wanted, and no fewer and no more than so many.
POOL, LEAST_POOL, MOST_POOL = 5, 50, 500


class Placed(NamedTuple):
    """A product and how it came to its place."""

    row: int
    score: float
    explored: bool = False
    propensity: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The places, best first, and where they come from."""

    places: Sequence[Placed]
    reasons: Sequence[Reasons]  # of their scores, where they were asked for
    strategy: pb.Strategy.ValueType
    fallback: pb.Fallback.ValueType
    model_version: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is to be like; found valid."""

    count: int
    wishes: pb.Wishes


def recommend(
    viewer: Viewer,
    asked: Asked,
    *,
    knowledge: Knowledge,
    version: Scorer | None,
    rng: np.random.Generator | None = None,
) -> Answer:
    """The best products for one user or guest.

    Args:
        rng: draws the exploration of learned answers; None: there is none.
    """
    learned = version is not None and viewer.window is not None
    strategy = pb.STRATEGY_LEARNED if learned else pb.STRATEGY_TRENDING
    model_version = version.manifest.version_id if version is not None and learned else ""
    if not knowledge.catalogue.known:
        return Answer([], [], pb.STRATEGY_TRENDING, pb.FALLBACK_EMPTY_CATALOGUE, "")
    scored = score(version, viewer.window, asked.wishes, knowledge, knowledge.places)
    epsilon = version.manifest.epsilon if version is not None and learned else 0.0
    places, reasons = choose(scored, viewer, asked, knowledge, version, epsilon=epsilon, rng=rng)
    if not places:
        fallback = pb.FALLBACK_NOTHING_LEFT
    elif version is None:
        fallback = pb.FALLBACK_NO_MODEL
    else:
        fallback = pb.FALLBACK_UNSPECIFIED if learned else pb.FALLBACK_UNKNOWN_USER
    return Answer(places, reasons, strategy, fallback, model_version)


def choose(
    scored: Scored,
    viewer: Viewer,
    asked: Asked,
    knowledge: Knowledge,
    version: Scorer | None,
    *,
    epsilon: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[list[Placed], list[Reasons]]:
    """The products that are shown, best first, and where they were asked for the reasons of their scores.

    Args:
        scored: changed in place: what must not be shown is out of the running then.
        epsilon, rng: as in `place`.
    """
    limit(scored.values, viewer.seen, asked, knowledge)
    places = place(scored.values, asked, knowledge, version, epsilon=epsilon, rng=rng)
    if not places or not asked.wishes.explain:
        return places, []
    rows = np.array([placed.row for placed in places], np.int64)
    return places, explain(scored.served, version, viewer.window, rows, scored.boosts, scored.popularity_out)


def limit(values: FloatArray, seen: NDArray[np.int32], asked: Asked, knowledge: Knowledge) -> None:
    """Take out, in place, what scores too low, what the filter leaves out, and what must not be shown."""
    wishes, catalogue, rows = asked.wishes, knowledge.catalogue, len(values)
    if wishes.HasField("minimum_score"):
        values[values < np.float64(wishes.minimum_score)] = -np.inf
    if wishes.HasField("filter"):
        values += knowledge.masks.bars(wishes.filter, rows, knowledge.now_ms())
    values += catalogue.bars(rows)
    ranking.mask(values, seen)
    excluded = [row for row in map(catalogue.find, wishes.exclude_product_ids) if row is not None and row < rows]
    ranking.mask(values, np.array(excluded, np.int32))


def place(
    values: FloatArray,
    asked: Asked,
    knowledge: Knowledge,
    version: Scorer | None,
    *,
    epsilon: float = 0.0,
    rng: np.random.Generator | None = None,
) -> list[Placed]:
    """Choose and order: by score, or by score and difference, with exploration where there is `rng`."""
    order = ordered(values, asked.count, asked.wishes.diversity, knowledge.catalogue.attributes, version)
    if epsilon and rng is not None:
        return explore(values, order, asked.count, epsilon, rng)
    return list(map(Placed, order.tolist(), values[order].tolist()))


def ordered(
    values: FloatArray, count: int, diversity: float, attributes: Attributes, version: Scorer | None
) -> NDArray[np.int64]:
    """Rows of the first `count` products: by score, or where there is diversity, by score and difference.

    What lies beyond the pool that diversity chooses among follows by score.
    """
    if not diversity:
        return ranking.top_k(values, count)
    pool = ranking.top_k(values, max(count, min(max(POOL * count, LEAST_POOL), MOST_POOL)))
    head = pool[:MOST_POOL]
    order = diversified(values[head], likeness(head, attributes, version), diversity, count)
    return np.concatenate([head[order], pool[MOST_POOL:count]])


def explore(
    values: FloatArray, order: NDArray[np.int64], count: int, epsilon: float, rng: np.random.Generator
) -> list[Placed]:
    """Fill each place with a random remaining product with probability `epsilon`, else with the next in order.

    A product's propensity is exact, given the places above: epsilon / remaining, and 1 - epsilon more for the next.

    Args:
        values: (A,) -inf for products that are out of the running.
        order: rows of the first `count` products as they come without exploration; made once, so what exploration
            puts above changes nothing in it.
    """
    pool = np.flatnonzero(values > -np.inf)  # what remains is pool[:left]
    left = len(pool)
    place_in_pool = np.full(len(values), -1)
    place_in_pool[pool] = np.arange(left)
    in_order = iter(order.tolist())
    best = next(in_order, None)
    placed: list[Placed] = []
    taken: set[int] = set()
    while left and len(placed) < count and best is not None:
        explored = bool(rng.random() < epsilon)
        row = int(pool[rng.integers(left)]) if explored else best
        propensity = epsilon / left + (1.0 - epsilon if row == best else 0.0)
        placed.append(Placed(row, float(values[row]), explored, propensity))
        taken.add(row)
        left -= 1
        hole, last = int(place_in_pool[row]), int(pool[left])
        pool[hole], place_in_pool[last] = last, hole
        while best in taken:
            best = next(in_order, None)
    return placed
