"""Histories: a bounded ring per user, and a mask that is not bounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.records import DAY_MS, kinds_of, masked_kinds_of
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.state.histories import (
    ARGUES,
    DISAPPOINTED,
    EVENT_FEATURES,
    GAP_CAP_DAYS,
    SILENCED,
    Histories,
    UserClass,
    features_of,
    user_class,
)
from tests.support.states import START_MS, review

REVIEWS = kinds_of(["review"])


def products_of(histories: Histories, user: str) -> list[int]:
    """The user's recent products, oldest first."""
    row = histories.row(user)
    assert row is not None
    return [product for product, _, _, _ in histories.recent(row)]


def test_features_by_hand() -> None:
    state = review("u", "p", 9, rating=5.0)
    state.sentiment, state.reward = 0.25, -0.75
    state.price_scaled, state.helpfulness_scaled, state.event_time_ms = 0.5, 0.75, START_MS + 9 * DAY_MS
    columns = dict(zip(EVENT_FEATURES, features_of(state, START_MS), strict=True))
    assert columns == {
        "rating": 1.0,
        "has_rating": 1.0,
        "sentiment": 0.25,
        "has_text": 1.0,
        "reward": -0.75,
        "gap": math.log(10.0) / math.log(3651.0),
        "price": 0.0,
        "crawled_price": 0.5,
        "helpfulness": 0.75,
        "time": (START_MS / DAY_MS + 9) / 36_525,
        "user": 0xF26D6A3E / 2**32,
    }


def test_a_price_is_known_only_where_the_shop_tells_it_with_the_event() -> None:
    price = EVENT_FEATURES.index("price")
    state = review("u", "p", 0)
    state.price_scaled = 0.5
    columns = []
    for kind in (pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_RATING, pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_VIEW):
        state.kind = kind
        columns.append(features_of(state, 0)[price])
    state.imputed.append(pb.IMPUTED_PRICE)
    assert [*columns, features_of(state, 0)[price]] == [0.0, 0.0, 0.5, 0.5, 0.0]


def test_what_was_imputed_counts_as_unknown() -> None:
    state = review("u", "p", 0, rating=4.2)
    state.imputed.extend([pb.IMPUTED_RATING, pb.IMPUTED_SENTIMENT])
    columns = dict(zip(EVENT_FEATURES, features_of(state, 0), strict=True))
    assert (columns["rating"], columns["has_rating"], columns["has_text"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("days_before", "gap"), [(None, 1.0), (0, 0.0), (-3, 0.0), (1, math.log(2) / math.log(3651)), (GAP_CAP_DAYS, 1.0)]
)
def test_the_gap_is_on_a_log_scale_and_long_before_the_first_event(days_before: float | None, gap: float) -> None:
    state = review("u", "p", 0)
    previous_ms = 0 if days_before is None else state.event_time_ms - int(days_before * DAY_MS)
    assert features_of(state, previous_ms)[EVENT_FEATURES.index("gap")] == pytest.approx(gap)


def test_a_user_that_did_nothing_has_no_row() -> None:
    histories = Histories(3, REVIEWS)
    assert histories.row("nobody") is None
    assert histories.apply(review("u", "p", 0), 0) == 0
    assert histories.row("nobody") is None
    assert histories.users == ["u"]


def test_the_ring_keeps_the_newest_in_order() -> None:
    histories = Histories(3, REVIEWS)
    for n in range(7):
        row = histories.apply(review("u", f"p{n}", n, rating=1.0 + n % 5), 10 + n)
    assert (row, histories.events(row), histories.newest_ms(row)) == (0, 7, START_MS + 6 * DAY_MS)
    recent = histories.recent(row)
    assert [(product, kind, ms) for product, kind, ms, _ in recent] == [
        (10 + n, pb.EVENT_KIND_REVIEW, START_MS + n * DAY_MS) for n in (4, 5, 6)
    ]
    assert [features[0] for *_, features in recent] == [1.0, -1.0, -0.5]  # 5, 1 and 2 stars
    window = histories.window(row)
    assert (window.products.tolist(), window.lengths.tolist()) == ([[14, 15, 16]], [3])
    assert np.array_equal(window.features[0], [features for *_, features in recent])
    assert np.array_equal(histories.newest_features(row), window.features[0, 2])


def test_what_is_late_keeps_the_order_it_came_in_and_is_counted() -> None:
    histories = Histories(3, REVIEWS)
    for n, day in enumerate([5, 2, 3, 5, 9]):
        state = review("u", f"p{n}", day)
        assert histories.is_late(state) == (day in (2, 3))
        row = histories.apply(state, n)
    assert histories.late == 2
    assert histories.newest_ms(row) == START_MS + 9 * DAY_MS
    assert histories.window(row).products.tolist() == [[2, 3, 4]]
    gaps = [features[EVENT_FEATURES.index("gap")] for *_, features in histories.recent(row)]
    assert gaps[:2] == [0.0, 0.0], "since the user's newest, not since the one before in the log"
    assert gaps[2] == pytest.approx(math.log1p(4) / math.log1p(GAP_CAP_DAYS))
    again = Histories.from_arrays(histories.users, histories.to_arrays(), REVIEWS)
    assert again.is_late(review("u", "p", 8))


def test_a_short_window_is_padded_at_its_end() -> None:
    histories = Histories(4, REVIEWS)
    row = histories.apply(review("u", "p", 0), 7)
    window = histories.window(row)
    assert window.products.tolist() == [[7, -1, -1, -1]]
    assert window.lengths.tolist() == [1]
    assert not window.features[0, 1:].any()
    assert window.products.dtype == window.lengths.dtype == np.int32
    assert window.features.dtype == np.float32


def test_what_disappointed_argues_for_nothing_nor_does_what_came_before_it_with_its_product() -> None:
    histories = Histories(4, REVIEWS)

    def arguing(before_day: int | None = None) -> list[bool]:
        before_ms = None if before_day is None else START_MS + before_day * DAY_MS
        window = histories.window(0, before_ms=before_ms)
        again = Histories.from_arrays(histories.users, histories.to_arrays(), REVIEWS)
        assert again.window(0, before_ms=before_ms).arguing().tolist() == window.arguing().tolist()
        return list(window.arguing().tolist())

    def come(product: int, day: int, kind: pb.EventKind.ValueType = pb.EVENT_KIND_REVIEW, **fields: float) -> None:
        state = review("u", f"p{product}", day, **fields)
        state.kind = kind
        histories.apply(state, product)

    come(0, 0)
    come(1, 1)
    come(0, 2, pb.EVENT_KIND_RETURN, reward=0.0)  # sent back, at no cost
    assert arguing() == [False, True, False]
    assert arguing(before_day=2) == [True, True], "that it would be sent back nobody knew"
    come(0, 3)
    assert arguing() == [False, True, False, True], "liked after all"
    come(1, 4, rating=1.0)
    assert arguing() == [False, False, True, False]
    assert arguing(before_day=4) == [True, False, True]
    come(0, 5)
    come(1, 6)
    assert arguing() == [True, False, True, True]
    come(1, 7, pb.EVENT_KIND_DISLIKE, reward=0.3)
    assert histories.rings[3][0].tolist() == [DISAPPOINTED, ARGUES, SILENCED, DISAPPOINTED], "a ring: 4 events a turn"


def test_a_window_before_a_time_holds_nothing_of_that_time() -> None:
    histories = Histories(3, REVIEWS)
    for n, day in enumerate([0, 1, 1, 2]):
        row = histories.apply(review("u", f"p{n}", day), n)
    for day, products in {0: [], 1: [], 2: [1, 2], 3: [1, 2, 3]}.items():  # product 0 has left the ring
        window = histories.window(row, before_ms=START_MS + day * DAY_MS)
        assert window.products[0, : window.lengths[0]].tolist() == products
        assert (window.products[0, window.lengths[0] :] == -1).all()


def test_the_mask_outlives_the_ring_and_takes_only_its_kinds() -> None:
    histories = Histories(2, kinds_of(["review", " Dislike "]))
    kinds = [pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_VIEW, pb.EVENT_KIND_DISLIKE, pb.EVENT_KIND_CART, pb.EVENT_KIND_REVIEW]
    for product, kind in enumerate(kinds):
        state = review("u", f"p{product}", product)
        state.kind = kind
        row = histories.apply(state, product)
    assert histories.masked(row).tolist() == [0, 2, 4]
    assert histories.masked(row).dtype == np.int32
    assert products_of(histories, "u") == [3, 4]


def test_masked_kinds_are_named_in_a_list_that_may_be_empty() -> None:
    assert masked_kinds_of("review, Dislike,") == {pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_DISLIKE}
    assert masked_kinds_of(" ") == frozenset()


def test_a_kind_that_is_none_is_refused() -> None:
    for ask in (lambda: kinds_of(["review", "look"]), lambda: masked_kinds_of("look")):
        with pytest.raises(ValueError, match=r"no kind of event is called .look.; there are review, "):
            ask()


def test_users_do_not_mix_while_the_arrays_grow() -> None:
    histories = Histories(2, REVIEWS, users=1)
    for day in range(3):
        for user in range(9):
            histories.apply(review(f"u{user}", "p", day), 100 * user + day)
    assert len(histories.users) == 9
    for user in range(9):
        assert histories.row(f"u{user}") == user
        assert products_of(histories, f"u{user}") == [100 * user + 1, 100 * user + 2]
        assert histories.masked(user).tolist() == [100 * user + day for day in range(3)]


def test_a_new_users_padding_is_no_product_after_growth() -> None:
    histories = Histories(3, REVIEWS, users=1)
    for user in range(3):
        row = histories.apply(review(f"u{user}", "p", 0), 5)
    assert histories.to_arrays()["products"][row].tolist() == [5, -1, -1]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 3)), max_size=40),
    st.integers(0, 40),
)
def test_what_was_kept_goes_on_as_if_nothing_had_happened(events: list[tuple[int, int, int]], cut: int) -> None:
    def apply(histories: Histories, part: list[tuple[int, int, int]]) -> None:
        for user, product, day in part:
            histories.apply(review(f"u{user}", f"p{product}", day), product)

    whole, first = Histories(3, REVIEWS), Histories(3, REVIEWS)
    apply(whole, events)
    apply(first, events[:cut])
    second = Histories.from_arrays(first.users, first.to_arrays(), REVIEWS)
    apply(second, events[cut:])
    assert second.users == whole.users
    kept, expected = second.to_arrays(), whole.to_arrays()
    assert set(kept) == set(expected)
    for name, array in expected.items():
        assert np.array_equal(kept[name], array), name
        assert kept[name].dtype == array.dtype, name


def test_what_was_kept_does_not_change_with_what_comes_later() -> None:
    histories = Histories(2, REVIEWS)
    histories.apply(review("u", "p", 0), 1)
    kept = histories.to_arrays()
    window = histories.window(0)
    histories.apply(review("u", "q", 1), 2)
    histories.apply(review("u", "r", 2), 3)
    assert kept["products"].tolist() == window.products.tolist() == [[1, -1]]


@pytest.mark.parametrize(
    ("events", "days_ago", "expected"),
    [
        (0, 5000, UserClass.NEW),  # who did nothing can't have lapsed
        (1, 0, UserClass.NEW),
        (2, 180, UserClass.NEW),
        (2, 180.01, UserClass.LAPSED),
        (3, 180, UserClass.OCCASIONAL),
        (9, 0, UserClass.OCCASIONAL),
        (10, -1, UserClass.REGULAR),
        (10, 181, UserClass.LAPSED),
    ],
)
def test_the_class_of_a_user_by_its_bounds(events: int, days_ago: float, expected: UserClass) -> None:
    assert user_class(events, START_MS, START_MS + int(days_ago * DAY_MS)) is expected


def test_the_latest_time_of_any_user_is_kept() -> None:
    histories = Histories(2, REVIEWS)
    for user, day in (("a", 3), ("b", 9), ("a", 5)):
        histories.apply(review(user, "p", day), 0)
    assert histories.latest_ms == START_MS + 9 * DAY_MS
    again = Histories.from_arrays(histories.users, histories.to_arrays(), REVIEWS)
    assert again.latest_ms == histories.latest_ms
