"""The tally: held to counts worked out by hand, the same in whatever order the partitions come, and fair."""

from __future__ import annotations

import random
import runpy
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import freshet
from freshet.messages import event_message, product_message, recommended
from services.features.core import SourceRecord, describe
from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from shared.log.records import DAY_MS
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1 import recommender_pb2 as calls
from shared.process.settings import load
from shared.state import tally as module
from shared.state.histories import UNCOUNTED_KINDS, UNSAID, Histories, Window, disappoints, features_of
from shared.state.known import Known, KnownProducts
from shared.state.stream import Stream, StreamSettings
from shared.state.tally import (
    EPOCH,
    NEIGHBOURS,
    NEWEST_USERS,
    NEXT_TOTAL,
    PAIR_ONE,
    REPEAT_MS,
    REWARD_ONE,
    SLOTS,
    SMOOTHING,
    TOGETHER_TOTAL,
    TRENDING,
    USERS,
    Tally,
    partitions_of,
    room_of,
)

REVIEW, VIEW = pb.EVENT_KIND_REVIEW, pb.EVENT_KIND_VIEW
START = 1_300_000_000_000
HOUR_MS = 3_600_000


def known(most_pairs: int = 1 << 26, length: int = 20, half_life_ms: float = 30.0 * DAY_MS) -> Known:
    return Known(Histories(length, frozenset()), Tally(half_life_ms, most_pairs), KnownProducts())


def view(
    user: str, product: str, at_ms: int = START, *, partition: int = 0, offset: int = 0, **fields: Any
) -> pb.StateVector:
    others = {"kind": VIEW, "reward": 0.05, "imputed": UNSAID} | fields
    return pb.StateVector(
        user_id=user,
        product_id=product,
        event_time_ms=at_ms,
        source_partition=partition,
        source_offset=offset,
        **others,
    )


def pairs(it: Known, product: str, partition: int = 0) -> list[tuple[str, float, float]]:
    """A product's neighbours in the slots of one partition, in order: which, how often it followed, and came near."""
    t, row = it.tally.arrays, it.products.rows[product]
    if partition >= partitions_of(t):
        return []
    start, size, slots = room_of(t.products[row, NEIGHBOURS + partition])
    room = t.pairs[3 * start : 3 * (start + slots)].reshape(3, slots)[:, :size]
    return [(it.products.ids[p], following / PAIR_ONE, near / PAIR_ONE) for p, following, near in room.T.tolist()]


def newest_users(it: Known, product: str) -> set[tuple[str, int, int, int]]:
    """A product's newest users: who, when, partition, offset."""
    t, row = it.tally.arrays, it.products.rows[product]
    start, size, slots = room_of(t.products[row, NEWEST_USERS])
    users, others = np.split(t.users[5 * start : 5 * (start + slots)], [slots])
    times, places = others.view(np.int64).reshape(2, slots)[:, :size].tolist()
    whose = (it.histories.users[user] for user in users[:size])
    return {(user, ms, *divmod(place, 1 << 48)) for user, ms, place in zip(whose, times, places, strict=True)}


def counted(it: Known) -> dict[str, Any]:
    """All that a tally holds, by the names of products and users, whose rows depend on the order of arrival."""
    t = it.tally.arrays
    of_products: dict[str, Any] = {}
    for product, row in it.products.rows.items():
        of_products[product] = (
            t.counts[row].tobytes(),
            t.popular[:, row].tobytes(),
            t.products[row, [NEXT_TOTAL, TOGETHER_TOTAL]].tolist(),
            [pairs(it, product, partition) for partition in range(partitions_of(t))],
            newest_users(it, product),
        )
    totals = [array.tobytes() for array in (t.half_lives_ms, t.epochs, t.totals, t.pair_totals, t.used[2:])]
    return {"products": of_products, "totals": totals}


def test_an_event_weighs_twice_as_much_for_each_half_life_in_fixed_point() -> None:
    tally = Tally(DAY_MS)
    tally.add(0, VIEW, 0)
    tally.add(1, VIEW, 1 * DAY_MS)
    tally.add(2, VIEW, 15 * DAY_MS + DAY_MS // 2)
    counts = tally.arrays.counts[:, TRENDING]
    assert counts[:3, 0].tolist() == [65_536, 131_072, 3_037_000_500]  # the last: 2^15.5 · 2^16 = 2^31.5, rounded
    assert tally.arrays.totals[TRENDING].tolist() == [65_536 + 131_072 + 3_037_000_500, 0]
    tally.add(2, VIEW, EPOCH * DAY_MS)
    assert tally.arrays.epochs[TRENDING] == 1
    assert tally.arrays.counts[:3, TRENDING, 1].tolist() == [0, 0, 65_536], "the next epoch begins with a weight of 1"
    weights, total = tally.weights()
    assert weights.tolist() == [np.float32(2.0**-16), np.float32(2.0**-15), np.float32(1 + 2.0**-0.5)]
    assert total == pytest.approx(2.0**-16 + 2.0**-15 + 1 + 2.0**-0.5, rel=1e-9)


def test_an_event_halves_with_the_half_life_across_epochs_too() -> None:
    tally = Tally(10 * DAY_MS)
    for product, day in ((0, 0), (1, 10), (2, 20), (0, 20)):
        tally.add(product, REVIEW, START + day * DAY_MS)
    assert tally.scores().tolist() == pytest.approx([5 / 11, 2 / 11, 4 / 11], rel=1e-4)


def test_an_epoch_falls_away_whole_once_it_is_two_behind() -> None:
    epoch = EPOCH * DAY_MS
    tally = Tally(DAY_MS)
    tally.add(0, VIEW, epoch - 1)  # at the very end of epoch 0
    tally.add(1, VIEW, 2 * epoch - 1)
    assert tally.weights()[0].tolist() == pytest.approx([1.0, 65_536.0], rel=1e-4)
    tally.add(2, VIEW, 2 * epoch)
    assert tally.weights()[0].tolist() == pytest.approx([0.0, 1.0, 1.0], rel=1e-4)
    tally.add(0, VIEW, epoch - 1)
    assert tally.weights()[0][0] == 0.0, "nor does what comes of it later count"
    tally.add(0, VIEW, 2 * epoch - 1)
    assert tally.weights()[0][0] == tally.weights()[0][1]


def test_a_late_event_counts_as_old_as_it_is() -> None:
    tally = Tally(10 * DAY_MS)
    tally.add(0, REVIEW, START)
    tally.add(1, REVIEW, START - 10 * DAY_MS)
    assert tally.scores().tolist() == pytest.approx([2 / 3, 1 / 3], rel=1e-4)
    tally.add(1, REVIEW, 1)  # forty years late
    assert tally.scores().tolist() == pytest.approx([2 / 3, 1 / 3], rel=1e-4)


def test_after_a_silence_of_ages_only_the_new_counts() -> None:
    tally = Tally(1.0)
    tally.add(0, REVIEW, START)
    tally.add(1, REVIEW, START + 10**12)
    assert tally.scores().tolist() == [0.0, 1.0]


def test_every_half_life_counts_all_events_its_way() -> None:
    tally = Tally(30.0 * DAY_MS)
    tally.add(0, VIEW, START)
    tally.add(1, VIEW, START + 14 * DAY_MS)
    assert tally.arrays.half_lives_ms.tolist() == [days * DAY_MS for days in (30.0, 0.25, 2.0, 14.0, 60.0)]
    shares = [tally.weights(h)[0] / tally.weights(h)[1] for h in range(5)]
    old = [1 / (1 + 2 ** (14 / days)) for days in (30.0, 0.25, 2.0, 14.0, 60.0)]
    assert [float(share[0]) for share in shares] == pytest.approx(old, rel=1e-4)


@pytest.mark.parametrize("kind", sorted(UNCOUNTED_KINDS))
def test_what_is_no_sign_of_popularity_only_gives_a_place(kind: int) -> None:
    tally = Tally(1.0)
    tally.add(2, kind, START)
    assert tally.scores().tolist() == [0.0, 0.0, 0.0]
    tally.add(1, VIEW, START)
    assert tally.scores().tolist() == [0.0, 1.0, 0.0]


def test_log_popularity_is_finite_and_sums_to_one() -> None:
    tally = Tally(DAY_MS)
    tally.add(0, REVIEW, START)
    tally.add(3, pb.EVENT_KIND_DISLIKE, START)
    shares = np.exp(tally.log_popularity())
    assert shares.tolist() == pytest.approx([1 - SMOOTHING + SMOOTHING / 4, *[SMOOTHING / 4] * 3])
    assert tally.log_popularity().dtype == np.float32


def test_before_any_event_there_is_nothing_to_rank() -> None:
    tally = Tally(DAY_MS)
    assert tally.scores().tolist() == []
    assert tally.log_popularity().tolist() == []


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(0, 500)),  # product, half-lives since the start
        min_size=1,
        max_size=30,
    )
)
def test_epochs_change_no_share(events: list[tuple[int, float]]) -> None:
    half_life = DAY_MS
    tally = Tally(half_life)
    for product, at in events:
        tally.add(product, REVIEW, START + int(at * half_life))
    newest = START + int(max(at for _, at in events) * half_life)
    expected = np.zeros(tally.size)
    for product, at in events:
        expected[product] += 2.0 ** ((START + int(at * half_life) - newest) / half_life)
    assert tally.scores().tolist() == pytest.approx((expected / expected.sum()).tolist(), abs=2.0**-15)


def test_products_without_events_get_a_place_and_no_count() -> None:
    tally = Tally(1000.0)
    tally.add(0, VIEW, 5)
    tally.grow_to(5)
    tally.grow_to(3)
    assert tally.scores().tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_what_events_were_worth_adds_up_in_any_order_and_goes_on_from_what_was_kept() -> None:
    """A guest's and those that disappointed, too; by product, how many and the sum of their rewards."""
    rewards = [0.05, 1.0, -1.0, 0.3, 1 / 3, -0.7, 0.05]
    states = [
        view(f"u{n % 3}" if n % 4 else "", f"p{n % 2}", START + n, reward=reward) for n, reward in enumerate(rewards)
    ]
    states[3].kind = pb.EVENT_KIND_RETURN
    expected = {
        f"p{p}": (len(rewards[p::2]), sum(round(reward * REWARD_ONE) for reward in rewards[p::2])) for p in (0, 1)
    }
    for seed in range(10):
        shuffled = random.Random(seed).sample(states, len(states))
        it = known()
        for n, state in enumerate(shuffled):
            it.apply(state)
            if n == seed % 5:
                again = Tally(30.0 * DAY_MS)
                again.resume(it.tally.to_arrays())
                it.resume(it.histories, again)
        worth = it.tally.arrays.rewards[: it.tally.size].tolist()
        assert {product: tuple(worth[row]) for product, row in it.products.rows.items()} == expected


def test_an_event_is_paired_with_the_ten_before_it() -> None:
    """What followed counts 0.5^n after n events between, what came near 0.8^n, both ways."""
    it = known()
    for n, product in enumerate("abca"):
        it.apply(view("u", product, START + n * 2 * DAY_MS))
    # a→b; then b→c and a→c at one between; then c→a, b→a at one between, and a itself is no neighbour.
    assert pairs(it, "a") == [
        ("b", 1.0, pytest.approx(1.0 + 0.8, abs=1e-3)),
        ("c", 0.5, pytest.approx(0.8 + 1.0, abs=1e-3)),
    ]
    assert pairs(it, "b") == [
        ("a", 0.5, pytest.approx(1.0 + 0.8, abs=1e-3)),
        ("c", 1.0, 1.0),
    ]
    assert pairs(it, "c") == [
        ("b", 0.0, 1.0),
        ("a", 1.0, pytest.approx(0.8 + 1.0, abs=1e-3)),
    ]
    t = it.tally.arrays
    assert (t.products[:3, NEXT_TOTAL] / PAIR_ONE).tolist() == [1.5, 1.5, 1.0]
    assert t.pair_totals.tolist() == t.products[:, [NEXT_TOTAL, TOGETHER_TOTAL]].sum(axis=0).tolist()
    it = known()
    for n in range(12):
        it.apply(view("u", f"p{n}", START + n * DAY_MS))
    assert [product for product, *_ in pairs(it, "p11")] == [f"p{n}" for n in range(10, 0, -1)], "p0 is too long ago"


def test_the_least_neighbour_makes_room_and_of_equals_the_first() -> None:
    """With room for four: b, c and d come near once, e twice; f takes the slot of b, then g that of f."""
    it = known(most_pairs=1000, length=2)
    it.tally.most_pairs = 0
    it.apply(view("u", "z"))
    it.apply(view("u", "y", START + 1))
    assert (pairs(it, "z"), it.tally.refused) == ([], 2), "no slot is left for either"
    assert it.tally.arrays.products[0, NEXT_TOTAL] == PAIR_ONE, "which totals count all the same"
    it.tally.most_pairs = 1000
    for n, other in enumerate("bcdee"):
        it.apply(view(f"u{n}", "a"))
        it.apply(view(f"u{n}", other, START + 1))
    assert [(name, near) for name, _, near in pairs(it, "a")] == [("b", 1), ("c", 1), ("d", 1), ("e", 2)]
    it.tally.most_pairs = int(it.tally.arrays.used[2])
    refused = it.tally.refused
    for n, other in enumerate("fg"):
        it.apply(view(f"v{n}", "a"))
        it.apply(view(f"v{n}", other, START + 1))
    assert [name for name, *_ in pairs(it, "a")] == ["g", "c", "d", "e"], "the least, and of equals the first"
    assert it.tally.refused == refused + 2, "f and g have no slots of their own"
    assert (pairs(it, "f"), pairs(it, "g")) == ([], [])


def test_a_products_newest_users_are_the_greatest_by_time_and_place() -> None:
    it = known()
    for n in range(USERS):
        it.apply(view(f"u{n}", "a", START + n, partition=n % 2, offset=n))
    it.apply(view("too old", "a", START - 1, offset=900))
    assert {user for user, *_ in newest_users(it, "a")} == {f"u{n}" for n in range(USERS)}
    it.apply(view("as old, after it in the log", "a", START, partition=1, offset=0))
    assert ("as old, after it in the log", START, 1, 0) in newest_users(it, "a")
    assert "u0" not in {user for user, *_ in newest_users(it, "a")}
    it.apply(view("u1", "a", START - 5, offset=901))
    assert ("u1", START + 1, 1, 1) in newest_users(it, "a"), "a late event leaves the newer one"
    it.apply(view("u1", "a", START + 999, offset=902))
    assert ("u1", START + 999, 0, 902) in newest_users(it, "a")
    assert len(newest_users(it, "a")) == USERS


def test_rooms_that_were_left_are_taken_again() -> None:
    it = known(length=2)

    def pair(one: str, other: str) -> tuple[int, int]:
        """Slots that were ever taken, and those in use now."""
        it.apply(view(one + other, one))
        it.apply(view(one + other, other, START + 1))
        return int(it.tally.arrays.used[0]), int(it.tally.arrays.used[2])

    for other in "01234":
        taken = pair("a", other)
    assert taken == (8 + 5 * 4, 8 + 5 * 4), "the fifth neighbour has the room that a left for a larger one"
    for other in "01234":
        pair("b", other)
        taken = pair("c", other)
    assert taken == (28 + 2 * (4 + 8), 28 + 2 * 8)
    assert pair("d", "e") == (52, 52), "both rooms of four are taken again"
    assert pair("f", "g") == (60, 60)
    assert [pairs(it, product) for product in "de"] == [[("e", 1.0, 1.0)], [("d", 0.0, 1.0)]]
    assert {name for hub in "abc" for name, *_ in pairs(it, hub)} == set("01234")


def test_there_is_always_room_for_one_event_more() -> None:
    it = known()
    for n, state in enumerate(state for partition in ten_years(9_000) for state in partition):
        it.apply(state)
        if n % 40 == 0:
            again = Tally(30.0 * DAY_MS)
            again.resume(it.tally.to_arrays())
            it.resume(it.histories, again)
        t = it.tally.arrays
        assert len(t.pairs) >= 3 * (t.used[0] + 2 * 10 * SLOTS), n
        assert len(t.users) >= 5 * (t.used[1] + USERS), n
    assert t.used[:2].min() > 4096, "what an empty one has room for"


def test_one_users_repeated_views_count_once_within_a_day() -> None:
    it = known()
    for minute in range(200):
        it.apply(view("reloader", "a", START + minute * 60_000))
    for n in range(20):
        it.apply(view(f"person{n}", "b", START + 200 * 60_000))
    ones = it.tally.arrays.counts[:, TRENDING].sum(axis=1)
    assert ones[1] / ones[0] == pytest.approx(20.0, rel=0.01)
    it.apply(view("reloader", "a", START + REPEAT_MS + 199 * 60_000))
    assert it.tally.arrays.counts[:, TRENDING].sum(axis=1)[0] / ones[0] == pytest.approx(2.0, rel=0.1), "the next day"
    it.apply(view("reloader", "a", START + REPEAT_MS + 199 * 60_000, kind=pb.EVENT_KIND_PURCHASE))
    assert it.tally.arrays.counts[:, TRENDING].sum(axis=1)[0] / ones[0] == pytest.approx(3.0, rel=0.1), "another kind"


def test_with_three_events_within_a_day_further_ones_make_no_pair() -> None:
    it = known()
    it.apply(view("u", "a"))
    for n in range(1, 11):
        it.apply(view("u", "b" if n % 2 else "c", START + n))
    [of_b, _] = pairs(it, "a")
    assert of_b[2] == pytest.approx(1.0 + 0.8**2 + 0.8**4, abs=1e-3), "views 1, 3 and 5; not 7 and 9"


DISAPPOINTING = {
    "a return": {"kind": pb.EVENT_KIND_RETURN, "reward": -0.7},
    "a return that costs nothing": {"kind": pb.EVENT_KIND_RETURN, "reward": 0.0},
    "a dislike": {"kind": pb.EVENT_KIND_DISLIKE, "reward": -1.0},
    "one star": {"kind": pb.EVENT_KIND_RATING, "rating": 1.0, "reward": -1.0, "imputed": ()},
    "two stars, kindly said": {"kind": REVIEW, "rating": 2.0, "reward": 0.1, "imputed": ()},
    "a sad review without stars": {"kind": REVIEW, "reward": -0.2, "imputed": (pb.IMPUTED_RATING,)},
}


@pytest.mark.parametrize("how", DISAPPOINTING)
def test_what_disappointed_is_no_popularity_and_no_pairs_end(how: str) -> None:
    it = known()
    it.apply(view("u", "liked"))
    it.apply(view("u", "hated", START + 1, **DISAPPOINTING[how]))
    assert it.tally.weights()[0].tolist() == [pytest.approx(it.tally.weights()[1]), 0.0]
    assert (pairs(it, "liked"), pairs(it, "hated"), newest_users(it, "hated")) == ([], [], set())
    it.apply(view("u", "next", START + 2))
    assert pairs(it, "hated") == []
    assert [product for product, *_ in pairs(it, "next")] == ["liked"]


@pytest.mark.parametrize("how", DISAPPOINTING)
def test_nor_do_the_events_before_with_what_disappointed_later(how: str) -> None:
    it = known()
    it.apply(view("u", "bought", kind=pb.EVENT_KIND_PURCHASE, reward=0.7))
    it.apply(view("u", "bought", START + 1, **DISAPPOINTING[how]))
    it.apply(view("u", "next", START + 2))
    assert pairs(it, "bought") == [], "nobody is led from what was bought and sent back"
    it.apply(view("u", "bought", START + 3, kind=pb.EVENT_KIND_PURCHASE, reward=0.7))
    it.apply(view("u", "another", START + 4))
    assert ("another", 1.0, 1.0) in pairs(it, "bought"), "bought again, it was liked after all"


@given(
    st.sampled_from((VIEW, REVIEW, pb.EVENT_KIND_RATING)),
    st.none() | st.floats(1.0, 5.0, width=32),
    st.floats(-1.0, 1.0, width=32),
)
def test_an_event_disappoints_in_a_history_as_it_did_when_it_came(
    kind: int, stars: float | None, reward: float
) -> None:
    imputed = (pb.IMPUTED_RATING,) if stars is None else ()
    state = view("u", "p", kind=kind, rating=3.0 if stars is None else stars, reward=reward, imputed=imputed)
    of_features = Window(
        np.zeros((1, 1), np.int32), np.array([[features_of(state, 0)]], np.float32), np.ones(1, np.int32)
    )
    assert of_features.arguing().tolist() == [not disappoints(state)]


class Shop:
    """A client that knows no service: what it records is described by features' core and counted by a stream."""

    def __init__(self, _: str) -> None:
        self._stream = Stream(StreamSettings())
        self._settings, self._sentiment = load(FeaturesSettings, {}), Sentiment()
        self._recorded = 0

    def __enter__(self) -> Shop:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def upsert_products(self, products: Iterable[freshet.Product]) -> None:
        for product in products:
            self._stream.known.products.upsert(product_message(product))

    def record(self, events: Iterable[freshet.Event]) -> None:
        for event in events:
            origin = SourceRecord("events", 0, self._recorded, int(time.time() * 1000))
            self._stream.apply(describe(event_message(event), origin, self._settings, self._sentiment))
            self._recorded += 1

    def trending(self, _: str) -> Sequence[freshet.Recommended]:
        scores = np.log(self._stream.known.shares())
        order = np.argsort(-scores, kind="stable").tolist()
        ids = self._stream.products
        return recommended([calls.RecommendedProduct(product_id=ids[row], score=scores[row]) for row in order])


@pytest.mark.parametrize(
    ("case", "lines"),
    [("33_one_star_ratings.py", ["star-A", "star-B"]), ("34_one_user_many_views.py", ["bot-B", "bot-A"])],
)
def test_neither_complaints_nor_one_busy_user_make_a_product_popular(
    case: str, lines: list[str], data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cases as shops reported them, run as they are written, with a shop in this process."""
    path = data / "cases" / case
    if not path.is_file():
        pytest.skip(f"no {case} in {data}")
    monkeypatch.setattr(freshet, "Client", Shop)
    monkeypatch.setattr(sys, "argv", [case, "nowhere"])
    monkeypatch.setattr(time, "sleep", lambda _: None)
    runpy.run_path(str(path))
    popular = eval(capsys.readouterr().out)  # noqa: S307  # the case prints a list of tuples
    assert [product for product, _ in popular] == lines


PARTITIONS = 4


def ten_years(count: int = 6_000, seed: int = 5) -> list[list[pb.StateVector]]:
    """A log of ten years by partition; one product has more neighbours and users than it has slots, and every twentieth
    event is late.
    """
    rng = random.Random(seed)
    log: list[list[pb.StateVector]] = [[] for _ in range(PARTITIONS)]
    kinds = (VIEW, VIEW, VIEW, pb.EVENT_KIND_PURCHASE, REVIEW, pb.EVENT_KIND_RETURN)
    for n in range(count):
        user = rng.randrange(600)
        product = "hub" if rng.random() < 0.3 else f"p{int(400 * rng.random() ** 1.5)}"
        late = rng.randrange(200 * DAY_MS) if n % 20 == 0 else 0
        at_ms = START + n * (3650 * DAY_MS // count) // DAY_MS * DAY_MS - late  # whole days: many are equal
        of_partition = log[user % PARTITIONS]
        kind = rng.choice(kinds)
        reward = -0.7 if kind == pb.EVENT_KIND_RETURN else rng.uniform(-0.2, 1.0)
        of_partition.append(
            view(
                f"u{user}", product, at_ms,
                kind=kind, reward=reward, partition=user % PARTITIONS, offset=len(of_partition),
            )
        )  # fmt: skip
    return log


def interleaved(log: Sequence[Sequence[pb.StateVector]], way: int) -> Iterator[pb.StateVector]:
    """A log in one of many orders, each of which keeps the order within the partitions."""
    rng = random.Random(way)
    if way == 0:
        order = [p for p, of_partition in enumerate(log) for _ in of_partition]
    elif way == 1:
        order = [p for p, of_partition in reversed([*enumerate(log)]) for _ in of_partition]
    else:
        order = [p for p, of_partition in enumerate(log) for _ in of_partition]
        rng.shuffle(order)
        if way % 2:  # long runs of one partition, as a reader with a backlog gets them
            runs = (order[at : at + 500] for at in range(0, len(order), 500))
            order = [p for run in runs for p in sorted(run, key=lambda p: p * way % 5)]
    each = [iter(of_partition) for of_partition in log]
    return (next(each[p]) for p in order)


def test_twenty_orders_of_the_partitions_give_one_tally() -> None:
    log = ten_years()
    first: dict[str, Any] = {}
    for way in range(20):
        it = known(length=20)
        for n, state in enumerate(interleaved(log, way)):
            it.apply(state)
            if way == 7 and n == 3_000:  # one of them stops in the middle and goes on
                again = Tally(30.0 * DAY_MS)
                again.resume(it.tally.to_arrays())
                it.resume(it.histories, again)
        first = first or counted(it)
        assert counted(it) == first, way
    hub = it.products.rows["hub"]
    t = it.tally.arrays
    assert [len(pairs(it, "hub", p)) for p in range(PARTITIONS)] == [SLOTS] * PARTITIONS
    kept = sum(near for p in range(PARTITIONS) for _, _, near in pairs(it, "hub", p))
    assert kept * PAIR_ONE < 0.95 * t.products[hub, TOGETHER_TOTAL], "neighbours were dropped"
    assert len(newest_users(it, "hub")) == USERS
    assert t.epochs[1] - START // (EPOCH * DAY_MS // 4) > 900, "epochs of six hours' half-life came and went"


def test_a_tally_out_of_memory_is_the_same_in_any_order_too() -> None:
    log = ten_years(2_000)
    tallies = []
    for way in range(6):
        it = known(most_pairs=600)
        for state in interleaved(log, way):
            it.apply(state)
        tallies.append(counted(it))
    assert it.tally.refused > 100
    assert (it.tally.arrays.used[2::2] <= 600).all()
    assert all(each == tallies[0] for each in tallies)


def test_what_was_kept_counts_on() -> None:
    whole, first = known(), known()
    states = [state for partition in ten_years(1_500) for state in partition]
    for n, state in enumerate(states):
        whole.apply(state)
        if n <= 700:
            first.apply(state)
    again = Tally(30.0 * DAY_MS)
    again.resume(first.tally.to_arrays())
    first.resume(first.histories, again)
    for state in states[701:]:
        first.apply(state)
    theirs = first.tally.to_arrays()
    for name, array in whole.tally.to_arrays().items():
        assert array.tobytes() == theirs[name].tobytes(), name
    assert counted(first) == counted(whole)


COMPILED = (
    "_both", "total_of", "_begin", "count", "_class", "room_of", "_move", "_place", "_place_of_least", "_pair",
    "_times", "_note_user", "prefetch_pairs", "_is_full",
)  # fmt: skip

events = st.tuples(
    st.integers(0, 4),  # user
    st.integers(0, 12),  # product
    st.sampled_from((VIEW, VIEW, REVIEW, pb.EVENT_KIND_PURCHASE, pb.EVENT_KIND_RETURN)),
    st.integers(0, 40 * 24),  # hours since the start
    st.sampled_from((1.0, 3.0, 5.0)),
    st.floats(-0.5, 1.0, width=32),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(events, max_size=60), st.sampled_from((8, 24, 1 << 20)))
def test_compiled_it_counts_what_python_counts(log: list[Any], most_pairs: int) -> None:
    states = [
        view(
            f"u{user}", f"p{product}", START + hours * HOUR_MS,
            kind=kind, rating=stars, reward=reward, imputed=(), partition=user % 2, offset=n,
        )
        for n, (user, product, kind, hours, stars, reward) in enumerate(log)
    ]  # fmt: skip
    fast, slow = (known(most_pairs, length=5, half_life_ms=0.5 * DAY_MS) for _ in range(2))
    for state in states:
        fast.apply(state)
    with pytest.MonkeyPatch.context() as patch:
        for name in COMPILED:
            patch.setattr(module, name, getattr(module, name).py_func)
        patch.setattr(module, "_fold", SimpleNamespace(unchecked=module._fold.py_func))
        for state in states:
            slow.apply(state)
    theirs = slow.tally.to_arrays()
    for name, array in fast.tally.to_arrays().items():
        assert array.tobytes() == theirs[name].tobytes(), name
