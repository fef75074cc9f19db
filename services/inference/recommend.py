"""From what is known, a version and a request to an answer. Pure: no log, no clock, randomness passed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.knowledge import Knowledge
from shared import ranking
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.policies.served import served_scores
from shared.scoring import Scorer


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
    strategy: pb.Strategy.ValueType
    fallback: pb.Fallback.ValueType
    model_version: str


def recommend(
    user_id: str,
    count: int,
    excluded: Sequence[str],
    *,
    knowledge: Knowledge,
    version: Scorer | None,
    rng: np.random.Generator | None = None,
) -> Answer:
    """The best `count` products for one user.

    Args:
        excluded: product ids to leave out; unknown ones are ignored.
        rng: draws the exploration of learned answers; None: there is none.
    """
    catalogue, histories = knowledge.catalogue, knowledge.histories
    user = histories.row(user_id)
    learned = version is not None and user is not None
    strategy = pb.STRATEGY_LEARNED if learned else pb.STRATEGY_TRENDING
    model_version = version.manifest.version_id if version is not None and learned else ""
    if not catalogue.known:
        return Answer([], pb.STRATEGY_TRENDING, pb.FALLBACK_EMPTY_CATALOGUE, "")
    window = histories.window(user) if version is not None and user is not None else None
    values = served_scores(version, window, knowledge)  # (A,)
    ranking.mask(values, catalogue.blocked())
    if user is not None:
        ranking.mask(values, histories.masked(user))
    if excluded:
        rows = [row for row in map(catalogue.find, excluded) if row is not None and row < len(values)]
        ranking.mask(values, np.array(rows, np.int32))
    if version is not None and learned and rng is not None:
        places = explore(values, count, version.manifest.epsilon, rng)
    else:
        top = ranking.top_k(values, count)
        places = list(map(Placed, top.tolist(), values[top].tolist()))
    if not places:
        return Answer([], strategy, pb.FALLBACK_NOTHING_LEFT, model_version)
    if version is None:
        return Answer(places, strategy, pb.FALLBACK_NO_MODEL, "")
    return Answer(places, strategy, pb.FALLBACK_UNSPECIFIED if learned else pb.FALLBACK_UNKNOWN_USER, model_version)


def explore(values: NDArray[np.float32], count: int, epsilon: float, rng: np.random.Generator) -> list[Placed]:
    """Fill each place with a uniformly random remaining product with probability `epsilon`, else with the best one.

    A product's propensity is exact, given the places above: epsilon / remaining, and 1 - epsilon more for the best.
    """
    pool = np.flatnonzero(values > -np.inf)  # what remains is pool[:left]
    left = len(pool)
    place_in_pool = np.full(len(values), -1)
    place_in_pool[pool] = np.arange(left)
    best_first = iter(ranking.top_k(values, count).tolist())
    best = next(best_first, None)
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
            best = next(best_first, None)
    return placed
