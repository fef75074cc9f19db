"""From knowledge and a request to the places of an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.answer.messages import PastEvents, past_events, written
from services.inference.answer.recommend import (
    Slate,
    SlateRequest,
    explore,
    limit,
    place,
    recommend,
    score,
    traits,
    viewer_of,
)
from services.inference.knowledge.catalogue import Attributes
from services.inference.knowledge.knowledge import Knowledge
from shared.log.records import DAY_MS, kinds_of
from shared.model.explained import NOTHING, PARTS, Reasons
from shared.model.ranking import likeness
from shared.model.scoring import Scorer, load_scorer
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.state.histories import EVENT_FEATURES, FUTURE_FEATURES, Histories
from shared.state.tally import Tally
from tests.support.states import START_MS, review
from tests.support.versions import network_version, tiny_version

NOBODY = np.zeros(0, np.int32)
UNSAID = [ev.IMPUTED_PRICE, ev.IMPUTED_HELPFULNESS, ev.IMPUTED_RATING, ev.IMPUTED_SENTIMENT]


def recommended(*answer: Any) -> Sequence[pb.RecommendedProduct]:
    """The products that `written` writes."""
    return pb.RecommendResponse.FromString(written(*answer)).products


def view(user: str, product: str, day: float, reward: float = 0.05) -> ev.StateVector:
    return ev.StateVector(
        user_id=user,
        product_id=product,
        kind=ev.EVENT_KIND_VIEW,
        event_time_ms=START_MS + int(day * DAY_MS),
        price_scaled=0.5,
        helpfulness_scaled=0.5,
        rating=3.0,
        reward=reward,
        imputed=UNSAID,
    )


def knowledge_of(*states: ev.StateVector, length: int = 4, placing: bool = True) -> Knowledge:
    histories = Histories(length, kinds_of(["review"]))
    knowledge = Knowledge(histories, Tally(30 * DAY_MS), 1, places_new_products=placing)
    for n, state in enumerate(states):
        state.event_id, state.source_offset = f"e{n}", n
        assert knowledge.apply_once(state, 0)
    return knowledge


def shop() -> Knowledge:
    """Four products, the first the most popular, each with a price; the first two of one kind."""
    knowledge = knowledge_of(*(view("", f"p{n}", 1) for n in (0, 0, 0, 0, 1, 1, 1, 2, 2, 3)))
    for n in range(4):
        kind = "Shoes" if n < 2 else f"Kind {n}"
        knowledge.catalogue.upsert(ev.Product(product_id=f"p{n}", price=10.0 * n, categories=["All", kind]))
    return knowledge


def placed(knowledge: Knowledge, wishes: dict[str, Any], *, count: int = 10) -> dict[str, float]:
    request = SlateRequest(count, ParseDict(wishes, pb.Wishes()))
    answer = recommend(viewer_of("", [], knowledge), request, knowledge=knowledge, version=None)
    return scores_of(answer.slate, knowledge)


def scores_of(slate: Slate, knowledge: Knowledge) -> dict[str, float]:
    ids = [knowledge.catalogue.ids[row] for row in slate.rows]
    return dict(zip(ids, slate.scores.tolist(), strict=True))


def test_reasons_name_past_events_and_those_of_the_session(tmp_path: Path) -> None:
    """For a user whose history is longer than what is kept, and whose session has two products."""
    past = [review("ann", f"p{n}", n + 1) for n in range(6)]
    knowledge = knowledge_of(*past, *(view("", f"p{n}", 9) for n in range(8)))
    follows = {f"p{n}": {"p7": 0.1 * (n + 1)} for n in range(7)}
    tiny_version(tmp_path, "v", {f"p{n}": float(n == 7) for n in range(8)}, follows=follows)
    catalogue = knowledge.catalogue
    version = load_scorer(tmp_path / "v", None, catalogue.row_of, lambda: len(catalogue))
    viewer = viewer_of("ann", ["p6", "p0"], knowledge)
    request = SlateRequest(
        1,
        ParseDict(
            {"explain": True, "boosts": [{"products": {"not": {"brand": {"values": ["x"]}}}, "factor": 2.0}]},
            pb.Wishes(),
        ),
    )
    answer = recommend(viewer, request, knowledge=knowledge, version=version)
    (product,) = recommended(
        answer.slate, request.wishes, catalogue, answer.reasons, past_events("ann", viewer, knowledge)
    )
    assert product.product_id == "p7"
    assert sum(reason.score for reason in product.reasons) == pytest.approx(product.score, abs=1e-4)
    reasons = {reason.part: reason for reason in product.reasons}
    assert reasons[pb.PART_BOOST].score == pytest.approx(math.log(2.0))
    by = reasons[pb.PART_CO_OCCURRENCE]
    assert [(e.product_id, e.kind, e.event_time_ms) for e in by.events] == [
        ("p6", ev.EVENT_KIND_VIEW, 0),
        ("p5", ev.EVENT_KIND_REVIEW, past[5].event_time_ms),
        ("p0", ev.EVENT_KIND_VIEW, 0),
    ]
    assert not recommend(viewer, SlateRequest(1, pb.Wishes()), knowledge=knowledge, version=version).reasons


@pytest.fixture
def networked(tmp_path: Path) -> tuple[Knowledge, Scorer]:
    """Eight products and a version whose action network puts them in an order of its own."""
    knowledge = knowledge_of(
        *(view(user, f"p{n * step % 8}", 1 + n / 10) for n in range(12) for user, step in (("ann", 1), ("bob", 3)))
    )
    catalogue = knowledge.catalogue
    network_version(tmp_path, "v", [f"p{n}" for n in range(8)], scale=3.0)
    return knowledge, load_scorer(tmp_path / "v", None, catalogue.row_of, lambda: len(catalogue))


def test_the_minimum_counts_for_the_score_that_is_shown(networked: tuple[Knowledge, Scorer]) -> None:
    knowledge, version = networked
    viewer = viewer_of("ann", [], knowledge)

    def shown(**wishes: Any) -> dict[str, float]:
        answer = recommend(viewer, SlateRequest(10, pb.Wishes(**wishes)), knowledge=knowledge, version=version)
        return scores_of(answer.slate, knowledge)

    plain = shown()
    first_stage = score(version, viewer.window, pb.Wishes(), knowledge, knowledge.places).values
    before = dict(zip(knowledge.catalogue.ids, first_stage.tolist(), strict=True))
    assert list(plain) != sorted(before, key=before.__getitem__, reverse=True), "another order"
    least = sorted(plain.values())[4]
    expected = {product: value for product, value in plain.items() if value >= least}
    assert shown(minimum_score=least) == expected
    assert expected.keys() != {product for product, value in before.items() if value >= least}
    assert shown(minimum_score=max(plain.values()) + 0.1) == {}


def test_what_must_not_be_shown_is_no_candidate_whatever_the_network_says(networked: tuple[Knowledge, Scorer]) -> None:
    knowledge, version = networked
    catalogue = knowledge.catalogue

    def shown(wishes: pb.Wishes) -> dict[str, float]:
        viewer, request = viewer_of("ann", [], knowledge), SlateRequest(10, wishes)
        return scores_of(recommend(viewer, request, knowledge=knowledge, version=version).slate, knowledge)

    best = next(iter(shown(pb.Wishes())))
    excluding = shown(pb.Wishes(exclude_product_ids=[best]))
    catalogue.remove(best)
    for placed_without in (excluding, shown(pb.Wishes())):
        assert len(placed_without) == 7
        assert best not in placed_without
        assert np.isfinite(list(placed_without.values())).all()


def test_reasons_of_a_version_with_a_network_add_up_to_the_score(networked: tuple[Knowledge, Scorer]) -> None:
    knowledge, version = networked
    boost = {"products": {"not": {"brand": {"values": ["x"]}}}, "factor": 2.0}
    request = SlateRequest(8, ParseDict({"explain": True, "boosts": [boost]}, pb.Wishes()))
    for user in ("ann", "nobody"):
        viewer = viewer_of(user, [], knowledge)
        answer = recommend(viewer, request, knowledge=knowledge, version=version)
        events = past_events(user, viewer, knowledge)
        products = recommended(answer.slate, request.wishes, knowledge.catalogue, answer.reasons, events)
        assert len(products) == 8
        for product in products:
            assert sum(reason.score for reason in product.reasons) == pytest.approx(product.score, abs=1e-4)
            assert {pb.PART_SEQUENCE, pb.PART_Q} <= {reason.part for reason in product.reasons}


def test_before_any_version_reasons_say_how_often_the_user_had_the_very_product() -> None:
    bought = [view("ann", "p0", day) for day in (1, 2, 3)]
    for state in bought[1:]:
        state.kind = ev.EVENT_KIND_PURCHASE
    knowledge = knowledge_of(*bought, view("ann", "p1", 4), view("bob", "p2", 5))
    viewer = viewer_of("ann", [], knowledge)
    request = SlateRequest(10, pb.Wishes(explain=True))
    answer = recommend(viewer, request, knowledge=knowledge, version=None)
    assert (answer.strategy, answer.fallback) == (pb.STRATEGY_COUNTED, pb.FALLBACK_NO_MODEL)
    events = past_events("ann", viewer, knowledge)
    products = recommended(answer.slate, request.wishes, knowledge.catalogue, answer.reasons, events)
    of_itself = {p.product_id: r for p in products for r in p.reasons if r.part == pb.PART_ITSELF}
    assert {product: reason.times for product, reason in of_itself.items()} == {"p0": 2, "p1": 1}
    assert of_itself["p0"].events[0].kind == ev.EVENT_KIND_PURCHASE, "the newest adds most: bought twice"
    assert all(r.times == 0 for p in products for r in p.reasons if r.part != pb.PART_ITSELF)
    beside = [(p.product_id, r.events) for p in products for r in p.reasons if r.part == pb.PART_CO_OCCURRENCE]
    assert all(product not in {event.product_id for event in past} for product, past in beside), "never with itself"
    assert recommend(viewer_of("", [], knowledge), request, knowledge=knowledge, version=None).strategy == (
        pb.STRATEGY_TRENDING
    )


def test_a_product_of_a_moment_ago_has_a_place_unless_a_setting_says_otherwise() -> None:
    for placing in (True, False):
        knowledge = knowledge_of(*(view("", f"p{n % 3}", 1) for n in range(60)), placing=placing)
        for n, title in enumerate(["red guitar", "drum", "rake", "red guitar"]):
            knowledge.catalogue.upsert(ev.Product(product_id=f"p{n}", title=title))
        assert "new" not in placed(knowledge, {})
        knowledge.catalogue.upsert(ev.Product(product_id="new", title="red guitar"))
        scores = placed(knowledge, {})
        assert scores["new"] == pytest.approx(scores["p3"], abs=0.1)
        assert (scores["new"] > math.log(0.05 / 5) + 0.5) is placing


def test_boosts_multiply_the_odds_and_count_for_the_minimum() -> None:
    knowledge = shop()
    plain = placed(knowledge, {})
    assert list(plain) == ["p0", "p1", "p2", "p3"]
    costly, dear = {"price": {"at_least": 20}}, {"price": {"at_least": 30}}
    boosts = [{"products": costly, "factor": 10}, {"products": dear, "factor": 0.5}]
    boosted = placed(knowledge, {"boosts": boosts})
    assert list(boosted) == ["p2", "p3", "p0", "p1"]
    expected = {"p0": 0.0, "p1": 0.0, "p2": math.log(10), "p3": math.log(5)}
    assert {p: boosted[p] - plain[p] for p in plain} == pytest.approx(expected, abs=1e-5)
    least = boosted["p3"]
    assert list(placed(knowledge, {"boosts": boosts, "minimum_score": least})) == ["p2", "p3"], "no less than it"
    assert list(placed(knowledge, {"boosts": boosts, "minimum_score": math.nextafter(least, 9)})) == ["p2"]


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"exclude_product_ids": ["p0", "nobody", "p1"]}, "p2 p3"),
        ({"filter": {"category": {"values": ["shoes"]}}}, "p0 p1"),
        ({"filter": {"not": {"category": {"values": ["shoes"]}}}, "exclude_product_ids": ["p2"]}, "p3"),
        ({"diversity": 0.9}, "p0 p2 p3 p1"),
        ({"diversity": 0.9, "filter": {"category": {"values": ["shoes"]}}}, "p0 p1"),
    ],
)
def test_only_what_is_wished_for_is_placed(wishes: dict[str, Any], expected: str) -> None:
    assert list(placed(shop(), wishes)) == expected.split()


def test_what_is_hidden_is_never_placed_whatever_is_wished() -> None:
    knowledge = shop()
    knowledge.catalogue.upsert(ev.Product(product_id="p0", price=30.0, unavailable=True))
    knowledge.catalogue.remove("p1")
    everything = {"any_of": {"filters": [{"price": {"at_least": 0}}, {"not": {"price": {"at_least": 0}}}]}}
    wishes = {"filter": everything, "boosts": [{"products": everything, "factor": 1000}], "diversity": 0.5}
    assert set(placed(knowledge, wishes)) == {"p2", "p3"}


def test_diversity_changes_the_order_and_no_score() -> None:
    knowledge = shop()
    plain, diverse = placed(knowledge, {}), placed(knowledge, {"diversity": 0.9})
    assert diverse == plain
    assert list(placed(knowledge, {"diversity": 1e-9})) == list(plain)


def test_what_is_beyond_the_pool_follows_by_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.inference.answer.recommend.MOST_POOL", 2)
    assert list(placed(shop(), {"diversity": 1.0}, count=3)) == ["p0", "p1", "p2"]


def test_likeness_by_hand() -> None:
    knowledge = knowledge_of()
    for name, brand, categories in (
        ("a", "x", ["All", "Shoes"]),
        ("b", "y", ["all", "shoes"]),
        ("c", "X", ["All", "Hats"]),
        ("d", "", []),
    ):
        knowledge.catalogue.upsert(ev.Product(product_id=name, brand=brand, categories=categories))
    alike = likeness(np.arange(4), traits(4, knowledge.catalogue.attributes, None))
    # Categories weigh 1 and 2 of the root of 5, a brand 0.5, together of length 1.
    both, widest, brand = 1 / 1.25, (1 / 5) / 1.25, 0.25 / 1.25
    expected = [[1, both, widest + brand, 0], [both, 1, widest, 0], [widest + brand, widest, 1, 0], [0, 0, 0, 0]]
    assert alike == pytest.approx(np.array(expected), abs=1e-6)


class Vectors:
    """A version's vectors of two products; it has learned nothing of others."""

    def directions(self) -> Any:
        return np.array([[2, 0], [0.6, 0.8], [0, 0]], np.float32), np.array([0.5, 1, 0], np.float32)


def test_likeness_is_the_mean_of_what_both_products_have() -> None:
    knowledge = knowledge_of()
    for name, categories in (("a", ["All"]), ("b", ["all"]), ("c", ["All"])):
        knowledge.catalogue.upsert(ev.Product(product_id=name, categories=categories))
    version: Any = Vectors()
    alike = likeness(np.arange(3), traits(3, knowledge.catalogue.attributes, version))
    assert alike == pytest.approx(np.array([[1, 0.8, 1], [0.8, 1, 1], [1, 1, 1]]), abs=1e-6)
    knowledge.catalogue.remove("c")
    alike = likeness(np.arange(3), traits(3, knowledge.catalogue.attributes, version))
    assert alike == pytest.approx(np.array([[1, 0.8, 0], [0.8, 1, 0], [0, 0, 0]]), abs=1e-6)
    knowledge.catalogue.remove("b")
    assert likeness(np.arange(2), traits(2, knowledge.catalogue.attributes, version))[0, 1] == pytest.approx(0.6)


def test_products_that_only_events_name_are_told_apart_too() -> None:
    attributes = Attributes(rows=2)
    attributes.set(1, ev.Product(categories=["All"]))
    of_all = traits(3000, attributes, None)
    assert len(of_all.tags) >= 3000
    assert likeness(np.array([1, 2999]), of_all).tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("user", ["", "ann"])
@pytest.mark.parametrize("views", [1, 2, 6])
def test_a_session_is_seen_as_its_views_would_be(user: str, views: int) -> None:
    """The same window as if they had been applied, with the shop's reward of a view and no invented values."""
    sent_back = review("ann", "p1", 3, reward=0.0)
    sent_back.kind = ev.EVENT_KIND_RETURN
    past = [review("ann", "p0", 1), review("ann", "p1", 2), sent_back, view("bob", "p2", 9, reward=0.2)]
    session = [f"p{n % 3}" for n in range(views)]
    knowledge = knowledge_of(*past)
    viewer = viewer_of(user, ["never seen", *session], knowledge)
    after = knowledge_of(*past, *(view(user or "guest", product, 9, reward=0.2) for product in session))
    row = after.histories.row(user or "guest")
    assert row is not None
    expected = after.histories.window(row)
    assert viewer.window is not None
    n = int(viewer.window.lengths[0])
    assert n == expected.lengths[0]
    assert viewer.window.products[0, :n].tolist() == expected.products[0, :n].tolist()
    compared = [column for column, name in enumerate(EVENT_FEATURES) if name not in FUTURE_FEATURES]
    assert np.array_equal(viewer.window.features[0, :n, compared], expected.features[0, :n, compared])
    assert viewer.window.arguing().tolist() == expected.arguing().tolist()
    assert viewer.session == min(views, 4)
    catalogue = knowledge.catalogue
    assert {catalogue.ids[row] for row in viewer.seen} == {*session, *(["p0", "p1"] if user else [])}


def test_a_guest_without_a_session_is_nobody() -> None:
    assert viewer_of("", ["never seen"], knowledge_of(review("ann", "p0", 1))).window is None
    assert viewer_of("", [], knowledge_of()).window is None


def test_exploration_has_the_propensities_that_it_says() -> None:
    """At each place the next in order is drawn with its propensity, and all others share the rest evenly."""
    values = np.array([1.0, 4.0, -np.inf, 3.0, 2.0], np.float32)
    order = np.array([3, 1])  # not the order of the scores
    rng = np.random.default_rng(1)
    draws = [explore(values, order, 2, 0.4, rng) for _ in range(4000)]
    first = {row: sum(d.rows[0] == row for d in draws) / len(draws) for row in (0, 1, 3, 4)}
    assert first == pytest.approx({0: 0.1, 1: 0.1, 3: 0.7, 4: 0.1}, abs=0.03)
    for draw in draws:
        assert draw.scores.tolist() == values[draw.rows].tolist()
        assert draw.propensities[0] == pytest.approx(0.7 if draw.rows[0] == 3 else 0.1)
        following = 1 if draw.rows[0] == 3 else 3
        assert draw.propensities[1] == pytest.approx(0.4 / 3 + (0.6 if draw.rows[1] == following else 0.0))


def test_exploration_goes_by_the_diversified_order() -> None:
    knowledge = shop()
    request = SlateRequest(4, pb.Wishes(diversity=0.9))
    values = score(None, None, request.wishes, knowledge, None).values
    limit(values, NOBODY, request, knowledge)
    explored = place(values, request, knowledge, None, epsilon=1e-12, rng=np.random.default_rng(1))
    assert explored.rows.tolist() == [0, 2, 3, 1]
    assert explored.propensities == pytest.approx(np.ones(4))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
NUMBERS = st.floats(-100.0, 100.0, width=32)
KINDS, TIMES = st.sampled_from(ev.EventKind.values()), st.integers(0, 7_258_118_399_999)


@settings(deadline=None)  # the first draws are slow on a busy machine
@given(st.data())
def test_what_is_written_is_what_messages_made_one_by_one_say(data: st.DataObject) -> None:
    ids = data.draw(st.lists(TEXTS, min_size=1, max_size=5, unique=True))
    knowledge = knowledge_of(*(view("", product, 1) for product in ids))
    catalogue, fields = knowledge.catalogue, list(ev.Product.DESCRIPTOR.fields_by_name)
    for product in data.draw(st.sets(st.sampled_from(ids))):
        price = data.draw(st.none() | st.floats(0.0, 1e9))
        texts = data.draw(st.lists(TEXTS, max_size=3))
        listed = ev.Product(
            product_id=product, title="".join(texts), categories=texts, price=price, description="d" * 300
        )
        listed.listed_ms = data.draw(st.integers(1, 7_258_118_399_999))
        catalogue.upsert(listed)
    paths = data.draw(st.lists(st.sampled_from(fields), max_size=4))
    rows = data.draw(st.permutations(range(len(ids))))
    places = [(row, data.draw(NUMBERS), data.draw(st.booleans()), data.draw(st.floats(0.001, 1))) for row in rows]
    columns = zip((np.int64, np.float32, np.bool_, np.float64), zip(*places, strict=True), strict=True)
    slate = Slate(*(np.array(values, kind) for kind, values in columns))
    of_window = data.draw(st.lists(st.tuples(st.sampled_from(rows), KINDS, TIMES), max_size=6))
    logged = data.draw(st.integers(0, len(of_window)))
    first, length = data.draw(st.integers(0, 9)), len(of_window) + data.draw(st.integers(1, 3))
    kinds, times = np.zeros(length, np.uint8), np.zeros(length, np.int64)
    past = []  # (product_id, kind, ms)
    for n, (row, kind, at_ms) in enumerate(of_window):
        if n < logged:
            kinds[(first + n) % length], times[(first + n) % length] = kind, at_ms
        past.append((ids[row], *((kind, at_ms) if n < logged else (ev.EVENT_KIND_VIEW, 0))))
    events = PastEvents(np.array([row for row, _, _ in of_window], np.int32), logged, first, kinds, times)
    reasons = Reasons.none(len(rows))
    for part in data.draw(st.sets(st.sampled_from(pb.Part.values()[1:]))):
        for k in range(len(rows)):
            reasons.scores[part, k] = data.draw(NUMBERS)
            reasons.counts[part, k] = data.draw(st.integers(0, min(3, len(past))))
            for n in range(reasons.counts[part, k]):
                reasons.places[part, k, n] = data.draw(st.integers(0, len(past) - 1))
                reasons.adds[part, k, n] = data.draw(NUMBERS)
    products = []
    for k, (row, score_, explored, propensity) in enumerate(places):
        message = pb.RecommendedProduct(product_id=ids[row], score=score_, explored=explored, propensity=propensity)
        if paths:
            message.product.CopyFrom(catalogue.product(row))
            for name in set(fields) - set(paths):
                message.product.ClearField(name)  # type: ignore[arg-type]
        for part in range(PARTS):
            scores, counts, at, adds = (of_all[part, k] for of_all in reasons)
            if not counts and abs(scores) <= NOTHING:
                continue
            reason = message.reasons.add(part=pb.Part.Name(part), score=scores)  # type: ignore[arg-type]
            for n in range(counts):
                product, kind, at_ms = past[at[n]]
                reason.events.add(product_id=product, kind=kind, event_time_ms=at_ms, score=adds[n])
            if part == pb.PART_ITSELF and counts:
                reason.times = sum(event[:2] == past[at[0]][:2] for event in past)
        products.append(message)
    wishes = pb.Wishes()
    wishes.product_fields.paths.extend(paths)
    assert list(recommended(slate, wishes, catalogue, reasons, events)) == products
