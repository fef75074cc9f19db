"""What made the scores: parts that add up to them, whatever the policy, and the events that made the parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.content.new_products import Content
from shared.model.explained import ALONE, GROUPS, MOST_EVENTS, NOTHING, OF_SEQUENCE, OF_VALUES, PARTS, Reasons, explain
from shared.model.served import COUNTED, served
from shared.pb.freshet.v1.events_pb2 import Product
from shared.pb.freshet.v1.recommender_pb2 import (
    PART_BOOST,
    PART_CO_OCCURRENCE,
    PART_CONTENT,
    PART_ITSELF,
    PART_NEIGHBOURS,
    PART_Q,
    PART_SENTIMENT,
    PART_SEQUENCE,
    PART_TRENDING,
)
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.tally import Tally
from tests.support.states import review
from tests.unit.shared.policies.test_contract import PUBLISHED, learned, liked, published, ranked

FloatArray = NDArray[np.float32]
SENTIMENT = EVENT_FEATURES.index("sentiment")

# What each policy's scores may be made of.
OF_POLICIES = {
    "trending": {PART_TRENDING},
    **{name: {PART_TRENDING, PART_CO_OCCURRENCE} for name in ("repeat", "markov", "itemknn", "ease")},
    **{name: {PART_SEQUENCE} for name in ("ials", "bpr", "gru4rec", "sasrec")},
    "markov-sasrec": {PART_TRENDING, PART_CO_OCCURRENCE, PART_SEQUENCE},
    "dqn": {PART_Q, PART_SENTIMENT},
    "mixture": {PART_TRENDING, PART_CO_OCCURRENCE, PART_ITSELF, PART_NEIGHBOURS},
    "freshet": {
        PART_TRENDING,
        PART_CO_OCCURRENCE,
        PART_ITSELF,
        PART_NEIGHBOURS,
        PART_SEQUENCE,
        PART_Q,
    },
}


class Reason(NamedTuple):
    """Of one product."""

    part: int
    score: float
    events: tuple[tuple[int, float], ...]


def each(reasons: Reasons) -> list[dict[int, Reason]]:
    """Of each product its reasons by part."""
    of_each: list[dict[int, Reason]] = [{} for _ in reasons.scores[0]]
    for part in range(PARTS):
        for of_one, score, count, places, adds in zip(of_each, *(of_all[part] for of_all in reasons), strict=True):
            if count or abs(score) > NOTHING:
                of_one[part] = Reason(part, score, tuple(zip(places[:count], adds[:count], strict=True)))
    return of_each


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parts_add_up_to_the_score_whatever_the_policy(name: str, tmp_path: Path) -> None:
    stream, policy = learned(name, 600)
    liked(policy)
    scorer = published(stream, policy, tmp_path)
    content = Content()
    for row, product in enumerate(stream.products):
        content.put(row, Product(product_id=product, title=f"{product[:1]} thing"))
        for _ in range(row % 12):
            content.count(row)
    boosts = np.linspace(-1.0, 1.0, len(stream.products), dtype=np.float32)
    rows, given = np.arange(len(stream.products)), set()
    for user in range(20):
        window = stream.histories.window(user)
        scored = ranked(scorer, window, stream.known, content)
        for row, reasons in enumerate(each(explain(scored, scorer, window, rows, stream.known, boosts))):
            total = sum(reason.score for reason in reasons.values())
            assert total == pytest.approx(scored.values[row] + boosts[row], abs=1e-4)
            given |= set(reasons)
            for reason in reasons.values():
                assert len(reason.events) <= MOST_EVENTS
                assert all(0 <= place < window.lengths[0] for place, _ in reason.events)
    assert given == OF_POLICIES[name] | {PART_CONTENT, PART_BOOST}


def test_of_freshet_without_heads_the_tally_alone_is_the_reason() -> None:
    stream, policy = learned("freshet", 600)
    given = set()
    rows = np.arange(len(stream.products))
    for version in (policy, COUNTED):
        for user in range(20):
            window = stream.histories.window(user)
            scored = served(version, window, stream.known)
            for row, reasons in enumerate(each(explain(scored, None, window, rows, stream.known))):
                assert sum(reason.score for reason in reasons.values()) == pytest.approx(scored.values[row], abs=1e-4)
                given |= set(reasons)
        assert given == {PART_TRENDING, PART_CO_OCCURRENCE, PART_ITSELF, PART_NEIGHBOURS}
        scored = served(version, None, stream.known)
        reasons = explain(scored, None, None, rows, stream.known)
        assert reasons.scores[PART_TRENDING] == pytest.approx(scored.values.tolist(), abs=1e-5), "nobody's history"
        assert not np.delete(reasons.scores, PART_TRENDING, axis=0).any()
        assert not reasons.counts.any()


def test_itself_is_told_by_events_with_the_very_product_and_co_occurrence_by_others(tmp_path: Path) -> None:
    stream, policy = learned("freshet", 600)
    liked(policy)
    scorer = published(stream, policy, tmp_path)
    rows = np.arange(len(stream.products))
    with_itself = 0
    for user in range(20):
        window = stream.histories.window(user)
        products = window.products[0]
        scored = ranked(scorer, window, stream.known)
        for row, reasons in enumerate(each(explain(scored, scorer, window, rows, stream.known))):
            beside, itself = reasons.get(PART_CO_OCCURRENCE), reasons.get(PART_ITSELF)
            if beside is not None:
                assert beside.events
                assert all(products[place] != row for place, _ in beside.events)
                assert sum(adds for _, adds in beside.events) <= beside.score + 1e-5
            assert (itself is not None) <= (row in products), "only who had it comes back to it"
            if itself is not None:
                assert all(products[place] == row for place, _ in itself.events)
                with_itself += 1
            assert not reasons.get(PART_NEIGHBOURS, Reason(0, 0.0, ())).events, "neighbours are no events of the user's"
    assert with_itself > 20


def test_what_the_heads_add_are_two_parts_and_no_event_alone_tells_them(tmp_path: Path) -> None:
    stream, policy = learned("freshet", 600)
    liked(policy)
    scorer = published(stream, policy, tmp_path)
    for window in (None, stream.histories.window(3)):
        scored = ranked(scorer, window, stream.known)
        candidates, adds = scored.reranked
        reasons = explain(scored, scorer, window, candidates, stream.known)
        assert np.array_equal(reasons.scores[[PART_SEQUENCE, PART_Q]], adds)
        assert np.all(np.ptp(adds, axis=1) > 0.0)
        assert not reasons.counts[[PART_SEQUENCE, PART_Q]].any()
        others = np.setdiff1d(np.arange(len(stream.products)), candidates)
        assert not explain(scored, scorer, window, others, stream.known).scores[[PART_SEQUENCE, PART_Q]].any()


SORRY = {"one star": {"rating": 1.0}, "a sorry text without stars": {"reward": -0.3, "rating": 0.0}}


@pytest.mark.parametrize("sorry", SORRY)
@pytest.mark.parametrize("name", ["freshet", "markov", "itemknn", "ease"])
def test_nothing_is_said_to_go_with_what_the_user_disliked(name: str, sorry: str, tmp_path: Path) -> None:
    stream, policy = learned(name, 600)
    rows = stream.rows
    for n, product in enumerate(("p3", "p9", "p9")):  # once they were content with it, in the end they were not
        policy.learn(stream.apply(review("sorry", product, 31, **(SORRY[sorry] if n == 2 else {}))))
    policy.refit()
    scorer = published(stream, policy, tmp_path)
    window = stream.histories.window(len(stream.histories.users) - 1)
    scored = ranked(scorer, window, stream.known)
    reasons = each(explain(scored, scorer, window, np.arange(len(rows)), stream.known))
    shown = [of_one[PART_CO_OCCURRENCE] for of_one in reasons if PART_CO_OCCURRENCE in of_one]
    assert {place for reason in shown for place, _ in reason.events} == {0}, "p3 alone argues"
    for row, of_one in enumerate(reasons):
        assert sum(reason.score for reason in of_one.values()) == pytest.approx(scored.values[row], abs=1e-4)
    if name == "freshet":
        assert PART_ITSELF not in reasons[rows["p9"]]
        assert PART_ITSELF in reasons[rows["p3"]]


class Separated:
    """A version that gives three products the scores it is made with, after a history of two events."""

    history_length = 2
    mixture = None
    ranker = None

    def __init__(self, popularity_weight: float, related: FloatArray, heads: FloatArray) -> None:
        self.popularity_weight = popularity_weight
        self._related = related  # (2, 3)
        self._heads = heads  # (G, 3, 1 or 2, 3): as if no text had any sentiment, and as it was

    def related(self, window: Window) -> FloatArray:  # noqa: ARG002
        total: FloatArray = self._related.sum(axis=0)
        return total

    def scores(self, window: Window) -> FloatArray:  # noqa: ARG002
        total: FloatArray = self._heads[:, :, -1, -1].sum(axis=0)
        return total

    def related_by_event(self, window: Window, rows: NDArray[np.int64]) -> FloatArray:  # noqa: ARG002
        return np.pad(self._related, ((0, 0), (0, 1)))[:, np.minimum(rows, 3)]  # none of products that came later

    def by_head(self, window: Window, rows: NDArray[np.int64]) -> FloatArray:
        ways = slice(None, None, -1) if window.features[0, :, SENTIMENT].any() else slice(1)
        return np.ascontiguousarray(self._heads[:, np.minimum(rows, 2)][:, :, ways])


def history(*sentiments: float) -> Window:
    features = np.zeros((1, len(sentiments), len(EVENT_FEATURES)), np.float32)
    features[0, :, SENTIMENT] = sentiments
    return Window(np.zeros((1, len(sentiments)), np.int32), features, np.array([len(sentiments)], np.int32))


def popularity(*products: int) -> Tally:
    trending = Tally(1000.0)
    for product in products:
        trending.add(product, 1, 5)
    return trending


def array(*rows: object) -> FloatArray:
    return np.array(rows, np.float32)


def test_each_part_is_told_by_the_events_that_made_it() -> None:
    heads = np.zeros((len(GROUPS), 3, 2, 3), np.float32)
    heads[OF_SEQUENCE, 0] = array([0.5, 0.9, 2.9], [0.4, 0.6, 3.1])  # before any event, after one, after both
    heads[OF_VALUES, 0] = array([0.1, 0.1, 0.0], [0.1, 0.2, 0.2])
    heads[ALONE, 0] = 0.25
    related = array([0.02, 0.0, 0.0], [0.06, 0.3, 0.0])
    version = Separated(0.5, related, heads)
    trending, rows = popularity(0, 0, 1, 1, 2, 2), np.array([0, 1])
    shares = trending.shares()
    window = history(0.0, 0.0, 0.8)  # of three events, the oldest of which the version does not look at
    scored = served(version, window, trending)
    first, second = each(explain(scored, version, window, rows, trending, popularity_out=0.25))
    counted, lift = np.log(0.5 * shares[0]), np.log((0.5 * shares[0] + 0.08) / (0.5 * shares[0]))
    assert flat(first[PART_TRENDING]) == approx([counted + 0.25 - 0.25 * np.log(shares[0])])
    assert flat(first[PART_CO_OCCURRENCE]) == approx([lift, 2, 0.75 * lift, 1, 0.25 * lift])
    assert flat(first[PART_SEQUENCE]) == approx([2.9, 2, 2.0, 1, 0.4]), "without the sentiment"
    assert flat(first[PART_Q]) == approx([0.0, 2, -0.1])
    assert flat(first[PART_SENTIMENT]) == approx([0.4, 2, 0.6, 1, -0.1])
    assert set(second) == {PART_TRENDING, PART_CO_OCCURRENCE}, "what adds nothing is no reason"


def flat(reason: Reason) -> list[float]:
    """Its score, then place and score of each event."""
    return [reason.score, *(number for event in reason.events for number in event)]


def approx(numbers: list[float]) -> Any:
    return pytest.approx(numbers, abs=1e-5)


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=27, max_size=27),
    st.lists(st.floats(0, 0.25, width=32), min_size=6, max_size=6),
    st.one_of(st.just(0.0), st.floats(0.01, 1.0)),
    st.booleans(),
)
def test_parts_add_up(heads: list[float], related: list[float], popularity_weight: float, feels: bool) -> None:
    groups = array(*heads).reshape(3, 3, 1, 3)
    if feels:
        groups = np.concatenate([groups, groups + np.float32(1.0)], axis=2)
        groups[ALONE, :, 1] = groups[ALONE, :, 0]
    version = Separated(popularity_weight, array(*related).reshape(2, 3), groups)
    trending, window, rows = popularity(0, 1, 1, 2, 3), history(0.0, 0.5 if feels else 0.0), np.arange(4)
    scored = served(version, window, trending)
    for row, reasons in zip(rows, each(explain(scored, version, window, rows, trending)), strict=True):
        assert sum(reason.score for reason in reasons.values()) == pytest.approx(scored.values[row], abs=1e-4)


def test_of_a_user_of_whom_nothing_is_known_popularity_is_the_reason() -> None:
    trending = popularity(0, 0, 1)
    (reasons,) = each(explain(served(None, None, trending), None, None, np.array([1]), trending))
    (reason,) = reasons.values()
    assert reason.part == PART_TRENDING
    assert flat(reason) == approx([float(trending.log_popularity()[1])])
