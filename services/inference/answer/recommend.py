"""From what is known, a version and a request to an answer. Pure: no log, randomness passed in.

In steps: `score` gives every product its value, `limit` takes out what must not be shown, `place` chooses and orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.knowledge.catalogue import Attributes
from services.inference.knowledge.knowledge import Knowledge
from shared.model import ranking
from shared.model.explained import Reasons, explain
from shared.model.ranking import diversified
from shared.model.scoring import Scorer
from shared.model.served import SIMILAR, Places, Served, served, similar
from shared.pb.freshet.v1 import events_pb2
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.state.histories import EVENT_FEATURES, UNSAID, Window, features_of

# Every product's score for one request, and what it is made of. Pure.

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scored:
    """Every product's score, and what it is made of."""

    served: Served
    boosts: FloatArray | None  # (A,) that were added; None: there were none
    popularity_out: float = 0.0  # of log-popularity, that was taken out

    @property
    def values(self) -> FloatArray:
        """(A,) scores, boosts in them."""
        return self.served.values


def score(
    version: Scorer | None, window: Window | None, wishes: pb.Wishes, knowledge: Knowledge, places: Places | None
) -> Scored:
    """Every product's score; `places`: of new products, None where nothing gives them one."""
    if wishes.explain and version is not None and window is not None:
        version.explains(window)
    return boosted(served(version, window, knowledge, places), wishes, knowledge)


def score_similar(row: int, version: Scorer | None, window: Window, wishes: pb.Wishes, knowledge: Knowledge) -> Scored:
    """How well every product goes with one, after which the window is."""
    if wishes.explain and version is not None:
        version.explains(window)
    found = similar(row, window, version, knowledge, knowledge.catalogue.content)
    return boosted(found, wishes, knowledge, SIMILAR.popularity_out if version is not None else 0.0)


def boosted(found: Served, wishes: pb.Wishes, knowledge: Knowledge, popularity_out: float = 0.0) -> Scored:
    """Add what the wishes boost, in place."""
    added = boosts(wishes, len(found.values), knowledge) if wishes.boosts else None
    if added is not None:
        found.values[:] += added
    return Scored(found, added, popularity_out)


def boosts(wishes: pb.Wishes, rows: int, knowledge: Knowledge) -> FloatArray:
    """What the boosts add to each product's score, (A,): the logarithm of the factors of all that apply."""
    added: FloatArray = np.zeros(rows, np.float32)
    now_ms = knowledge.now_ms()
    for boost in wishes.boosts:
        met = knowledge.masks.met(boost.products, rows, now_ms)
        np.add(added, np.float32(math.log(boost.factor)), out=added, where=met)
    return added


# How much products are like each other: in what the catalogue says of them and in what a version has learned. Pure.


def likeness(rows: NDArray[np.int64], attributes: Attributes, version: Scorer | None) -> FloatArray:
    """How much each of P products is like each other one, (P, P), [0, 1].

    The cosine of their categories and brands, see `Attributes`, and that of the vectors that the version has learned,
    negative ones as 0: the mean of both where both products have both, else the one that both have.
    """
    named, alike = _alike_by_name(rows, attributes)
    if version is None:
        return alike
    vectors = version.vectors(rows)  # (P, D)
    learned = vectors.any(axis=1)
    cosine = np.maximum(vectors @ vectors.T, 0.0)
    if named.all() and learned.all():
        counts: FloatArray | np.float32 = np.float32(2.0)
    else:
        counts = np.maximum(np.outer(named, named).astype(np.float32) + np.outer(learned, learned), 1.0)
    result: FloatArray = (alike + cosine) / counts
    return result


def _alike_by_name(rows: NDArray[np.int64], attributes: Attributes) -> tuple[NDArray[np.bool_], FloatArray]:
    """Which products have categories or a brand, (P,), and the cosine of these, (P, P)."""
    tags, weights = attributes.tags[rows], attributes.weights[rows]  # (P, K)
    codes, places = tags.ravel(), np.arange(tags.size)
    winner: NDArray[np.int64] = np.empty(attributes.codes + 1, np.int64)  # code → one of its places; last: of no tag
    winner[codes] = places
    winners = winner[codes]
    column = (np.cumsum(winners == places) - 1)[winners]  # of each place: codes are numbered anew, without gaps
    spread: FloatArray = np.zeros((len(rows), int(column.max(initial=-1)) + 1), np.float32)
    spread[places // tags.shape[1], column] = weights.ravel()
    return np.any(weights, axis=1), np.matmul(spread, spread.T)


# Who is to be answered: what the log, and the session of the request, say of the user.


class Viewer(NamedTuple):
    """What is known of a user or a guest.

    Attributes:
        window: the latest events, those of the session last; None: there is none.
        seen: (n,) rows that must not be recommended; may repeat.
        session: how many events at the end of the window are the session's.
    """

    window: Window | None
    seen: NDArray[np.int32]
    session: int = 0


def viewer_of(user_id: str, session: Sequence[str], knowledge: Knowledge) -> Viewer:
    """The user, empty for a guest, with the products looked at lately, oldest first; unknown ones are ignored."""
    histories = knowledge.histories
    user = histories.row(user_id) if user_id else None
    window = None if user is None else histories.window(user)
    seen: NDArray[np.int32] = np.zeros(0, np.int32) if user is None else histories.masked(user)
    rows = [row for row in map(knowledge.catalogue.find, session) if row is not None]
    if not rows:
        return Viewer(window, seen)
    viewed = np.array(rows, np.int32)
    newest_ms = 0 if user is None else histories.newest_ms(user)
    latest = viewed[-histories.length :]
    features = _views(user_id, len(viewed), newest_ms, knowledge)[-histories.length :]
    return Viewer(_followed(window, latest, features), np.concatenate([seen, viewed]), len(latest))


def _views(user_id: str, count: int, newest_ms: int, knowledge: Knowledge) -> NDArray[np.float32]:
    """Features of that many views in a row, the first at this moment after the user's newest event, (count, F).

    Nothing but that they were views is known of them; a view's reward is what features gave to the latest one.
    """
    now_ms = max(newest_ms, knowledge.now_ms())
    state = events_pb2.StateVector(
        user_id=user_id,
        kind=events_pb2.EVENT_KIND_VIEW,
        event_time_ms=now_ms,
        reward=knowledge.view_reward,
        imputed=UNSAID,
    )
    features: NDArray[np.float32] = np.empty((count, len(EVENT_FEATURES)), np.float32)
    features[:] = features_of(state, now_ms)
    features[0] = features_of(state, newest_ms)
    return features


def _followed(window: Window | None, products: NDArray[np.int32], features: NDArray[np.float32]) -> Window:
    """The window with these events after its own; as many of the newest as it holds of one user."""
    if window is None:
        return Window(products[None], features[None], np.array([len(products)], np.int32))
    length = window.products.shape[1]
    kept = min(int(window.lengths[0]), length - len(products))
    end = int(window.lengths[0])
    return Window(
        np.concatenate([window.products[:, end - kept : end], products[None]], axis=1),
        np.concatenate([window.features[:, end - kept : end], features[None]], axis=1),
        np.array([kept + len(products)], np.int32),
    )


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
    if wishes.exclude_product_ids:
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
