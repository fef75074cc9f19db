"""What products are, which are like which, and the place that gives to those with few events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.content.likeness import Likeness, tokens_of
from shared.content.new_products import Content, ContentSettings
from shared.model.served import served, served_scores
from shared.pb.freshet.v1.events_pb2 import Product
from shared.state.tally import Tally

SETTINGS = ContentSettings(
    neighbours=2, events=4, prior=1.0, doubt=0.25, discount=0.5, discount_events=1e9, discount_shape=1e9
)


def product(title: str, **more: object) -> Product:
    return Product(product_id=title or "none", title=title, **more)  # type: ignore[arg-type]


def test_a_product_is_its_category_path_brand_price_and_words() -> None:
    tokens = tokens_of(
        product(
            "Steel STRINGS, 12", categories=["Music", "Guitar"], brand="Élan", price=8.0, description="steel for you"
        )
    )
    assert tokens == {
        "/music": 1.0, "/music/guitar": 1.0, "brand élan": 1.0, "price 6": 0.5, "price+ 6": 0.5,
        "steel": 1.0, "strings": 1.0, "12": 1.0, "for": 0.3, "you": 0.3,
    }  # fmt: skip
    assert tokens_of(product("")) == {}
    near = [set(tokens_of(product("", price=price))) for price in (9.5, 10.5)]
    assert near[0] & near[1], "prices on either side of an edge share a band"
    assert not near[0] & set(tokens_of(product("", price=30.0)))


def test_likeness_is_the_cosine_of_what_is_rare() -> None:
    likeness = Likeness()
    for row, words in enumerate(["a b", "a c", "a b", "d"]):
        likeness.put(row, dict.fromkeys(words.split(), 1.0))
    idf = {token: np.log1p(4 / df) for token, df in {"a": 3, "b": 2, "c": 1}.items()}
    rows, cosines = likeness.beside(0)
    assert rows.tolist() == [1, 2]
    lengths = np.hypot(idf["a"], idf["b"]), np.hypot(idf["a"], idf["c"])
    assert cosines.tolist() == pytest.approx([idf["a"] ** 2 / (lengths[0] * lengths[1]), 1.0], rel=0.1)
    assert likeness.beside(3)[0].tolist() == likeness.beside(99)[0].tolist() == []


@given(st.lists(st.tuples(st.integers(0, 5), st.frozensets(st.sampled_from("abcd"))), max_size=30))
def test_what_a_product_was_before_does_not_matter(changes: list[tuple[int, frozenset[str]]]) -> None:
    changed, anew = Likeness(), Likeness()
    for row, tokens in changes:
        changed.put(row, dict.fromkeys(tokens, 1.0))
    last = dict(changes)
    for row, tokens in last.items():
        anew.put(row, dict.fromkeys(tokens, 1.0))
    for row in range(6):
        assert changed.beside(row)[0].tolist() == anew.beside(row)[0].tolist()
    assert len(changed) == len(anew) == sum(map(bool, last.values()))


def shop(*titles: str, events: Sequence[int] = (), settings: ContentSettings = SETTINGS) -> Content:
    content = Content(settings)
    for row, title in enumerate(titles):
        content.put(row, product(title))
        for _ in range(events[row] if row < len(events) else 0):
            content.count(row)
    return content


def believed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Popularity that is what the scores say: they are believed."""
    shares: NDArray[np.float32] = np.exp(values) / np.exp(values).sum()
    return shares


def added(content: Content, *values: float, popularity: NDArray[np.float32] | None = None) -> dict[int, float]:
    scores = np.array(values, np.float32)
    rows, more = content.lend(scores, believed(scores) if popularity is None else popularity)
    return dict(zip(rows.tolist(), more.tolist(), strict=True))


def test_a_product_without_events_comes_where_those_like_it_are() -> None:
    content = shop("red guitar", "blue drum", "red guitar", events=[4, 4])
    gains = added(content, -2.0, -3.0, -9.0)
    assert list(gains) == [2], "the others have events enough"
    share = 1.0 / (1.0 + SETTINGS.doubt)  # all alike, and doubted
    assert gains[2] == pytest.approx(np.log(1.0 + share * 0.5 * np.exp(9.0 - 2.0)), abs=1e-5)


def test_what_content_counts_fades_with_the_products_own_events() -> None:
    content, shares = shop("guitar", "guitar", events=[4]), []
    for _ in range(4):
        shares.append((np.exp(added(content, 0.0, 0.0)[1]) - 1.0) / 0.5)
        content.count(1)
    assert added(content, 0.0, 0.0) == {}, "it has events enough"
    fading = [1 / (1 + n) * (1 - n / 4) for n in range(4)]
    assert np.array(shares) == pytest.approx(np.array(fading) / (1.0 + SETTINGS.doubt), abs=1e-5)


def test_only_products_with_events_tell_where_one_belongs_and_those_with_more_the_louder() -> None:
    content = shop("guitar", "guitar", "guitar", events=[0, 0, 0])
    assert added(content, -1.0, -2.0, -3.0) == {}
    content.count(1)
    evidence = 1.0 - 0.5 * 0.75  # what the evidence of one event counts
    assert set(added(content, -1.0, -2.0, -3.0)) == {0, 2}, "looked for again, as there is one to ask"
    for _ in range(3):
        content.count(0)
        content.count(0)
    gain = added(content, -1.0, -2.0, -9.0)[2]
    mean, total = (np.exp(-1.0) + evidence * np.exp(-2.0)) / (1.0 + evidence), 1.0 + evidence
    share = total / (total + SETTINGS.doubt)
    assert gain == pytest.approx(np.log(1.0 + share * 0.5 * mean / np.exp(-9.0)), abs=1e-4)


def test_how_much_rarer_new_products_are_chosen_is_learned() -> None:
    """Of two new guitars, each of which an event of the old one calls for."""
    settings = ContentSettings(neighbours=2, events=4, doubt=0.25, discount=0.5, discount_events=2.0)
    content = shop("guitar", "guitar", "guitar", events=[4], settings=settings)
    assert content.discount == 0.5
    added(content, 0.0, 0.0, 0.0)
    for _ in range(10):
        content.count(0)
    due = 10 * 2 / 1.25  # as much as content is trusted
    assert content.discount == pytest.approx(1.0 / (due + 2.0), rel=0.01)
    content.count(1)
    assert content.discount == pytest.approx(2.0 / (due + 2.0), rel=0.01)


def test_what_was_passed_over_for_long_is_less_likely_and_what_was_chosen_once_more() -> None:
    """Of three new guitars, one put when the old one had been chosen ten times."""
    settings = replace(SETTINGS, neighbours=1, prior=2.0, discount_shape=0.1)
    content = shop("guitar", "guitar", "guitar", events=[4], settings=settings)
    added(content, 0.0, 0.0, 0.0)
    for _ in range(10):
        content.count(0)
    content.put(3, product("guitar"))
    content.count(2)
    faded = 2.0 / (2.0 + 1.0) * (1.0 - 1.0 / 4.0)
    gains = {row: np.exp(more) - 1.0 for row, more in added(content, 0.0, 0.0, 0.0, 0.0).items()}
    trust, due = 1.0 / 1.25, 10 / 1.25
    assert gains == {
        1: pytest.approx(trust * 0.1 / (0.1 / 0.5 + due), rel=1e-4),
        2: pytest.approx(trust * faded * (0.1 + 1.0) / (0.1 / 0.5 + due), rel=1e-4),
        3: pytest.approx(trust * 0.5, rel=1e-4),
    }


@pytest.mark.parametrize(
    ("shares", "left"),
    [
        ([0.25, 0.25, 0.25, 0.25], 1.0),
        ([0.7, 0.1, 0.1, 0.1], 1.0),  # a mixture, 0.4 of it popularity: 0.65 of its shares are left on average
        ([0.997, 0.001, 0.001, 0.001], (0.997 * 0.001**3) ** 0.25 / 0.25 / 0.5),
    ],
)
def test_shares_that_leave_popular_products_next_to_nothing_hand_on_next_to_nothing(
    shares: list[float], left: float
) -> None:
    content = shop("guitar", "drum", "flute", "guitar", events=[4, 4, 4])
    values = (np.log(shares) - 3.0).tolist()
    trusted = np.exp(added(content, *values)[3]) - 1.0
    handed_on = np.exp(added(content, *values, popularity=np.full(4, 0.25, np.float32))[3]) - 1.0
    assert handed_on == pytest.approx(left * trusted, rel=1e-4)


def test_products_change_and_go() -> None:
    content = shop("guitar", "drum", "guitar", "guitar", events=[4, 4])
    assert set(added(content, 0.0, 0.0, 0.0, 0.0)) == {2, 3}
    content.put(2, product("drum"))
    content.put(3, product(""))
    assert added(content, -1.0, -7.0, -7.0, -1.0) == {
        2: pytest.approx(np.log(1.0 + 0.8 * 0.5 * np.exp(0.0)), rel=0.2)
    }, "like the drum"
    content.put(2, product(""))
    assert added(content, 0.0, 0.0, 0.0, 0.0) == {}
    assert added(shop("guitar", "guitar", events=[4]), 0.0) == {}, "a product that came after the scores"


def test_one_that_was_resumed_goes_on_as_if_nothing_had_happened() -> None:
    settings = ContentSettings(neighbours=2, events=4)
    titles = ["guitar", "drum", "guitar", "guitar", "drum"]
    went_on = shop(*titles, events=[4, 4, 0, 1], settings=settings)
    values = [-1.0, -2.0, -3.0, -3.0, -3.0]
    added(went_on, *values)
    for row in (0, 0, 1, 0, 2, 1):
        went_on.count(row)
    resumed = Content(settings)
    resumed.resume(np.array([7, 6, 1, 1, 0]), went_on.learned(5))
    for row, title in enumerate(titles):
        resumed.put(row, product(title))
    assert added(resumed, *values) == added(went_on, *values) != {}
    assert resumed.discount == went_on.discount != Content(settings).discount
    for row in (0, 1, 0, 3, 4):
        for content in (resumed, went_on):
            content.count(row)
    assert added(resumed, *values) == added(went_on, *values) != {}
    assert resumed.discount == went_on.discount
    anew = Content(settings)
    anew.resume(np.array([9, 8, 1, 2, 1]), Content(settings).learned(5))
    for row, title in enumerate(titles):
        anew.put(row, product(title))
    assert added(anew, *values) != added(went_on, *values), "what was learned matters"


def test_a_product_put_a_moment_ago_has_a_place_though_many_wait() -> None:
    few = ContentSettings(neighbours=2, events=4, at_once=3)
    content = shop("guitar", *["guitar"] * 20, events=[4], settings=few)
    content.put(21, product("guitar"))
    values = np.zeros(22, np.float32)
    assert list(added(content, *values)) == [19, 20, 21], "the newest first"
    for _ in range(7):
        added(content, *values)
    assert list(added(content, *values)) == list(range(1, 22))


@given(
    st.lists(st.integers(0, 6), min_size=6, max_size=6),
    st.lists(st.sampled_from(["a b", "a c", "b c", "d", ""]), min_size=6, max_size=6),
)
def test_content_never_takes_and_adds_no_more_than_those_beside_it_have(events: list[int], titles: list[str]) -> None:
    settings = ContentSettings(neighbours=3, events=4, discount=1.0, discount_events=1e9)
    content = shop(*titles, events=events, settings=settings)
    values: NDArray[np.float32] = np.linspace(-5.0, -1.0, 6, dtype=np.float32)
    before = values.copy()
    rows, more = content.lend(values, believed(values))
    assert values[rows] == pytest.approx(before[rows] + more)
    values = before
    assert (np.diff(rows) > 0).all()
    assert (more >= 0.0).all()
    assert (np.exp(values[rows] + more) <= np.exp(values[rows]) + np.exp(values.max()) + 1e-6).all()
    assert all(events[row] < 4 and titles[row] for row in rows)


def test_what_is_served_holds_the_places_and_nothing_else_changes() -> None:
    trending = Tally(1000.0)
    for row in (0, 0, 0, 0, 1, 1, 1, 1):
        trending.add(row, 1, 5)
    trending.grow_to(3)
    content = shop("guitar", "drum", "guitar", events=[4, 4])
    plain, placed = served_scores(None, None, trending), served(None, None, trending, content)
    assert placed.values[:2].tolist() == plain[:2].tolist()
    assert placed.values[2] > plain[2]
    assert (placed.content_rows.tolist(), placed.content.tolist()) == (
        [2],
        [pytest.approx(placed.values[2] - plain[2])],
    )
