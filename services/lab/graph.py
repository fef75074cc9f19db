"""The product graph: products, and between them what users and metadata say they have in common. Pure.

Nodes have `title`, `brand`, `category` (the narrowest) and `events`. Edges have `weight`, the sum of the strengths of
their relations, and for each relation:

    also_viewed, also_bought, co_review    how many users viewed, bought or reviewed both products
    listed_bought, listed_viewed           true, where either product's metadata lists the other

`prior_of` makes neighbours for new products from the metadata alone, fit for a version's neighbours:

    prior = prior_of(stream.products, metadata)
    faded(prior, events)                      # what is left of it where products have a history

Brands and categories are known when a product is new. Lists of what is also bought and viewed were crawled years after
the reviews they stand beside: judged on those, a prior made from them reads the future, and its row must say so.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from shared.model.neighbours import Neighbours
from shared.pb.freshet.v1 import events_pb2 as pb

ALSO_VIEWED, ALSO_BOUGHT, CO_REVIEW = "also_viewed", "also_bought", "co_review"
RELATIONS = (ALSO_VIEWED, ALSO_BOUGHT, CO_REVIEW)
# The relation that two events of one user make; returns, dislikes and ticks make none.
RELATION_OF_KIND: dict[int, str] = {
    pb.EVENT_KIND_VIEW: ALSO_VIEWED,
    pb.EVENT_KIND_CLICK: ALSO_VIEWED,
    pb.EVENT_KIND_FAVOURITE: ALSO_VIEWED,
    pb.EVENT_KIND_CART: ALSO_BOUGHT,
    pb.EVENT_KIND_PURCHASE: ALSO_BOUGHT,
    pb.EVENT_KIND_REVIEW: CO_REVIEW,
    pb.EVENT_KIND_RATING: CO_REVIEW,
}
LISTED_BOUGHT, LISTED_VIEWED = "listed_bought", "listed_viewed"
# The weight of a mention in the metadata, beside a cosine of at most 1.
LISTED_STRENGTH = {LISTED_BOUGHT: 0.1, LISTED_VIEWED: 0.05}

PAIRED = 50  # earlier products of a user that a new one is paired with: else one wholesaler would pair all with all
_MOST_WAITING = 1 << 20  # pairs

# The prior. A mention counts once for each direction in which it is listed.
BOUGHT, VIEWED = 1.0, 0.5
BRAND, CATEGORY = 0.5, 0.25  # what all products of the same brand, and of the same narrowest category, get together
MOST_IN_GROUP = 200  # larger groups tell too little to be worth their entries
KEPT = 100  # neighbours of a product
SHRINK = 1.0  # a product's neighbours are normalised as if it had one more of this strength
HALF_EVENTS = 5.0  # events of a product after which its prior counts half


@dataclass(frozen=True, slots=True)
class ProductMetadata:
    """What a shop's metadata says of one product; empty where it says nothing."""

    title: str = ""
    brand: str = ""
    categories: tuple[str, ...] = ()  # from the widest to the narrowest
    also_bought: tuple[str, ...] = ()  # product ids
    also_viewed: tuple[str, ...] = ()


_NO_METADATA = ProductMetadata()


class Neighbour(NamedTuple):
    """A product beside another one."""

    product_id: str
    weight: float
    edge: Mapping[str, Any]


class GraphBuilder:
    """Takes events one by one, and makes the graph of all it has taken."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._events: Counter[str] = Counter()
        self._relations = {name: Pairs() for name in RELATIONS}

    def add(self, user_id: str, product_id: str, kind: int) -> None:
        """Count one event; a guest's only makes the product known."""
        row = self._rows.setdefault(product_id, len(self._rows))
        self._events[product_id] += 1
        relation = RELATION_OF_KIND.get(kind)
        if user_id and relation is not None:
            self._relations[relation].add(user_id, row)

    def graph(
        self, metadata: Mapping[str, ProductMetadata] | None = None, *, least_users: int = 2, most_neighbours: int = 20
    ) -> nx.Graph:
        """The graph.

        Args:
            metadata: product_id → its metadata; products without an event are left out.
            least_users: that two products must share for a counted relation.
            most_neighbours: an edge stays if it is among this many strongest of either of its products.
        """
        metadata = metadata or {}
        graph = nx.Graph()
        for product_id, events in sorted(self._events.items()):
            product = metadata.get(product_id, _NO_METADATA)
            category = product.categories[-1] if product.categories else ""
            graph.add_node(product_id, title=product.title, brand=product.brand, category=category, events=events)
        ids = list(self._rows)
        for name, pairs in self._relations.items():
            for pair in pairs.pairs(least_users):
                _join(graph, ids[pair.first], ids[pair.second], name, pair.users, pair.strength)
        for product_id, product in metadata.items():
            for name, others in ((LISTED_BOUGHT, product.also_bought), (LISTED_VIEWED, product.also_viewed)):
                for other in others:
                    if product_id in graph and other in graph and other != product_id:
                        _join(graph, product_id, other, name, True, LISTED_STRENGTH[name])
        _keep_strongest(graph, most_neighbours)
        return graph


def neighbours(graph: nx.Graph, product_id: str, most: int) -> list[Neighbour]:
    """The strongest neighbours of a product, the strongest first; ties by name.

    Raises:
        KeyError: the product is not in the graph.
    """
    all_neighbours = [Neighbour(other, edge["weight"], edge) for other, edge in graph.adj[product_id].items()]
    return sorted(all_neighbours, key=lambda neighbour: (-neighbour.weight, neighbour.product_id))[:most]


def communities(graph: nx.Graph, seed: int) -> list[list[str]]:
    """Groups of products that hold together, the largest first, each from its best connected product on.

    Louvain's method (Blondel et al. 2008) on the weights, the same for the same graph and seed; a product without any
    neighbour is in none.
    """
    joined = [product for product in graph if graph.degree(product)]
    # Rows in the products' place: sets of strings are in another order in each process.
    rows = nx.Graph()
    rows.add_nodes_from(range(len(joined)))
    row_of = {product: row for row, product in enumerate(joined)}
    rows.add_weighted_edges_from((row_of[a], row_of[b], w) for a, b, w in graph.edges(data="weight"))
    parts = nx.community.louvain_communities(rows, weight="weight", seed=seed)
    importance = dict(graph.degree(weight="weight"))
    groups = [sorted((joined[row] for row in group), key=lambda p: (-importance[p], p)) for group in parts]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _join(graph: nx.Graph, first: str, second: str, relation: str, value: int, strength: float) -> None:
    """Add a relation to an edge; listed by both products' metadata, it counts once."""
    edge = graph.get_edge_data(first, second, default={})
    if relation not in edge:
        graph.add_edge(first, second, **{relation: value}, weight=edge.get("weight", 0.0) + strength)


def _keep_strongest(graph: nx.Graph, most: int) -> None:
    kept: set[frozenset[str]] = set()
    for product in graph:
        if graph.degree(product) > most:
            kept.update(frozenset((product, neighbour.product_id)) for neighbour in neighbours(graph, product, most))
        else:
            kept.update(frozenset((product, other)) for other in graph.adj[product])
    graph.remove_edges_from([edge for edge in graph.edges if frozenset(edge) not in kept])


class Pair(NamedTuple):
    """Two products, by row, and what they share."""

    first: int
    second: int  # above the first
    users: int  # of both
    strength: float  # [0, 1)


class Pairs:
    """Counts the users of each product and of each two of them, in one relation; a user counts once.

    Args:
        shrink: users added to the denominator of a pair's strength, so that chance does not pass for likeness.
    """

    def __init__(self, *, shrink: float = 3.0) -> None:
        self._shrink = shrink
        self._rows_of: dict[str, dict[int, None]] = {}  # user → rows, in the order of the user's first events
        self._users: defaultdict[int, int] = defaultdict(int)  # row → users
        self._waiting = array("q")  # pairs as numbers, first · 2³² + second
        self._codes = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)

    def add(self, user_id: str, row: int) -> None:
        """Count a user of a product; the same user counts once."""
        rows = self._rows_of.setdefault(user_id, {})
        if row in rows:
            return
        for other, _ in zip(reversed(rows), range(PAIRED), strict=False):
            self._waiting.append((min(row, other) << 32) | max(row, other))
        rows[row] = None
        self._users[row] += 1
        if len(self._waiting) >= _MOST_WAITING:
            self._settle()

    def users(self, row: int) -> int:
        """How many users a product has."""
        return self._users.get(row, 0)

    def pairs(self, least: int = 1) -> Iterator[Pair]:
        """Every pair of products that `least` users share, by row.

        Strength is the cosine n_ab / √(n_a · n_b) of the two products' users, damped (Sarwar et al., WWW 2001).
        """
        self._settle()
        kept = self._counts >= least
        for code, users in zip(self._codes[kept].tolist(), self._counts[kept].tolist(), strict=True):
            first, second = code >> 32, code & 0xFFFFFFFF
            alone = (self._users[first] * self._users[second]) ** 0.5
            yield Pair(first, second, users, users / (alone + self._shrink))

    def _settle(self) -> None:
        """Add the waiting pairs to the counts."""
        if not self._waiting:
            return
        codes: NDArray[np.int64] = np.concatenate([self._codes, np.frombuffer(self._waiting, np.int64)])
        counts = np.concatenate([self._counts, np.ones(len(codes) - len(self._codes), np.int64)])
        self._codes, places = np.unique(codes, return_inverse=True)
        self._counts = np.bincount(places, counts).astype(np.int64)
        self._waiting = array("q")


# The prior.


def prior_of(products: Sequence[str], metadata: Mapping[str, ProductMetadata]) -> Neighbours:
    """Shares of what goes with each product by metadata, (A, A), at most `KEPT` a row.

    Args:
        products: row → product_id, (A,)
        metadata: product_id → its metadata
    """
    rows = {product_id: row for row, product_id in enumerate(products)}
    strengths: list[defaultdict[int, float]] = [defaultdict(float) for _ in products]
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, product_id in enumerate(products):
        product = metadata.get(product_id, _NO_METADATA)
        for others, strength in ((product.also_bought, BOUGHT), (product.also_viewed, VIEWED)):
            for other in others:
                there = rows.get(other)
                if there is not None and there != row:
                    strengths[row][there] += strength
                    strengths[there][row] += strength
        if product.brand:
            groups["brand", product.brand].append(row)
        if product.categories:
            groups["category", product.categories[-1]].append(row)
    for (kind, _), members in groups.items():
        if 1 < len(members) <= MOST_IN_GROUP:
            each = (BRAND if kind == "brand" else CATEGORY) / (len(members) - 1)
            for a in members:
                for b in members:
                    if a != b:
                        strengths[a][b] += each
    return _normalised(strengths)


def faded(prior: Neighbours, events: NDArray[np.int64]) -> Neighbours:
    """The prior where history is short: each row times `HALF_EVENTS` / (`HALF_EVENTS` + the product's events).

    Args:
        events: (A,)
    """
    left = (HALF_EVENTS / (HALF_EVENTS + events)).astype(np.float32)
    return Neighbours(prior.starts, prior.products, prior.values * np.repeat(left, np.diff(prior.starts)))


def _normalised(strengths: Sequence[Mapping[int, float]]) -> Neighbours:
    lengths, products, values = [0], list[int](), list[float]()
    for row_strengths in strengths:
        kept = sorted(sorted(row_strengths.items(), key=lambda entry: (-entry[1], entry[0]))[:KEPT])
        total = sum(row_strengths.values()) + SHRINK
        lengths.append(len(kept))
        products += [row for row, _ in kept]
        values += [strength / total for _, strength in kept]
    return Neighbours(np.cumsum(lengths).astype(np.int32), np.array(products, np.int32), np.array(values, np.float32))
