"""Judging one event at a time, held to places worked out by hand."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.content.new_products import Content, ContentSettings
from shared.evaluation.prequential import Judgement, Outcome, Prequential
from shared.log.records import DAY_MS
from shared.model.mixture import DEFAULT
from shared.model.served import COUNTED
from shared.model.single_experts import SINGLE_EXPERTS
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.policies.registry import make
from shared.state.histories import Window
from shared.state.shop import StreamSettings
from shared.state.stream import Stream

VIEW, REVIEW, DISLIKE = pb.EVENT_KIND_VIEW, pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_DISLIKE
DAY_1 = 15_000 * DAY_MS
NOON_1 = DAY_1 + DAY_MS // 2
DAY_2 = DAY_1 + DAY_MS
INF = float("inf")


def event(
    user: str, product: str, at: int = NOON_1, kind: pb.EventKind.ValueType = VIEW, **more: float
) -> pb.StateVector:
    """As features has it: where nobody rated, the rating is imputed."""
    state = pb.StateVector(user_id=user, product_id=product, kind=kind, event_time_ms=at, **more)
    if "rating" not in more:
        state.imputed.append(pb.IMPUTED_RATING)
    return state


def prequential(*states: pb.StateVector, length: int = 3, half_life_ms: float = 1e18) -> Prequential:
    """After these events; popularity hardly decays, so places can be counted by hand."""
    settings = StreamSettings(
        history_length=length, masked_kinds="review,dislike", trending_half_life_days=half_life_ms / DAY_MS
    )
    made = Prequential(Stream(settings))
    for state in states:
        made.apply(state)
    return made


class Fixed:
    """A version that adds the same to everybody's log-popularity and notes what history it was shown."""

    popularity_weight = 1.0
    mixture = None
    ranker = None

    def __init__(self, *added: float) -> None:
        self.added = np.array(added, np.float32)
        self.histories: list[list[int]] = []  # rows of each history

    def related(self, window: Window) -> NDArray[np.float32]:
        assert window.lengths[0] > 0
        return np.zeros_like(self.added)

    def scores(self, window: Window) -> NDArray[np.float32]:
        self.histories.append(window.products[0, : window.lengths[0]].tolist())
        return self.added


def places(judgement: Judgement) -> tuple[float, float]:
    """Of the learned policy and of trending."""
    learned, trending = judgement.rankings
    return learned.place, trending.place


def test_places_by_trending_and_by_a_version() -> None:
    core = prequential(event("a", "p0"), event("b", "p0"), event("c", "p1"), event("d", "p2"), event("a", "p3"))
    version = Fixed(0.0, -9.0, 0.0, 9.0)
    judgement = core.judge(event("a", "p1"), [version, None])
    # Two views of p0; p1, p2 and p3 tie behind it: the middle of places 2 to 4. The version puts p1 last.
    assert places(judgement) == (4.0, 3.0)
    assert (judgement.outcome, judgement.has_history) == (Outcome.JUDGED, True)
    assert judgement.rankings[0].top.tolist() == [3, 0, 2, 1]
    assert version.histories == [[0, 3]]
    # Shares of popularity: 5 % spread evenly over four products, the rest by views.
    shares = [0.95 * views / 5 + 0.05 / 4 for views in (2, 1, 1, 1)]
    assert np.isclose(judgement.rankings[0].bits, -np.mean(np.log2(shares)))


def test_a_judgement_changes_nothing_and_the_event_counts_once_applied() -> None:
    core = prequential(event("a", "p0"), event("b", "p0"), event("c", "p1"))
    state = event("d", "p1")
    assert [places(core.judge(state, [None, None])) for _ in range(3)] == [(2.0, 2.0)] * 3
    core.apply(state)
    assert places(core.judge(state, [None, None])) == (1.5, 1.5)
    core.apply(state)
    assert places(core.judge(state, [None, None])) == (1.5, 1.5), "one user's repetition within a day"
    core.apply(event("e", "p1"))
    assert places(core.judge(state, [None, None])) == (1.0, 1.0)


def test_without_a_version_or_a_history_trending_is_what_is_served() -> None:
    core = prequential(event("a", "p0"), event("b", "p0"), event("c", "p1"))
    version = Fixed(-9.0, 9.0)
    first = core.judge(event("new", "p1"), [version, None])
    assert (places(first), first.has_history) == ((2.0, 2.0), False)
    core.apply(event("new", "p1"))
    none_yet = core.judge(event("new", "p0"), [None, None])
    assert (places(none_yet), none_yet.has_history) == ((1.5, 1.5), True)
    assert version.histories == []
    judged = core.judge(event("new", "p0"), [version, None])
    assert (places(judged), judged.has_history) == ((2.0, 1.5), True)


def test_experts_are_judged_alone_where_their_weights_are_given() -> None:
    core = prequential(event("a", "p0"), event("a", "p1"), event("b", "p2"), event("c", "p2"), event("me", "p0"))
    state = event("me", "p1")
    assert core.judge(state, [None]).experts == ()
    judgement = core.judge(state, [COUNTED], DEFAULT)
    by_name = dict(zip(SINGLE_EXPERTS, judgement.experts, strict=True))
    # p1 followed p0 once; p0 and p2 have two views, p1 has one.
    assert (by_name["next"], by_name["together"], by_name["trending"], by_name["itself"]) == (1, 1, 3, 3)
    assert core.judge(event("me", "p9"), [None], DEFAULT).experts == (INF,) * len(SINGLE_EXPERTS), (
        "a miss for them, too"
    )
    assert set(core.judge(event("new", "p1"), [None], DEFAULT).experts) == {3}, (
        "who has no history gets what is trending"
    )
    assert core.judge(event("", "p1"), [None], DEFAULT).experts == ()


def test_masked_products_are_never_ranked_and_no_question() -> None:
    core = prequential(
        event("a", "p0", kind=REVIEW), event("b", "p0"), event("b", "p1"), event("c", "p1"), event("d", "p2")
    )
    assert core.judge(event("a", "p0"), [None, None]) == Judgement(Outcome.MASKED)
    assert places(core.judge(event("a", "p2"), [None, None])) == (2.0, 2.0)  # behind p1 alone
    assert places(core.judge(event("b", "p2"), [None, None])) == (3.0, 3.0)  # a view masks nothing, so repeats count
    assert places(core.judge(event("b", "p1"), [None, None])) == (1.5, 1.5)


def test_an_unknown_product_is_a_miss_for_all_also_where_a_version_knows_it() -> None:
    core = prequential(event("a", "p0"), event("b", "p1"))
    assert core.known.products.row_of("p9") == 2  # as loading a version does
    judgement = core.judge(event("a", "p9"), [Fixed(0.0, 0.0, 99.0), None])
    assert (judgement.outcome, judgement.has_history, places(judgement)) == (Outcome.UNKNOWN, True, (INF, INF))
    assert sorted(judgement.rankings[0].top.tolist()) == [0, 1]
    assert places(core.judge(event("a", "p1"), [Fixed(0.0, -9.0, 99.0), None]))[0] == 2.0, "p9 is nobody's answer yet"
    assert core.judge(event("a", "new"), [None, None]).outcome is Outcome.UNKNOWN
    assert core.known.products.seen == 2
    core.apply(event("a", "p9"))
    seen = core.judge(event("b", "p9"), [None, None])
    assert (seen.outcome, places(seen)) == (Outcome.JUDGED, (2.0, 2.0))  # all three tie
    assert core.known.products.seen == 3


def test_the_very_first_event_is_a_miss() -> None:
    judgement = prequential().judge(event("a", "p0"), [None, None])
    assert (judgement.outcome, places(judgement)) == (Outcome.UNKNOWN, (INF, INF))
    assert judgement.rankings[1].top.tolist() == []
    assert np.isnan(judgement.rankings[1].bits)


def test_what_was_not_wanted_is_not_judged() -> None:
    core = prequential(event("a", "p0"), event("a", "p1"))
    for kind in (DISLIKE, pb.EVENT_KIND_RETURN):
        assert core.judge(event("a", "p0", kind=kind), [Fixed(0.0, 0.0), None]) == Judgement(Outcome.UNWANTED)


def judged_in_turn(core: Prequential, version: Fixed, *states: pb.StateVector) -> list[Judgement]:
    judgements = []
    for state in states:
        judgements.append(core.judge(state, [version, None]))
        core.apply(state)
    return judgements


def test_a_whole_day_is_predicted_from_its_start() -> None:
    core = prequential(event("a", "p0", DAY_1, REVIEW), *(event("b", product, DAY_1) for product in ("p1", "p2", "px")))
    version = Fixed(99.0, 0.0, 10.0, 5.0)
    same_day = [event("a", product, DAY_2, REVIEW) for product in ("p1", "p2", "p1", "p3", "p4", "p5", "p5")]
    judgements = judged_in_turn(core, version, *same_day)
    assert version.histories == [[0]] * 7, "none knows of the others, however many there are"
    # p0 was reviewed the day before. Behind p2 and px; then first, as p1 that came is no wrong answer; then behind px
    # alone, and not masked by its own day; unknown ones; and one that a version does not know, which p0 lifts above px.
    assert [places(f)[0] for f in judgements] == [3.0, 1.0, 2.0, INF, INF, INF, 1.0]
    assert [(f.question, f.again, f.user_events) for f in judgements] == [
        (0, again, 1) for again in (False, False, True, False, False, False, True)
    ], "one question, asked of who had one event when the day began"
    assert core.judge(event("a", "p0", DAY_2, REVIEW), [version, None]).outcome is Outcome.MASKED
    day_3 = DAY_2 + DAY_MS
    assert core.judge(event("a", "p1", day_3, REVIEW), [version, None]).outcome is Outcome.MASKED
    assert places(core.judge(event("a", "px", day_3, REVIEW), [version, None]))[0] == 1.0
    assert version.histories[-1] == [core.known.products.row_of(product) for product in ("p4", "p5", "p5")]


def test_a_user_who_is_new_today_has_no_history_all_day() -> None:
    core = prequential(event("b", "p0", DAY_1), event("b", "p1", DAY_1), event("c", "p1", DAY_1))
    version = Fixed(9.0, 0.0)
    judgements = judged_in_turn(core, version, event("a", "p0", DAY_2), event("a", "p1", DAY_2))
    assert [f.has_history for f in judgements] == [False, False]
    assert [places(f) for f in judgements] == [(2.0, 2.0), (1.0, 1.0)]  # p0, that came, is left out of the second


def test_finer_times_are_judged_one_by_one() -> None:
    core = prequential(event("a", "p0", NOON_1), event("b", "p1", NOON_1), event("b", "p2", NOON_1))
    version = Fixed(9.0, 8.0, 7.0)
    judgements = judged_in_turn(
        core, version, event("a", "p1", NOON_1, REVIEW), event("a", "p2", NOON_1, REVIEW), event("a", "p1", NOON_1)
    )
    assert version.histories == [[0], [0, 1]]
    assert [f.outcome for f in judgements] == [Outcome.JUDGED, Outcome.JUDGED, Outcome.MASKED]
    assert [places(f)[0] for f in judgements[:2]] == [2.0, 2.0]  # behind p0, then behind p0 alone, since p1 is masked


def test_what_comes_late_is_not_predicted_from_what_came_after_it() -> None:
    core = prequential(event("a", "p0", DAY_1), event("a", "p1", DAY_2 + DAY_MS), event("b", "p2", DAY_1))
    version = Fixed(0.0, 0.0, 0.0)
    for late in (event("a", "p2", DAY_2), event("a", "p2", NOON_1)):
        assert core.judge(late, [version, None]) == Judgement(Outcome.LATE)
        core.apply(late)
    assert version.histories == []
    assert core.known.histories.late == 2
    assert core.judge(event("a", "p2", DAY_2 + DAY_MS, REVIEW), [version, None]).outcome is Outcome.JUDGED


def test_a_guest_is_not_judged_and_counts_for_popularity_alone() -> None:
    core = prequential(event("b", "p1", NOON_1))
    guest = event("", "p0", NOON_1)
    assert core.judge(guest, [None]) == Judgement(Outcome.GUEST)
    core.apply(guest)
    core.apply(guest)  # of whom nothing is kept that would tell the same guest from another
    assert core.known.histories.users == ["b"]
    assert core.known.products.seen == 2
    assert np.argmax(core.known.shares()) == core.known.products.row_of("p0")


numbers = st.floats(-1, 1)


@given(st.booleans(), numbers, numbers, numbers, st.sampled_from([[], [pb.IMPUTED_RATING, pb.IMPUTED_SENTIMENT]]))
def test_what_the_event_itself_says_changes_nothing_of_its_ranking(
    whole_day: bool, rating: float, sentiment: float, reward: float, imputed: list[pb.Imputed.ValueType]
) -> None:
    """No future in the state: rating, text and votes of an event are known only after it."""
    at = DAY_2 if whole_day else DAY_2 + 1

    def rankings(*day: pb.StateVector) -> list[Judgement]:
        core = prequential(event("a", "p0", DAY_1), event("b", "p1", DAY_1), event("b", "p2", DAY_1))
        return judged_in_turn(core, Fixed(1.0, 2.0, 3.0), *day)

    plain = event("a", "p1", at, REVIEW)
    altered = event("a", "p1", at, REVIEW, rating=3 + 2 * rating, sentiment=sentiment, reward=reward)
    altered.price_scaled, altered.helpfulness_scaled = abs(rating), abs(sentiment)
    altered.imputed.extend(imputed)
    assert repr(rankings(plain)) == repr(rankings(altered))


class Taste:
    """A version that reads the features of the history, as a learned one does."""

    popularity_weight = 1.0
    mixture = None
    ranker = None

    def related(self, window: Window) -> NDArray[np.float32]:
        assert window.lengths[0] > 0
        return np.zeros(3, np.float32)

    def scores(self, window: Window) -> NDArray[np.float32]:
        return window.features[0, :, :3].sum() * np.array([1.0, -1.0, 0.5], np.float32)


def test_what_an_event_says_shapes_the_next_ranking() -> None:
    """Else the test above would pass with rankings that look at nothing."""

    def place(rating: float) -> float:
        core = prequential(event("a", "p0", DAY_1), event("b", "p1", DAY_1), event("b", "p2", DAY_1))
        core.apply(event("a", "p0", DAY_2, rating=rating))
        return places(core.judge(event("a", "p1", DAY_2 + DAY_MS), [Taste(), None]))[0]

    assert (place(5.0), place(-5.0)) == (3.0, 1.0)


users, products = st.sampled_from("abc"), st.sampled_from(["p0", "p1", "p2", "p3", "p4"])
kinds = st.sampled_from([VIEW, REVIEW, DISLIKE, pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_RETURN])


@given(st.lists(st.tuples(users, products, kinds), max_size=40))
def test_trending_is_ranked_as_counting_by_hand_ranks_it(
    stream: list[tuple[str, str, pb.EventKind.ValueType]],
) -> None:
    core = prequential()
    counts: Counter[str] = Counter()
    known: set[str] = set()
    masked: defaultdict[str, set[str]] = defaultdict(set)
    newest: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)  # what the history keeps of each user
    for n, (user, product, kind) in enumerate(stream):
        state = event(user, product, NOON_1 + n, kind)
        judgement = core.judge(state, [None, None])
        if kind in (DISLIKE, pb.EVENT_KIND_RETURN):
            assert judgement.outcome is Outcome.UNWANTED
        elif product in masked[user]:
            assert judgement.outcome is Outcome.MASKED
        elif product not in known:
            assert judgement.outcome is Outcome.UNKNOWN
        else:
            others = known - masked[user] - {product}
            better = sum(counts[other] > counts[product] for other in others)
            equal = sum(counts[other] == counts[product] for other in others)
            assert places(judgement) == (1 + better + equal / 2,) * 2
        core.apply(state)
        known.add(product)
        counts[product] += kind not in (DISLIKE, pb.EVENT_KIND_RETURN) and (product, kind) not in newest[user]
        newest[user] = [*newest[user], (product, kind)][-3:]
        if kind in (REVIEW, DISLIKE):
            masked[user].add(product)


def test_listed_products_are_in_the_running_before_their_first_event_and_content_places_them() -> None:
    settings = StreamSettings(history_length=3, masked_kinds="review,dislike", trending_half_life_days=1e9)
    titles = {"hit": "red guitar", "rake": "steel rake", "new": "red guitar"}
    listings = [pb.Product(product_id=product, title=title) for product, title in titles.items()]
    listings.append(pb.Product(product_id="later", title="drum", listed_ms=DAY_2))
    place_of = {}
    for content in (None, Content(ContentSettings(events=4))):
        core = Prequential(Stream(settings, content), listings=listings)
        for n in range(6):
            core.apply(event(f"u{n}", "hit"))
        outcomes = [core.judge(event("z", "later", at=at), [None]).outcome for at in (NOON_1, DAY_2)]
        assert outcomes == [Outcome.UNKNOWN, Outcome.JUDGED]
        place_of[content is None] = core.judge(event("z", "new", at=DAY_2), [None]).rankings[0].place
        assert core.known.products.seen == 4
        assert core.judge(event("z", "hit", at=DAY_2), [None]).rankings[0].place == 1.0
    assert place_of == {True: 3.0, False: 2.0}, "beside the rake and the drum, or ahead of them"


def test_a_new_product_beside_one_that_follows_does_not_come_before_what_everybody_chooses() -> None:
    """Co-occurrence says popular products that it never counted after a history next to nothing."""
    settings = StreamSettings(history_length=3, masked_kinds="review,dislike", trending_half_life_days=1e9)
    titles = {"hit": "rake", "case": "red guitar", "new": "red guitar", "strings": "strings"}
    listings = [pb.Product(product_id=product, title=title) for product, title in titles.items()]
    stream = Stream(settings, Content())
    core = Prequential(stream, listings=listings)
    markov = make("markov", stream, 0)
    chosen = [(f"u{n}", "hit") for n in range(40)]
    chosen += [(f"v{n}", product) for product in ("strings", "case") for n in range(3)]
    for user, product in [*chosen, ("z", "strings")]:
        markov.learn(core.apply(event(user, product)))
    reached = [core.judge(event("z", p, at=DAY_2), [markov]).rankings[0].place for p in ("case", "hit", "new")]
    assert reached == [1.0, 2.0, 3.0]
