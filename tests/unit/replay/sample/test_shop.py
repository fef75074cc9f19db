"""The generated sample: SNAP's format, the same bytes for the same seed, and something in it to learn."""

from __future__ import annotations

import ast
import gzip
import json
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from replay.sample import shop as sample_shop
from replay.sample import shop as synthetic
from replay.sample.reviews import CATEGORIES
from replay.sample.shop import Shopper, stock, write_sample
from shared.process.errors import Unusable

USERS, PRODUCTS, EVENTS = 200, 240, 2500

Row = dict[str, Any]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of reviews and metadata."""
    folder = tmp_path_factory.mktemp("sample")
    out, meta = folder / "reviews.json.gz", folder / "products.json.gz"
    write_sample(out, meta, users=USERS, products=PRODUCTS, events=EVENTS, seed=3)
    return out, meta


@pytest.fixture(scope="module")
def reviews(sample: tuple[Path, Path]) -> list[Row]:
    """In the order of the file."""
    with gzip.open(sample[0], "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def products(sample: tuple[Path, Path]) -> dict[str, Row]:
    """asin → metadata."""
    with gzip.open(sample[1], "rt", encoding="utf-8") as lines:
        rows = [ast.literal_eval(line) for line in lines]
    assert len(rows) == len({row["asin"] for row in rows}) == PRODUCTS
    return {row["asin"]: row for row in rows}


def test_the_same_seed_gives_the_same_bytes(sample: tuple[Path, Path], tmp_path: Path) -> None:
    for seed in (3, 4):
        out, meta = tmp_path / "deep" / f"{seed}.gz", tmp_path / f"{seed}-meta.gz"
        write_sample(out, meta, users=USERS, products=PRODUCTS, events=EVENTS, seed=seed)
        same = (out.read_bytes() == sample[0].read_bytes(), meta.read_bytes() == sample[1].read_bytes())
        assert same == (seed == 3, seed == 3)
        assert out.read_bytes()[3:8] == meta.read_bytes()[3:8] == bytes(5), "neither name nor time in gzip's header"


def test_the_lines_are_snaps_own(reviews: list[Row], products: dict[str, Row]) -> None:
    fields = ["reviewerID", "asin", "reviewerName", "helpful", "reviewText", "overall", "summary"]
    fields += ["unixReviewTime", "reviewTime"]
    for row in reviews:
        assert list(row) == fields
        assert row["overall"] in (1.0, 2.0, 3.0, 4.0, 5.0)
        assert 0 <= row["helpful"][0] <= row["helpful"][1]
        day = datetime.fromtimestamp(row["unixReviewTime"], UTC)
        assert row["unixReviewTime"] % 86_400 == 0
        assert row["reviewTime"] == f"{day:%m} {day.day}, {day.year}"
        assert all("{" not in row[field] for field in ("reviewText", "summary")), "a slot stayed open"
    assert sum("price" not in product for product in products.values()) in range(1, PRODUCTS // 10)
    for product in products.values():
        assert set(product) - {"price", "brand"} == {"asin", "title", "categories"}
        assert product.get("price", 1.0) > 0
        assert product["title"].startswith(product.get("brand", ""))
        category, kind = product["categories"][0]
        assert kind in {bought_before.name for bought_before in CATEGORIES[category]}
        assert kind in product["title"]


def test_it_holds_what_was_asked_for(reviews: list[Row], products: dict[str, Row]) -> None:
    assert len(reviews) == EVENTS
    per_user = Counter(row["reviewerID"] for row in reviews)
    assert len(per_user) == USERS
    assert min(per_user.values()) >= synthetic.FEWEST_REVIEWS
    assert max(per_user.values()) > 3 * EVENTS / USERS
    assert {row["asin"] for row in reviews} <= set(products)
    assert len({(row["reviewerID"], row["asin"]) for row in reviews}) == EVENTS, "a user reviewed a product twice"


def test_it_spans_years_and_lies_by_product_so_that_ordering_has_work(reviews: list[Row]) -> None:
    times = [row["unixReviewTime"] for row in reviews]
    first = synthetic.FIRST_DAY.timestamp()
    assert first <= min(times) < first + 180 * 86_400
    assert max(times) < first + 1200 * 86_400
    assert max(times) - min(times) > 3 * 365 * 86_400
    assert [row["asin"] for row in reviews] == sorted(row["asin"] for row in reviews)
    assert 0.4 < sum(a > b for a, b in pairwise(times)) / EVENTS < 0.6


def test_the_texts_say_what_the_stars_say(reviews: list[Row]) -> None:
    analyzer = SentimentIntensityAnalyzer()
    scores = defaultdict(list)
    for row in reviews:
        scores[row["overall"]].append(analyzer.polarity_scores(row["reviewText"])["compound"])
    means = {stars: sum(bought_before) / len(bought_before) for stars, bought_before in scores.items()}
    assert means[1] < means[2] - 0.1 < -0.5 < means[3] - 0.3 < 0.0 < 0.5 < means[4] < means[5] - 0.1, means
    assert sum(score >= 0.05 for score in scores[5]) > 0.97 * len(scores[5])
    assert sum(score <= -0.05 for score in scores[1]) > 0.95 * len(scores[1])
    both = [sum(score >= 0.05 for score in scores[3]), sum(score <= -0.05 for score in scores[3])]
    assert min(both) > 0.25 * len(scores[3])


def test_the_texts_are_not_the_same_ten(reviews: list[Row]) -> None:
    assert len({row["reviewText"] for row in reviews}) > 0.95 * EVENTS
    lengths = Counter(sum(row["reviewText"].count(end) for end in ".!") for row in reviews)
    assert set(lengths) == set(range(1, 9))


def test_most_sales_are_of_few_products_and_the_newest_do_not_sell_before_their_launch(reviews: list[Row]) -> None:
    counts = Counter(row["asin"] for row in reviews)
    best = sum(count for _, count in counts.most_common(PRODUCTS // 10))
    assert best > 0.2 * EVENTS, "the best tenth sells twice its share at least"
    first_seen: dict[str, int] = {}
    for row in sorted(reviews, key=lambda row: row["unixReviewTime"]):
        first_seen.setdefault(row["asin"], row["unixReviewTime"])
    middle = synthetic.FIRST_DAY.timestamp() + 600 * 86_400
    assert sum(seen > middle for seen in first_seen.values()) > 0.1 * PRODUCTS


def test_nothing_is_bought_before_its_launch() -> None:
    shop = stock(random.Random("shop"), 120)
    bought = [p for user in range(40) for p in Shopper(random.Random(f"user {user}"), shop).purchases(20)]
    assert sum(p.product.launch_day > 0 for p in bought) > 50
    assert all(p.product.launch_day <= p.day for p in bought)


def lives(reviews: list[Row]) -> list[list[Row]]:
    """Each user's reviews in order of time, the days' order as in the file."""
    users = defaultdict(list)
    for row in sorted(reviews, key=lambda row: row["unixReviewTime"]):
        users[row["reviewerID"]].append(row)
    return list(users.values())


def test_what_a_user_takes_next_follows_from_the_last(reviews: list[Row], products: dict[str, Row]) -> None:
    steps = [
        (products[a["asin"]]["categories"][0], products[b["asin"]]["categories"][0])
        for life in lives(reviews)
        for a, b in pairwise(life)
    ]
    next_kind = {
        (category, a.name): [category, b.name] for category, chain in CATEGORIES.items() for a, b in pairwise(chain)
    }
    followed = sum(next_kind.get(tuple(a)) == b for a, b in steps) / len(steps)
    by_chance = Counter(tuple(b) for _, b in steps)
    chance = sum(by_chance[tuple(next_kind.get(tuple(a), ()))] for a, _ in steps) / len(steps) ** 2
    assert 0.8 > followed > 0.3 > 10 * chance


def test_makers_that_pleased_are_come_back_to(reviews: list[Row], products: dict[str, Row]) -> None:
    stayed: dict[bool, list[bool]] = {True: [], False: []}
    for life in lives(reviews):
        for a, b in pairwise(life):
            before, after = products[a["asin"]], products[b["asin"]]
            if before["categories"][0][0] == after["categories"][0][0] and a["overall"] != 3.0:
                stayed[a["overall"] > 3.0].append(before["title"].split()[0] == after["title"].split()[0])
    pleased, cross = (sum(stayed[side]) / len(stayed[side]) for side in (True, False))
    assert pleased > 0.5 > 2 * cross


def test_tastes_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """What shoppers take late has less in common with what they took early than if their tastes stood still."""
    shop = stock(random.Random("shop"), 120)

    def in_common() -> float:
        shares = []
        for user in range(100):
            life = [p.product.category for p in Shopper(random.Random(f"user {user}"), shop).purchases(30)]
            early, late = set(life[:10]), set(life[-10:])
            shares.append(len(early & late) / len(early | late))
        return sum(shares) / len(shares)

    drifting = in_common()
    monkeypatch.setattr(sample_shop, "DRIFT", 0.0)
    assert drifting < 0.9 * in_common()


@pytest.mark.parametrize(("users", "products", "events"), [(0, 10, 0), (5, 10, 4), (5, 10, 26), (1, 1, 1), (5, 0, 5)])
def test_what_can_not_be_had_is_refused(users: int, products: int, events: int, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="at most half of them"):
        write_sample(tmp_path / "a", tmp_path / "b", users=users, products=products, events=events, seed=1)


@pytest.mark.parametrize(("users", "products", "events"), [(1, 2, 1), (5, 10, 25), (3, 7, 9), (40, 13, 200)])
def test_the_smallest_samples_are_whole(users: int, products: int, events: int, tmp_path: Path) -> None:
    write_sample(tmp_path / "a", tmp_path / "b", users=users, products=products, events=events, seed=1)
    with gzip.open(tmp_path / "a", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert len({(row["reviewerID"], row["asin"]) for row in rows}) == len(rows) == events
    assert len({row["reviewerID"] for row in rows}) == users
