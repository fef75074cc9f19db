"""Where each expert alone ranks a product, held to places counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.model import ranking
from shared.model.mixture import DEFAULT, ITSELF, NEXT, POPULARITY, TOGETHER, context_of, groups
from shared.model.session_neighbours import LAGS
from shared.model.single_experts import BESIDE_SINGLE, SINGLE_EXPERTS, single_places
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.state.histories import UNSAID
from shared.state.shop import StreamSettings
from shared.state.stream import Stream
from tests.support.states import START_MS, shoppers

NOON_MS = START_MS + 1
NOBODY: NDArray[np.int32] = np.zeros(0, np.int32)


def stream_of(*events: tuple[str, str]) -> Stream:
    """After views by these users of these products, all at one moment, so that all weigh the same."""
    stream = Stream(StreamSettings())
    for user, product in events:
        stream.apply(
            pb.StateVector(
                user_id=user, product_id=product, kind=pb.EVENT_KIND_VIEW, event_time_ms=NOON_MS, imputed=UNSAID
            )
        )
    return stream


def shop() -> Stream:
    """p3 has five views, p0 four, p1 two, p2 and p4 one. After p0 came p1 twice and p2 once; "me" saw p0 alone."""
    pairs = [("a", "p0"), ("a", "p1"), ("b", "p0"), ("b", "p2"), ("c", "p0"), ("c", "p1")]
    return stream_of(*pairs, *((f"d{n}", "p3") for n in range(5)), ("e", "p4"), ("me", "p0"))


def places(
    stream: Stream,
    user: str | None,
    product: str,
    *,
    masked: tuple[str, ...] = (),
    weights: NDArray[np.float32] = DEFAULT,
) -> dict[str, float]:
    """By the name of each expert; popularity's are the same, since nothing has decayed."""
    row = None if user is None else stream.histories.row(user)
    window = None if row is None else stream.histories.window(row, now_ms=NOON_MS)
    rows = np.array([stream.rows[name] for name in masked], np.int32)
    result = single_places(stream.known, window, weights, len(stream.products), stream.rows[product], rows)
    by_name = dict(zip(SINGLE_EXPERTS, result.tolist(), strict=True))
    popular = {by_name.pop(name) for name in SINGLE_EXPERTS if name.startswith("popular")}
    assert popular == {by_name["trending"]}
    return by_name


def test_each_expert_ranks_by_what_it_knows_and_the_rest_by_popularity() -> None:
    assert SINGLE_EXPERTS == (
        "trending", "popular-6h", "popular-2d", "popular-14d", "popular-60d", "next", "together", "itself", "sessions",
    )  # fmt: skip
    stream = shop()
    assert places(stream, "me", "p1") == {"trending": 3, "next": 1, "together": 1, "itself": 3, "sessions": 2}
    assert places(stream, "me", "p2") == {"trending": 4.5, "next": 2, "together": 2, "itself": 4.5, "sessions": 3}
    assert places(stream, "me", "p3") == {"trending": 1, "next": 3, "together": 3, "itself": 2, "sessions": 4}
    assert places(stream, "me", "p0") == {"trending": 2, "next": 4, "together": 4, "itself": 1, "sessions": 1}
    assert places(stream, "me", "p4") == {"trending": 4.5, "next": 5, "together": 5, "itself": 4.5, "sessions": 5}


def test_masked_products_are_not_ranked() -> None:
    stream = shop()
    without = places(stream, "me", "p2", masked=("p1", "p3"))
    assert without == {"trending": 2.5, "next": 1, "together": 1, "itself": 2.5, "sessions": 2}
    assert set(places(stream, "me", "p1", masked=("p1",)).values()) == {np.inf}


def test_without_a_history_every_expert_says_what_is_trending() -> None:
    assert set(places(shop(), None, "p1").values()) == {3}


def test_what_disappointed_argues_for_nothing() -> None:
    stream = shop()
    stream.apply(
        pb.StateVector(
            user_id="hater", product_id="p0", kind=pb.EVENT_KIND_RATING, event_time_ms=NOON_MS, rating=1.0, reward=-1.0
        )
    )
    assert set(places(stream, "hater", "p1").values()) == {3}


def test_lags_count_within_a_relation_as_they_are_served() -> None:
    pairs = [("a", "p0"), ("a", "p1"), ("aa", "p0"), ("aa", "p1"), ("b", "p2"), ("b", "p3"), ("bb", "p2"), ("bb", "p3")]
    stream = stream_of(*pairs, ("c", "p3"), ("d", "p4"), ("me", "p0"), ("me", "p2"))
    weights = np.zeros_like(DEFAULT)
    context = context_of(2, 0)
    for relation in (NEXT, TOGETHER, ITSELF):
        at = POPULARITY + relation * LAGS
        weights[context, at : at + 2] = (1, 3) if relation == ITSELF else (3, 1)
    assert places(stream, "me", "p3", weights=weights)["next"] == 1, "after p2, the newest"
    assert places(stream, "me", "p2", weights=weights)["itself"] == 2, "p0, the older, counts more here"
    weights[context, POPULARITY : POPULARITY + 2] = (0, 1)
    assert places(stream, "me", "p3", weights=weights)["next"] > 1, "the newest counts nothing now"
    assert places(stream, "me", "p1", weights=weights)["next"] == 1
    even = places(stream, "me", "p3", weights=np.zeros_like(DEFAULT))
    assert even["next"] <= 2, "weights that were never learned count evenly"


@pytest.mark.parametrize("seed", [1, 2])
def test_places_are_those_of_the_scores_each_group_gives(seed: int) -> None:
    stream = Stream(StreamSettings(masked_kinds=""))
    for state in shoppers(1500, seed=seed):
        state.reward = abs(state.reward)  # what disappointed has a test of its own
        stream.apply(state)
    rng = np.random.default_rng(seed)
    a, now_ms = len(stream.products), START_MS + 80 * DAY_MS
    for user in range(0, 60, 7):
        window = stream.histories.window(user, now_ms=now_ms)
        weights = DEFAULT[context_of(int(window.lengths[0]), window.since_ms)].copy()
        for relation in (NEXT, TOGETHER, ITSELF):
            of_relation = weights[POPULARITY + relation * LAGS : POPULARITY + (relation + 1) * LAGS]
            of_relation /= of_relation[: int(window.lengths[0])].sum()
        weights[:POPULARITY] = 1.0
        weights[-1] = 1.0
        related = groups(stream.known, window, weights, a)[POPULARITY:]
        popular = [counts / np.float32(total) for counts, total in map(stream.tally.weights, range(POPULARITY))]
        masked = rng.choice(a, 10, replace=False).astype(np.int32)
        for product in (int(masked[0]), *range(5)):
            measured = single_places(stream.known, window, DEFAULT, a, product, masked)
            for member, place in zip([*popular, *related], measured, strict=True):
                values = member + np.float32(BESIDE_SINGLE) * popular[0]
                ranking.mask(values, masked)
                if values[product] == -np.inf:
                    assert place == np.inf
                    continue
                almost = np.abs(values - values[product]) <= 1e-5 * values[product]  # sums may round otherwise
                better = np.count_nonzero((values > values[product]) & ~almost)
                assert 1 + better <= place <= better + np.count_nonzero(almost)
