"""Recommends: from what is known, a model version and a request to a slate. Pure: no log, randomness passed in.

`recommend` answers a user or guest in four steps: `viewer_of` looks up the history and appends the session, `score`
scores every product, `limit` removes the candidates that must not be shown, and `place` chooses and orders the slate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.knowledge.catalogue import Attributes
from services.inference.knowledge.knowledge import Knowledge
from shared.model import ranking
from shared.model.candidates import rerank
from shared.model.explained import Reasons, explain
from shared.model.ranking import Traits
from shared.model.scoring import Scorer
from shared.model.served import COUNTED, SIMILAR, Places, Served, served, similar
from shared.numeric.compiled import Vector
from shared.pb.freshet.v1 import events_pb2
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.state.histories import EVENT_FEATURES, UNSAID, Window, features_of

FloatArray = NDArray[np.float32]
# Diversity chooses from a pool of this many times the slate's size, within these bounds.
POOL, LEAST_POOL, MOST_POOL = 5, 50, 500
# Of products of which nothing is learned.
_NO_DIRECTIONS: tuple[FloatArray, FloatArray] = np.zeros((1, 0), np.float32), np.zeros(1, np.float32)


@dataclass(frozen=True, slots=True)
class SlateRequest:
    """The validated parameters of a slate."""

    count: int
    wishes: pb.Wishes


class Answer(NamedTuple):
    """A slate, and where it comes from."""

    slate: Slate
    reasons: Reasons | None  # of the scores; None: not requested
    strategy: pb.Strategy.ValueType
    fallback: pb.Fallback.ValueType
    model_version: str


class Slate(NamedTuple):
    """K products, best first, and how each was placed."""

    rows: Vector[np.int64]  # (K,)
    scores: Vector[np.float32]  # (K,)
    explored: Vector[np.bool_]  # (K,)
    propensities: Vector[np.float64]  # (K,)


NOTHING_PLACED = Slate(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.bool_), np.zeros(0))


class Viewer(NamedTuple):
    """A user or guest with history and session.

    Attributes:
        window: the latest events, those of the session last; None: there are none.
        seen: (n,) rows to hide; may repeat.
        session: number of events at the end of the window that are the session's.
    """

    window: Window | None
    seen: NDArray[np.int32]
    session: int = 0


class ScoredProducts(NamedTuple):
    """Every product's score, and the parts it is made of."""

    served: Served
    boosts: FloatArray | None  # (A,) that were added; None: none were
    popularity_out: float = 0.0  # of log-popularity, that was subtracted

    @property
    def values(self) -> FloatArray:
        """(A,) scores, boosts included."""
        return self.served.values


def recommend(
    viewer: Viewer,
    slate: SlateRequest,
    *,
    knowledge: Knowledge,
    version: Scorer | None,
    rng: np.random.Generator | None = None,
) -> Answer:
    """The best products for one user or guest.

    Args:
        rng: for exploration in learned answers; None: no exploration.
    """
    known_user = viewer.window is not None
    learned = version is not None and known_user
    strategy = pb.STRATEGY_COUNTED if known_user else pb.STRATEGY_TRENDING
    if learned:
        strategy = pb.STRATEGY_LEARNED
    model_version = version.manifest.version_id if version is not None and learned else ""
    if not knowledge.catalogue.known:
        return Answer(NOTHING_PLACED, None, pb.STRATEGY_TRENDING, pb.FALLBACK_EMPTY_CATALOGUE, "")
    scored = score(version, viewer.window, slate.wishes, knowledge, knowledge.places)
    epsilon = version.manifest.epsilon if version is not None and learned else 0.0
    placed, reasons = choose(scored, viewer, slate, knowledge, version, epsilon=epsilon, rng=rng)
    if not len(placed.rows):
        fallback = pb.FALLBACK_NOTHING_LEFT
    elif version is None:
        fallback = pb.FALLBACK_NO_MODEL
    else:
        fallback = pb.FALLBACK_UNSPECIFIED if learned else pb.FALLBACK_UNKNOWN_USER
    return Answer(placed, reasons, strategy, fallback, model_version)


def viewer_of(user_id: str, session: Sequence[str], knowledge: Knowledge) -> Viewer:
    """The user (empty: a guest) with a session of viewed products, oldest first; unknown products are ignored."""
    histories = knowledge.histories
    user = histories.row(user_id) if user_id else None
    window = None if user is None else histories.window(user, now_ms=knowledge.now_ms())
    seen: NDArray[np.int32] = np.zeros(0, np.int32) if user is None else histories.masked(user)
    rows = [row for row in map(knowledge.catalogue.find, session) if row is not None]
    if not rows:
        return Viewer(window, seen)
    viewed = np.array(rows, np.int32)
    newest_ms = 0 if user is None else histories.newest_ms(user)
    latest = viewed[-histories.length :]
    features = _views(user_id, len(viewed), newest_ms, knowledge)[-histories.length :]
    return Viewer(_appended(window, latest, features), np.concatenate([seen, viewed]), len(latest))


def _views(user_id: str, count: int, newest_ms: int, knowledge: Knowledge) -> NDArray[np.float32]:
    """Features of consecutive views at this moment, of which the first follows the user's newest event, (count, F).

    Nothing else is known of them; their reward is that of the latest view in the log.
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


def _appended(window: Window | None, products: NDArray[np.int32], features: NDArray[np.float32]) -> Window:
    """The window with these events appended, cut to its length from the left."""
    argues = np.ones(len(products), np.bool_)
    if window is None:
        return Window(products[None], features[None], np.array([len(products)], np.int32), argues=argues[None])
    length = window.products.shape[1]
    kept = min(int(window.lengths[0]), length - len(products))
    end = int(window.lengths[0])
    return Window(
        np.concatenate([window.products[:, end - kept : end], products[None]], axis=1),
        np.concatenate([window.features[:, end - kept : end], features[None]], axis=1),
        np.array([kept + len(products)], np.int32),
        window.user,
        argues=np.concatenate([window.arguing()[end - kept :], argues])[None],
    )


def score(
    version: Scorer | None, window: Window | None, wishes: pb.Wishes, knowledge: Knowledge, places: Places | None
) -> ScoredProducts:
    """Every product's score; `places` scores new products, None: nothing does."""
    if wishes.explain and version is not None and window is not None:
        version.explains(window)
    return boosted(served(COUNTED if version is None else version, window, knowledge, places), wishes, knowledge)


def score_similar(
    row: int, version: Scorer | None, window: Window, wishes: pb.Wishes, knowledge: Knowledge
) -> ScoredProducts:
    """How well every product goes with one product, which is all of the window."""
    if wishes.explain and version is not None:
        version.explains(window)
    scores = similar(row, window, COUNTED if version is None else version, knowledge, knowledge.catalogue.content)
    return boosted(scores, wishes, knowledge, SIMILAR.popularity_out)


def boosted(scores: Served, wishes: pb.Wishes, knowledge: Knowledge, popularity_out: float = 0.0) -> ScoredProducts:
    """Add the boosts of the wishes, in place."""
    added = boosts(wishes, len(scores.values), knowledge) if wishes.boosts else None
    if added is not None:
        scores.values[:] += added
    return ScoredProducts(scores, added, popularity_out)


def boosts(wishes: pb.Wishes, rows: int, knowledge: Knowledge) -> FloatArray:
    """The logarithm of the product of all factors that apply to each product, (A,)."""
    added: FloatArray = np.zeros(rows, np.float32)
    now_ms = knowledge.now_ms()
    for boost in wishes.boosts:
        met = knowledge.masks.met(boost.products, rows, now_ms)
        np.add(added, np.float32(math.log(boost.factor)), out=added, where=met)
    return added


def choose(
    scored: ScoredProducts,
    viewer: Viewer,
    slate: SlateRequest,
    knowledge: Knowledge,
    version: Scorer | None,
    *,
    epsilon: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Slate, Reasons | None]:
    """The slate, best first, and the reasons of its scores where requested.

    Args:
        scored: changed in place: candidates that must not be shown get minus infinity.
        epsilon, rng: as in `place`.
    """
    limit(scored.values, viewer.seen, slate, knowledge)
    if version is not None:
        reranked = rerank(version.ranker, knowledge, viewer.window, version.mixture, scored.values)
        scored = scored._replace(served=scored.served._replace(reranked=reranked))
    require(scored.values, slate.wishes)
    placed = place(scored.values, slate, knowledge, version, epsilon=epsilon, rng=rng)
    if not len(placed.rows) or not slate.wishes.explain:
        return placed, None
    out = scored.popularity_out
    return placed, explain(scored.served, version, viewer.window, placed.rows, knowledge, scored.boosts, out)


def limit(values: FloatArray, seen: NDArray[np.int32], slate: SlateRequest, knowledge: Knowledge) -> None:
    """Set to minus infinity the values of candidates that fail the filter or must not be shown."""
    wishes, catalogue, rows = slate.wishes, knowledge.catalogue, len(values)
    if wishes.HasField("filter"):
        values += knowledge.masks.bars(wishes.filter, rows, knowledge.now_ms())
    ranking.mask(values, catalogue.hidden_rows())
    ranking.mask(values, seen)
    if wishes.exclude_product_ids:
        excluded = [row for row in map(catalogue.find, wishes.exclude_product_ids) if row is not None and row < rows]
        ranking.mask(values, np.array(excluded, np.int32))


def require(values: FloatArray, wishes: pb.Wishes) -> None:
    """Set to minus infinity the values of candidates that score too low."""
    if wishes.HasField("minimum_score"):
        values[values < np.float64(wishes.minimum_score)] = -np.inf


def place(
    values: FloatArray,
    slate: SlateRequest,
    knowledge: Knowledge,
    version: Scorer | None,
    *,
    epsilon: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Slate:
    """Choose and order the slate by score, with diversity where requested, and exploration where `rng` is given."""
    order = ordered(values, slate.count, slate.wishes.diversity, knowledge.catalogue.attributes, version)
    if epsilon and rng is not None:
        return explore(values, order, slate.count, epsilon, rng)
    return Slate(order, values[order], *_unexplored(len(order)))


@lru_cache(64)  # never changed
def _unexplored(count: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    return np.zeros(count, np.bool_), np.ones(count)


def ordered(
    values: FloatArray, count: int, diversity: float, attributes: Attributes, version: Scorer | None
) -> NDArray[np.int64]:
    """Rows of the first `count` products, by score or, with diversity, by score and difference.

    Products beyond the pool from which diversity chooses follow by score.
    """
    if not diversity:
        return ranking.top_k(values, count)
    pool = ranking.top_k(values, max(count, min(max(POOL * count, LEAST_POOL), MOST_POOL)))
    order = ranking.diversified(values, pool[:MOST_POOL], traits(len(values), attributes, version), diversity, count)
    return order if count <= MOST_POOL else np.concatenate([order, pool[MOST_POOL:count]])


def traits(rows: int, attributes: Attributes, version: Scorer | None) -> Traits:
    """What makes products alike: their categories and brands (see `Attributes`), and what the version learned of them.

    Args:
        rows: of products.
    """
    attributes.grow_to(rows)
    vectors, per_length = _NO_DIRECTIONS if version is None else version.directions()
    return Traits(attributes.tags, attributes.weights, vectors, per_length)


def explore(
    values: FloatArray, order: NDArray[np.int64], count: int, epsilon: float, rng: np.random.Generator
) -> Slate:
    """Fill each place with a random remaining candidate with probability `epsilon`, else with the next in order.

    A product's propensity is exact, given the places above: epsilon / remaining, and 1 - epsilon more for the next.

    Args:
        values: (A,) -inf for products that are no candidates.
        order: rows of the first `count` products without exploration; computed once, whatever exploration places above.
    """
    pool = np.flatnonzero(values > -np.inf)  # what remains is pool[:left]
    left = len(pool)
    place_in_pool = np.full(len(values), -1)
    place_in_pool[pool] = np.arange(left)
    in_order = iter(order.tolist())
    best = next(in_order, None)
    rows: list[int] = []
    explored, propensities = [], []
    taken: set[int] = set()
    while left and len(rows) < count and best is not None:
        explored.append(bool(rng.random() < epsilon))
        row = int(pool[rng.integers(left)]) if explored[-1] else best
        propensities.append(epsilon / left + (1.0 - epsilon if row == best else 0.0))
        rows.append(row)
        taken.add(row)
        left -= 1
        hole, last = int(place_in_pool[row]), int(pool[left])
        pool[hole], place_in_pool[last] = last, hole
        while best in taken:
            best = next(in_order, None)
    placed = np.array(rows, np.int64)
    return Slate(placed, values[placed], np.array(explored, np.bool_), np.array(propensities, np.float64))
