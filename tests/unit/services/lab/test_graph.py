"""The product graph's counts are those made by hand, and communities are the same under a seed."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from contextlib import redirect_stdout
from math import sqrt

import networkx as nx
import numpy as np
import pytest

from replay.reading.snap import related_of
from services.lab.graph import (
    ALSO_BOUGHT,
    ALSO_VIEWED,
    CO_REVIEW,
    KEPT,
    PAIRED,
    GraphBuilder,
    Pair,
    Pairs,
    ProductMetadata,
    communities,
    faded,
    neighbours,
    prior_of,
)
from shared.pb.freshet.v1 import events_pb2 as pb


def test_users_of_a_pair_are_counted_once_each() -> None:
    pairs = Pairs(shrink=1.0)
    for user, row in (("u", 0), ("u", 1), ("u", 0), ("u", 1), ("v", 1), ("v", 0), ("v", 2), ("w", 0)):
        pairs.add(user, row)
    assert [pairs.users(row) for row in range(4)] == [3, 2, 1, 0]
    assert list(pairs.pairs()) == [
        Pair(0, 1, 2, pytest.approx(2 / (sqrt(3 * 2) + 1))),
        Pair(0, 2, 1, pytest.approx(1 / (sqrt(3 * 1) + 1))),
        Pair(1, 2, 1, pytest.approx(1 / (sqrt(2 * 1) + 1))),
    ]
    assert [(pair.first, pair.second) for pair in pairs.pairs(least=2)] == [(0, 1)]


def test_counting_goes_on_after_the_pairs_were_asked_for() -> None:
    pairs = Pairs()
    for user in ("u", "v"):
        pairs.add(user, 0)
        pairs.add(user, 1)
        assert [pair.users for pair in pairs.pairs()] == [pairs.users(0)]


def test_a_product_is_paired_with_the_last_ones_only() -> None:
    pairs = Pairs()
    for row in range(PAIRED + 2):
        pairs.add("wholesaler", row)
    last = PAIRED + 1
    assert (0, last) not in {(pair.first, pair.second) for pair in pairs.pairs()}
    assert (1, last) in {(pair.first, pair.second) for pair in pairs.pairs()}


def test_the_kind_of_the_events_is_the_relation() -> None:
    builder = GraphBuilder()
    for user in ("u", "v"):
        for product, kind in (
            ("a", pb.EVENT_KIND_VIEW), ("b", pb.EVENT_KIND_CLICK), ("a", pb.EVENT_KIND_PURCHASE),
            ("c", pb.EVENT_KIND_CART), ("a", pb.EVENT_KIND_REVIEW), ("d", pb.EVENT_KIND_RATING),
            ("e", pb.EVENT_KIND_RETURN), ("f", pb.EVENT_KIND_DISLIKE),
        ):  # fmt: skip
            builder.add(user, product, kind)
    builder.add("", "g", pb.EVENT_KIND_PURCHASE)
    graph = builder.graph()
    strength = 2 / (2 + 3)
    assert sorted(graph.edges(data=True)) == [
        ("a", "b", {ALSO_VIEWED: 2, "weight": strength}),
        ("a", "c", {ALSO_BOUGHT: 2, "weight": strength}),
        ("a", "d", {CO_REVIEW: 2, "weight": strength}),
    ]
    assert dict(graph.nodes(data="events")) == {"a": 6, "b": 2, "c": 2, "d": 2, "e": 2, "f": 2, "g": 1}


def test_metadata_joins_products_that_have_events() -> None:
    builder = GraphBuilder()
    for product in "ab":
        builder.add("u", product, pb.EVENT_KIND_REVIEW)
    listings = {
        "a": ProductMetadata("Amp", "Fender", ("Music", "Amps"), also_bought=("b", "a", "nowhere"), also_viewed=("b",)),
        "b": ProductMetadata(also_bought=("a",)),
        "nowhere": ProductMetadata(also_bought=("a",)),
    }
    graph = builder.graph(listings)
    assert graph.nodes["a"] == {"title": "Amp", "brand": "Fender", "category": "Amps", "events": 1}
    assert list(graph.edges(data=True)) == [
        ("a", "b", {"listed_bought": True, "listed_viewed": True, "weight": pytest.approx(0.15)})
    ]


def test_an_edge_stays_that_is_among_the_strongest_of_either_product() -> None:
    builder = GraphBuilder()
    for user, products in enumerate(["ab", "ab", "ab", "ac", "ac", "ad", "ad", "ad", "ad"]):
        for product in products:
            builder.add(str(user), product, pb.EVENT_KIND_PURCHASE)
    graph = builder.graph(most_neighbours=1)
    assert sorted(graph.edges) == [("a", "b"), ("a", "c"), ("a", "d")]  # each is its own product's strongest
    assert [neighbour.product_id for neighbour in neighbours(graph, "a", 2)] == ["d", "b"]
    builder.add("x", "b", pb.EVENT_KIND_PURCHASE)
    builder.add("x", "c", pb.EVENT_KIND_PURCHASE)
    every = builder.graph(least_users=1)
    assert ("b", "c") in every.edges
    assert ("b", "c") not in builder.graph(least_users=1, most_neighbours=1).edges


def test_two_cliques_are_two_communities() -> None:
    graph = _cliques()
    assert communities(graph, seed=7) == [["a0", "a1", "a2", "a3"], ["b0", "b1", "b2"]]


def test_communities_and_their_picture_are_the_same_in_every_process() -> None:
    program = (
        "import networkx as nx\n"
        "from services.lab.graph_task import layout\n"
        "from services.lab.graph import communities\n"
        "drawn = nx.gnm_random_graph(60, 200, seed=3)\n"
        "graph = nx.Graph()\n"
        "graph.add_weighted_edges_from((f'p{a:02}', f'p{b:02}', 1 / (1 + (a * b) % 7)) for a, b in drawn.edges)\n"
        "groups = communities(graph, seed=5)\n"
        "print(groups, {p: place.tolist() for p, place in sorted(layout(graph, groups[:2], seed=5).items())})"
    )
    here = io.StringIO()
    with redirect_stdout(here):
        exec(program, {})  # noqa: S102  # where strings are hashed otherwise
    there = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert here.getvalue() == there.stdout
    assert "p00" in there.stdout


@pytest.mark.parametrize(
    ("record", "bought", "viewed"),
    [
        (
            {"related": {"also_bought": ["a", "b"], "bought_together": ["b", "c"], "buy_after_viewing": ["d"]}},
            ("a", "b", "c"),
            ("d",),
        ),
        ({"also_buy": ["a", "a"], "also_view": ["b"]}, ("a",), ("b",)),
        ({"also_buy": "a", "also_view": [None, 3, ""], "related": None}, (), ()),
        ({"bought_together": ["a"]}, ("a",), ()),
    ],
)
def test_metadata_of_each_edition_lists_its_neighbours(
    record: dict[str, object], bought: tuple[str, ...], viewed: tuple[str, ...]
) -> None:
    assert related_of(record) == (bought, viewed)


def test_a_prior_holds_what_metadata_says_of_new_products() -> None:
    listings = {
        "a": ProductMetadata(brand="X", categories=("Top", "Strings"), also_bought=("b",), also_viewed=("d", "gone")),
        "b": ProductMetadata(brand="X"),
        "c": ProductMetadata(brand="X", categories=("Strings",)),
    }
    prior = prior_of(["a", "b", "c", "d"], listings)
    # a: b 1 by the list and ¼ by the brand, c ¼ by the brand and ¼ by the category, d ½; 2.25 in all
    assert _rows(prior) == [
        {1: pytest.approx(1.25 / 3.25), 2: pytest.approx(0.5 / 3.25), 3: pytest.approx(0.5 / 3.25)},
        {0: pytest.approx(1.25 / 2.5), 2: pytest.approx(0.25 / 2.5)},
        {0: pytest.approx(0.5 / 1.75), 1: pytest.approx(0.25 / 1.75)},
        {0: pytest.approx(0.5 / 1.5)},
    ]
    left = _rows(faded(prior, np.array([0, 5, 0, 15])))
    assert left[0] == _rows(prior)[0]
    assert left[1][0] == pytest.approx(1.25 / 2.5 / 2)
    assert left[3][0] == pytest.approx(0.5 / 1.5 / 4)


def test_a_prior_is_bounded_and_may_be_empty() -> None:
    products = [f"p{n:03}" for n in range(150)]
    prior = prior_of(products, {product: ProductMetadata(brand="X") for product in products})
    assert max(np.diff(prior.starts)) == KEPT
    assert len(prior_of(products, {}).products) == 0
    assert prior_of(products, {}).starts.tolist() == [0] * 151


def _rows(prior: object) -> list[dict[int, float]]:
    starts, products, values = prior.starts, prior.products, prior.values  # type: ignore[attr-defined]
    return [
        dict(zip(products[a:b].tolist(), values[a:b].tolist(), strict=True))
        for a, b in itertools.pairwise(starts.tolist())
    ]


def _cliques() -> nx.Graph:
    graph = nx.Graph()
    for group in (["a0", "a1", "a2", "a3"], ["b0", "b1", "b2"]):
        graph.add_weighted_edges_from((a, b, 1.0) for a in group for b in group if a < b)
    graph.add_weighted_edges_from([("a0", "b0", 0.1)])
    graph.add_node("alone")
    return graph
