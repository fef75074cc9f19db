"""The mixture of the tally's experts, held to values worked out by hand and to itself."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.log.records import DAY_MS
from shared.model import mixture, session_neighbours
from shared.model.mixture import (
    CONTEXTS,
    DEFAULT,
    EXPERTS,
    ITSELF,
    NEXT,
    POPULARITY,
    SESSIONS,
    TOGETHER,
    context_of,
    expert_shares,
    groups,
    mix,
    separate,
)
from shared.model.session_neighbours import LAGS, LISTENED, NOBODY, View
from shared.model.single_experts import blend_gains
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.state.histories import Histories, Window
from shared.state.known import Known, KnownProducts
from shared.state.tally import PAIR_ONE, Tally

FloatArray = NDArray[np.float32]
NOON_MS = 15_000 * DAY_MS + DAY_MS // 2
MINUTE_MS = 60_000
VIEW, PURCHASE, RETURN = pb.EVENT_KIND_VIEW, pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_RETURN


def event(
    user: str, product: str, at: int = NOON_MS, kind: pb.EventKind.ValueType = VIEW, **more: float
) -> pb.StateVector:
    """As features has it: where nobody rated, the rating is imputed."""
    state = pb.StateVector(user_id=user, product_id=product, kind=kind, event_time_ms=at, **more)
    if "rating" not in more:
        state.imputed.append(pb.IMPUTED_RATING)
    return state


def known_of(*states: pb.StateVector, length: int = 8) -> Known:
    known = Known(Histories(length, frozenset()), Tally(30.0 * DAY_MS), KnownProducts())
    for state in states:
        known.apply(state)
    known.shares()  # a place for every row
    return known


def weights_of(**share: float | list[float]) -> FloatArray:
    """The same in every context: popularity by half-life, relations by the newest lags, sessions."""
    weights = np.zeros((CONTEXTS, EXPERTS), np.float32)
    starts = {"popularity": 0, "sessions": SESSIONS}
    starts |= {name: POPULARITY + n * LAGS for n, name in enumerate(("next", "together", "itself"))}
    for name, values in share.items():
        each = np.atleast_1d(np.array(values, np.float32))
        weights[:, starts[name] : starts[name] + len(each)] = each
    return weights


def looked_at(known: Known, *products: str, **more: int) -> Window:
    """A guest's session."""
    histories = Histories(8, frozenset())
    row = 0
    for product in products:
        row = histories.apply(event("guest", product), known.products.rows[product])
    window = histories.window(row)
    return Window(window.products, window.features, window.lengths, **more)


# Two users, three products, at one moment: p1 and p2 each followed p0 once.
TINY = [event("a", "p0"), event("a", "p1"), event("b", "p0"), event("b", "p2")]
ROWS = np.arange(3)
COUNTS = np.array([2, 1, 1]) / 4
POPULAR = 0.95 * COUNTS + 0.05 / 3
# Of two followers and of two neighbours, whose mean is four thirds; three more are those that shrink it.
FOLLOWING = np.array([0, 1, 1]) / 5**0.7
NEAR = np.array([0, 1, 1]) / (5**0.7 * (4 / 3) ** 0.3)
WEIGHTS = weights_of(popularity=[0.1, 0.2, 0.05, 0.05, 0.1], next=0.2, together=0.15, itself=0.05, sessions=0.1)


def test_what_is_popular_is_all_that_is_said_to_nobody_in_particular() -> None:
    known = known_of(*TINY)
    assert mix(known, None, WEIGHTS, 3) == pytest.approx(0.5 * POPULAR)
    assert separate(known, None, WEIGHTS, ROWS).popularity == pytest.approx(0.5 * POPULAR)
    assert expert_shares(known, None, 0).tolist() == pytest.approx([POPULAR[0]] * POPULARITY + [0.0] * 61)


def test_each_expert_after_one_product_by_hand() -> None:
    known = known_of(*TINY)
    window = looked_at(known, "p0")
    assert separate(known, window, WEIGHTS, ROWS).popularity == pytest.approx(0.5 * POPULAR)
    of_event = separate(known, window, WEIGHTS, ROWS).by_event
    assert of_event[NEXT] == pytest.approx(0.2 * FOLLOWING[None])
    assert of_event[TOGETHER] == pytest.approx(0.15 * NEAR[None])
    assert of_event[ITSELF].tolist() == pytest.approx(np.array([[0.05, 0.0, 0.0]]))
    # Both who had p0 are neighbours, of two events each.
    assert separate(known, window, WEIGHTS, ROWS).sessions == pytest.approx(0.1 * COUNTS)
    whole = 0.5 * POPULAR + 0.2 * FOLLOWING + 0.15 * NEAR + [0.05, 0.0, 0.0] + 0.1 * COUNTS
    assert mix(known, window, WEIGHTS, 3) == pytest.approx(whole)
    shares = expert_shares(known, window, 1)
    assert shares[:POPULARITY] == pytest.approx(POPULAR[1])
    assert shares[[POPULARITY, POPULARITY + LAGS, POPULARITY + 2 * LAGS, SESSIONS]] == pytest.approx(
        [FOLLOWING[1], NEAR[1], 0.0, 0.25]
    )
    of_group = groups(known, window, WEIGHTS[1], 3)
    assert of_group[:POPULARITY] == pytest.approx(WEIGHTS[1, :POPULARITY, None] * POPULAR)
    assert of_group[POPULARITY:] == pytest.approx(
        np.stack([0.2 * FOLLOWING, 0.15 * NEAR, [0.05, 0.0, 0.0], 0.1 * COUNTS])
    )


def test_what_came_near_counts_both_ways_and_what_followed_one_way() -> None:
    known = known_of(*TINY)
    window = looked_at(known, "p1")
    following, near, _ = separate(known, window, WEIGHTS, ROWS).by_event[:, 0]
    assert following.tolist() == [0.0, 0.0, 0.0]
    assert near == pytest.approx(0.15 * np.array([1, 0, 0]) / (4**0.7 * (4 / 3) ** 0.3))


def test_nobody_is_the_neighbour_of_himself_and_earlier_matches_count_less() -> None:
    known = known_of(*TINY, event("c", "p2"), event("c", "p1"))
    window = known.histories.window(1)  # b: p0, then p2
    shares = [float(expert_shares(known, window, row)[SESSIONS]) for row in range(3)]
    # c had p2, the newer of two, and counts (2 - 0) / 2; a had p0, one event ago: (2 - 1) / 2, a tenth off.
    newer, older = 1.0, 0.5 * 0.9
    total = 2 * newer + 2 * older
    assert shares == pytest.approx([older / total, (newer + older) / total, newer / total])
    guest = expert_shares(known, looked_at(known, "p0", "p2"), 0)[SESSIONS]
    assert guest > shares[0], "to a guest b is a neighbour, too"


def test_what_disappointed_a_neighbour_is_not_passed_on() -> None:
    window_of = [*TINY, event("c", "p0")]
    glad, sorry = (known_of(*window_of, event("c", "p1", rating=rating)) for rating in (5.0, 1.0))
    of_glad, of_sorry = (
        [float(expert_shares(known, looked_at(known, "p0"), row)[SESSIONS]) for row in range(3)]
        for known in (glad, sorry)
    )
    assert of_glad == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert of_sorry == pytest.approx([3 / 6, 1 / 6, 1 / 6])
    only = weights_of(sessions=1.0)
    whole = mix(sorry, looked_at(sorry, "p0"), only, 3)
    assert whole == pytest.approx(of_sorry, abs=1e-6)


@pytest.mark.parametrize(
    "sorry", [{"rating": 1.0}, {"kind": RETURN, "reward": 0.0}, {"kind": pb.EVENT_KIND_DISLIKE, "reward": 0.3}]
)
def test_nor_is_what_a_neighbour_bought_and_was_sorry_about_later(sorry: dict[str, Any]) -> None:
    bought = [*TINY, event("c", "p0"), event("c", "p1", kind=PURCHASE)]
    shares = [
        [float(expert_shares(known, looked_at(known, "p0"), row)[SESSIONS]) for row in range(3)]
        for known in (known_of(*bought), known_of(*bought, event("c", "p1", **sorry)))
    ]
    assert shares[0] == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert shares[1] == pytest.approx([3 / 7, 1 / 7, 1 / 7])


def test_of_more_neighbours_than_are_listened_to_the_likest_are() -> None:
    many = [event(f"u{n}", product) for n in range(LISTENED) for product in ("p0", "p1")]
    both = [event("both", product) for product in ("p0", "p3", "p2")]
    known = known_of(*many, event("z", "p2"), *both)
    shares = expert_shares(known, looked_at(known, "p3", "p0"), known.products.rows["p2"])
    assert 0.0 < shares[SESSIONS] < 0.02
    one = known_of(*many[:2], *both)
    assert expert_shares(one, looked_at(one, "p3", "p0"), one.products.rows["p2"])[SESSIONS] > 0.2


def test_lags_count_from_the_newest_and_events_beyond_the_last_lag_say_nothing() -> None:
    known = known_of(*TINY, length=LAGS + 5)
    weights = weights_of(itself=[1.0, *[0.0] * (LAGS - 2), 0.5])
    histories = Histories(LAGS + 5, frozenset())
    for product in (2, 1, *[0] * (LAGS - 2), 2):
        row = histories.apply(event("guest", f"p{product}"), product)
    of_event = separate(known, histories.window(row), weights, ROWS).by_event[ITSELF]
    assert of_event.shape == (LAGS, 3)
    assert of_event[0].tolist() == [0.0, 0.5, 0.0], "the oldest that is read"
    assert of_event[-1].tolist() == [0.0, 0.0, 1.0]
    assert not of_event[1:-1].any()
    expected = separate(known, histories.window(row), weights, ROWS).by_event.sum(axis=(0, 1))
    assert mix(known, histories.window(row), weights, 3) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "sorry",
    [
        {"rating": 1.0, "reward": 0.5},
        {"rating": 2.0},
        {"reward": -0.1},
        {"kind": RETURN, "reward": -0.7},
        {"kind": RETURN, "reward": 0.0},
        {"kind": pb.EVENT_KIND_DISLIKE, "reward": 0.3},
    ],
)
def test_what_disappointed_argues_for_nothing_nor_do_earlier_events_with_it(sorry: dict[str, Any]) -> None:
    known = known_of(*TINY)
    rows = known.products.rows
    histories = Histories(8, frozenset())

    def after(*states: pb.StateVector) -> list[float]:
        for state in states:
            row = histories.apply(state, rows[state.product_id])
        window = histories.window(row)
        total = mix(known, window, WEIGHTS, 3) - separate(known, window, WEIGHTS, ROWS).popularity
        assert total == pytest.approx(
            separate(known, window, WEIGHTS, ROWS).by_event.sum(axis=(0, 1))
            + separate(known, window, WEIGHTS, ROWS).sessions
        )
        shares = [float(expert_shares(known, window, row)[POPULARITY:].sum()) for row in range(3)]
        assert [share > 0.0 for share in shares] == [value > 0.0 for value in total.round(6).tolist()]
        return list(total)

    assert max(after(event("u", "p0", kind=PURCHASE))) > 0.1
    assert after(event("u", "p0", **sorry)) == pytest.approx([0.0] * 3, abs=1e-7)
    both = after(event("u", "p1"))
    assert both[0] > 0.05, "what near p1 came is p0, and others may say so"
    assert both[2] < 0.05, "what followed p0 is p2: not argued for"
    assert after(event("u", "p0", kind=PURCHASE))[2] > 0.05, "who buys it again has changed his mind"


def test_products_without_a_place_say_nothing_and_get_what_is_spread_evenly() -> None:
    known = known_of(*TINY)
    window = looked_at(known, "p0")
    beyond = Window(np.array([[0, 7]], np.int32), np.zeros((1, 2, 11), np.float32), np.array([2], np.int32))
    second = weights_of(popularity=0.5, next=[0.0, 0.5])
    assert mix(known, beyond, second, 3) == pytest.approx(0.5 * POPULAR + 0.5 * FOLLOWING)
    assert mix(known, window, WEIGHTS, 5)[:3] == pytest.approx(mix(known, window, WEIGHTS, 3))
    rows = np.array([1, 3, 2000])
    evenly = 0.5 * 0.05 / 3
    assert mix(known, window, WEIGHTS, 5)[3:] == pytest.approx(evenly)
    assert separate(known, window, WEIGHTS, rows).popularity[1:] == pytest.approx(evenly)
    assert not separate(known, window, WEIGHTS, rows).by_event[..., 1:].any()
    assert not separate(known, window, WEIGHTS, rows).sessions[1:].any()
    for row in (3, 2000, 100_000):
        assert WEIGHTS[1] @ expert_shares(known, window, row) == pytest.approx(evenly)


def test_less_room_than_the_tally_has_products_is_a_mistake_of_the_caller() -> None:
    known = known_of(*TINY)
    with pytest.raises(ValueError, match="the tally has 3 products, and there is room for 2"):
        mix(known, None, WEIGHTS, 2)
    with pytest.raises(ValueError, match="the tally has 3 products, and there is room for 0"):
        groups(known, None, WEIGHTS[0], 0)


def test_where_nothing_was_counted_all_are_equal() -> None:
    known = known_of(event("a", "p0", kind=RETURN), event("a", "p1", rating=1.0))
    assert mix(known, None, WEIGHTS, 2) == pytest.approx(0.25)
    assert expert_shares(known, None, 0)[:POPULARITY] == pytest.approx(0.5)
    assert mix(known_of(), None, DEFAULT, 0).shape == (0,)


def test_contexts_end_where_they_say() -> None:
    half_hour, day = 1_800_000, DAY_MS
    assert context_of(0, 0) == context_of(0, 99 * day) == 0, "without a history there is no pause"
    lengths = [(1,), (2, 3), (4, 9), (10, 10_000)]
    pauses = [(0, half_hour - 1), (half_hour, day - 1), (day, 30 * day - 1), (30 * day, 10_000 * day)]
    places = [
        {context_of(length, pause) for length, pause in itertools.product(of_length, of_pause)}
        for of_length in lengths
        for of_pause in pauses
    ]
    assert places == [{context} for context in range(1, CONTEXTS)]


def test_a_window_is_weighed_by_its_own_context() -> None:
    known = known_of(*TINY)
    weights = np.zeros((CONTEXTS, EXPERTS), np.float32)
    weights[:, 0] = np.arange(1, CONTEXTS + 1)
    for length, since_ms in ((0, 0), (1, 0), (1, DAY_MS), (2, 1_800_000), (2, 30 * DAY_MS)):
        window = looked_at(known, *["p0", "p1"][:length], since_ms=since_ms)
        expected = (1 + context_of(length, since_ms)) * POPULAR
        assert mix(known, window, weights, 3) == pytest.approx(expected, rel=1e-5)
        assert separate(known, window, weights, ROWS).popularity == pytest.approx(expected, rel=1e-5)
    assert mix(known, None, weights, 3) == pytest.approx(POPULAR)


def test_the_first_weights_are_shares_and_trending_is_all_that_newcomers_get() -> None:
    assert (DEFAULT >= 0.0).all()
    assert DEFAULT.sum(axis=1) == pytest.approx(1.0)
    assert DEFAULT[0].tolist() == [1.0] + [0.0] * (EXPERTS - 1)
    known = known_of(*TINY)
    assert mix(known, None, DEFAULT, 3) == pytest.approx(known.shares())


class Shopping(NamedTuple):
    """A random stream, random weights and what follows from them."""

    known: Known
    windows: list[Window | None]
    weights: FloatArray


happened = st.tuples(
    st.integers(0, 3),  # user
    st.integers(0, 6),  # product
    st.sampled_from([VIEW, VIEW, PURCHASE, RETURN]),
    st.sampled_from([None, None, 1.0, 5.0]),  # rating
    st.sampled_from([0, MINUTE_MS, 3 * DAY_MS, 40 * DAY_MS]),  # since the event before
    st.integers(0, 1),  # partition
)


@st.composite
def shopping(draw: Callable[[Any], Any]) -> Shopping:
    at, states = NOON_MS, []
    for offset, (user, product, kind, rating, pause, partition) in enumerate(draw(st.lists(happened, max_size=40))):
        at += pause
        more = {} if rating is None else {"rating": rating}
        state = event(f"u{user}", f"p{product}", at, kind, **more)
        state.reward = -0.7 if kind == RETURN else 0.1
        state.source_partition, state.source_offset = partition, offset
        states.append(state)
    known = known_of(*states, length=5)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weights = (rng.random((CONTEXTS, EXPERTS)) * rng.integers(0, 2, (CONTEXTS, EXPERTS))).astype(np.float32)
    windows = [known.histories.window(row, now_ms=at) for row in range(len(known.histories.users))]
    return Shopping(known, [None, *windows], weights)


@given(shopping())
def test_whoever_takes_the_mixture_apart_finds_the_same_whole(made: Shopping) -> None:
    known, size = made.known, made.known.tally.size
    rows = np.arange(size)
    for window in made.windows:
        context = 0 if window is None else context_of(int(window.lengths[0]), window.since_ms)
        whole = mix(known, window, made.weights, size)
        assert (whole > 0.0).all()
        assert groups(known, window, made.weights[context], size).sum(axis=0) == pytest.approx(whole, abs=1e-5)
        by_product = [made.weights[context] @ expert_shares(known, window, row) for row in range(size)]
        assert by_product == pytest.approx(whole.tolist(), abs=1e-5)
        parts = separate(known, window, made.weights, rows).popularity
        if window is not None:
            parts = parts + separate(known, window, made.weights, rows).by_event.sum(axis=(0, 1))
            parts = parts + separate(known, window, made.weights, rows).sessions
        assert parts == pytest.approx(whole, abs=1e-5)


@settings(deadline=None)  # Python's own loops are slow on a busy machine
@given(shopping())
def test_what_is_compiled_computes_what_is_written(made: Shopping) -> None:
    known, size = made.known, made.known.tally.size
    t, rings = known.tally.arrays, mixture.rings_of(known)
    rows = np.arange(size)
    for window in made.windows:
        view, context = (NOBODY, 0) if window is None else mixture.seen_by(known, window)
        weights = made.weights[context]
        shapes: dict[Any, tuple[Any, ...]] = {
            mixture._mix: (t, rings, view, weights, size, np.zeros(size, np.float32)),
            mixture._groups: (t, rings, view, weights, size, np.zeros((POPULARITY + 4, size), np.float32)),
        }
        for row in rows[:2].tolist():
            of_product = (t, rings, view, row, size, np.zeros(EXPERTS))
            assert_same(mixture._of_product, of_product)
        for row in view.products.tolist():
            if row >= 0:
                assert_same(mixture._relate, (t, row, 0.2, 0.1, size, np.zeros(size, np.float32)))
        assert_same(session_neighbours.listen, (t, rings, view, 0.3, np.zeros(size, np.float32)))
        assert_same(session_neighbours.heard, (t, rings, view, rows, session_neighbours.places_of(rows)))
        separated = (size, (3, len(view.products), size), size)
        parts = mixture.Separated(*(np.zeros(shape, np.float32) for shape in separated))
        assert_same(mixture._separate, (t, rings, view, weights, rows, size, parts))
        assert_same(mixture._popular, (t, weights, size, np.zeros(size, np.float32)))
        for function, arguments in shapes.items():
            assert_same(function, arguments)


def assert_same(function: Any, arguments: tuple[Any, ...]) -> None:
    """Compiled and as Python runs it a function gives the same, and fills the last array, or tuple of them, alike."""
    place = next(n for n in reversed(range(len(arguments))) if isinstance(arguments[n], np.ndarray | tuple))
    filled = []
    for one in (function, function.py_func):
        given_ones = [*arguments]
        given_ones[place] = copy.deepcopy(arguments[place])
        filled.append((one(*given_ones), given_ones[place]))
    (value, array), (other_value, other_array) = filled
    assert value == (None if other_value is None else pytest.approx(other_value, rel=1e-6))
    arrays, others = ((filled,) if isinstance(filled, np.ndarray) else filled for filled in (array, other_array))
    for of_one, of_other in zip(arrays, others, strict=True):
        assert np.allclose(of_one, of_other, rtol=1e-6, atol=0.0)


def test_places_are_found_among_rows_that_collide_and_nowhere_else() -> None:
    rows = np.array([7, 7 + 256, 8, 7 + 512, 255, 511, 1_000_000, 0])
    table = session_neighbours.places_of(rows)
    assert [session_neighbours.place_among(table, rows, int(row)) for row in rows] == list(range(len(rows)))
    assert [session_neighbours.place_among(table, rows, row) for row in (9, 7 + 768, 256, 511 + 256, 1_000_001)] == [
        -1
    ] * 5
    many = np.arange(0, 40_000, 40)
    table = session_neighbours.places_of(many)
    assert len(table) == 8192
    assert [session_neighbours.place_among(table, many, row) for row in range(40_000)] == [
        -1 if row % 40 else row // 40 for row in range(40_000)
    ]


def test_blends_are_ranked_as_counting_ranks_them() -> None:
    members = np.array([[0.4, 0.3, 0.2, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]], np.float32)
    blends = np.array([[1, 0], [0, 1], [1, 0.15], [0, 0]], np.float32)
    masked, gains = np.array([0, 0], np.int32), np.zeros(4)
    blend_gains(members, blends, 2, masked, gains)
    # Row 0 is masked. Behind row 1; 4 is first and 1, 2, 3 tie at 2 to 4; behind row 1 alone; and four tie at 1 to 4.
    places = np.array([2.0, 3.0, 2.0, 2.5])
    assert gains == pytest.approx(1 / np.log2(1 + places))
    again = np.zeros(4)
    blend_gains.py_func(members, blends, 2, masked, again)
    assert again.tolist() == gains.tolist()
    blend_gains(members, blends, 0, np.array([0, 1], np.int32), gains)
    assert gains[0] == 1.0, "what was chosen is ranked, masked or not"
    wide = np.linspace(1.0, 0.0, 30, dtype=np.float32)[None]
    blend_gains(wide, np.ones((1, 1), np.float32), 10, np.zeros(0, np.int32), gains[:1])
    assert gains[0] == 0.0, "the eleventh place gains nothing"


def test_a_view_is_the_newest_events_first() -> None:
    known = known_of(*TINY)
    view = View.of(looked_at(known, "p0", "p2", "p1"), 3)
    assert (view.products.tolist(), view.user) == ([known.products.rows[p] for p in ("p1", "p2", "p0")], -1)
    assert View.of(looked_at(known, "p0", "p2"), 2).products.tolist() == [-1, 0], "p2 is beyond"
    assert PAIR_ONE == 4096
