"""The product graph: products, and between them what users and metadata say they have in common. Pure.

Nodes have `title`, `brand`, `category` (the narrowest) and `events`. Edges have for each relation that holds the users
who came to both, `listed_bought` and `listed_viewed` where either product's metadata lists the other, and `weight`: the
sum of the relations' strengths.
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

# Which products share users: viewed together, bought together, reviewed together, counted event by event. Pure.

ALSO_VIEWED, ALSO_BOUGHT, CO_REVIEW = "also_viewed", "also_bought", "co_review"
RELATIONS = (ALSO_VIEWED, ALSO_BOUGHT, CO_REVIEW)

# What a pair of events of one user says of their products; returns, dislikes and ticks say nothing of the kind.
RELATION_OF_KIND: dict[int, str] = {
    pb.EVENT_KIND_VIEW: ALSO_VIEWED,
    pb.EVENT_KIND_CLICK: ALSO_VIEWED,
    pb.EVENT_KIND_FAVOURITE: ALSO_VIEWED,
    pb.EVENT_KIND_CART: ALSO_BOUGHT,
    pb.EVENT_KIND_PURCHASE: ALSO_BOUGHT,
    pb.EVENT_KIND_REVIEW: CO_REVIEW,
    pb.EVENT_KIND_RATING: CO_REVIEW,
}

# A product is paired with so many that the user came to just before: else one wholesaler would pair all with all.
PAIRED = 50

_MOST_WAITING = 1 << 20


class Pair(NamedTuple):
    """Two products, by row, and what they share."""

    first: int
    second: int  # above the first
    users: int  # who came to both
    strength: float  # [0, 1)


class Pairs:
    """Counts the users of each product and of each two of them, in one relation; a user counts once.

    Args:
        shrink: users that a pair's strength is damped by, so that chance is not taken for likeness.
    """

    def __init__(self, *, shrink: float = 3.0) -> None:
        self._shrink = shrink
        self._of_user: dict[str, dict[int, None]] = {}  # user → rows, in the order of the user's first events
        self._users: defaultdict[int, int] = defaultdict(int)  # row → users
        self._waiting = array("q")  # pairs as numbers, first · 2³² + second
        self._codes = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)

    def add(self, user_id: str, row: int) -> None:
        """Count a user's coming to a product; of a user who did so before nothing is counted."""
        own = self._of_user.setdefault(user_id, {})
        if row in own:
            return
        for other, _ in zip(reversed(own), range(PAIRED), strict=False):
            self._waiting.append((min(row, other) << 32) | max(row, other))
        own[row] = None
        self._users[row] += 1
        if len(self._waiting) >= _MOST_WAITING:
            self._settle()

    def users(self, row: int) -> int:
        """Who came to a product."""
        return self._users.get(row, 0)

    def pairs(self, least: int = 1) -> Iterator[Pair]:
        """Every pair that `least` users share, by row.

        Strength is the cosine n_ab / √(n_a · n_b) of the two products' users, damped (Sarwar et al., WWW 2001).
        """
        self._settle()
        kept = self._counts >= least
        for code, users in zip(self._codes[kept].tolist(), self._counts[kept].tolist(), strict=True):
            first, second = code >> 32, code & 0xFFFFFFFF
            alone = (self._users[first] * self._users[second]) ** 0.5
            yield Pair(first, second, users, users / (alone + self._shrink))

    def _settle(self) -> None:
        """Sum up what waits."""
        if not self._waiting:
            return
        codes: NDArray[np.int64] = np.concatenate([self._codes, np.frombuffer(self._waiting, np.int64)])
        counts = np.concatenate([self._counts, np.ones(len(codes) - len(self._codes), np.int64)])
        self._codes, places = np.unique(codes, return_inverse=True)
        self._counts = np.bincount(places, counts).astype(np.int64)
        self._waiting = array("q")


# What a shop's metadata says of one product: its name, where it belongs, and with what it is viewed and bought.


@dataclass(frozen=True, slots=True)
class ProductMetadata:
    """One product as its metadata tells of it; what is not told is empty."""

    title: str = ""
    brand: str = ""
    categories: tuple[str, ...] = ()  # from the widest to the narrowest
    also_bought: tuple[str, ...] = ()  # product ids
    also_viewed: tuple[str, ...] = ()


# What may follow a product before anybody was counted: its metadata's neighbours, as a relation of a version. Pure.
#
# prior = prior_of(stream.products, listings)              # a `Neighbours`, fit for a version's neighbours
# faded(prior, events)                                     # what is left of it where products have a history
#
# Brands and categories are known when a product is new. Lists of what is also bought and viewed were crawled years
# after the reviews they stand beside: judged on those, a prior made from them reads the future, and its row must say
# so.

# What a mention says, before it is shared out: as both a lists b and b lists a may, it may count twice.
BOUGHT, VIEWED = 1.0, 0.5
# What all products of the same brand, and of the same narrowest category, get together.
BRAND, CATEGORY = 0.5, 0.25
# Groups larger than this tell too little to be worth their entries.
MOST_IN_GROUP = 200
KEPT = 100
# A product's neighbours are shared out as if it had so much more of one that nobody chooses.
SHRINK = 1.0
# Events of a product after which its prior counts half.
HALF_EVENTS = 5.0

_NOTHING = ProductMetadata()


def prior_of(products: Sequence[str], listings: Mapping[str, ProductMetadata]) -> Neighbours:
    """Shares of what goes with each product by metadata, (A, A), at most `KEPT` a row.

    Args:
        products: row → product_id, (A,)
        listings: product_id → what metadata says of it
    """
    rows = {product_id: row for row, product_id in enumerate(products)}
    found: list[defaultdict[int, float]] = [defaultdict(float) for _ in products]
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, product_id in enumerate(products):
        own = listings.get(product_id, _NOTHING)
        for others, strength in ((own.also_bought, BOUGHT), (own.also_viewed, VIEWED)):
            for other in others:
                there = rows.get(other)
                if there is not None and there != row:
                    found[row][there] += strength
                    found[there][row] += strength
        if own.brand:
            groups["brand", own.brand].append(row)
        if own.categories:
            groups["category", own.categories[-1]].append(row)
    for (kind, _), members in groups.items():
        if 1 < len(members) <= MOST_IN_GROUP:
            each = (BRAND if kind == "brand" else CATEGORY) / (len(members) - 1)
            for a in members:
                for b in members:
                    if a != b:
                        found[a][b] += each
    return _shared_out(found)


def faded(prior: Neighbours, events: NDArray[np.int64]) -> Neighbours:
    """The prior where history is short: each row times `HALF_EVENTS` / (`HALF_EVENTS` + the product's events).

    Args:
        events: (A,)
    """
    left = (HALF_EVENTS / (HALF_EVENTS + events)).astype(np.float32)
    return Neighbours(prior.starts, prior.products, prior.values * np.repeat(left, np.diff(prior.starts)))


def _shared_out(found: Sequence[Mapping[int, float]]) -> Neighbours:
    lengths, products, values = [0], list[int](), list[float]()
    for own in found:
        kept = sorted(sorted(own.items(), key=lambda entry: (-entry[1], entry[0]))[:KEPT])
        total = sum(own.values()) + SHRINK
        lengths.append(len(kept))
        products += [row for row, _ in kept]
        values += [strength / total for _, strength in kept]
    return Neighbours(np.cumsum(lengths).astype(np.int32), np.array(products, np.int32), np.array(values, np.float32))


LISTED_BOUGHT, LISTED_VIEWED = "listed_bought", "listed_viewed"
# What a mention in the metadata weighs, beside a cosine of at most 1.
LISTED_STRENGTH = {LISTED_BOUGHT: 0.1, LISTED_VIEWED: 0.05}


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
        """Count one event; a guest's says only that the product is there."""
        row = self._rows.setdefault(product_id, len(self._rows))
        self._events[product_id] += 1
        relation = RELATION_OF_KIND.get(kind)
        if user_id and relation is not None:
            self._relations[relation].add(user_id, row)

    def graph(
        self, listings: Mapping[str, ProductMetadata] | None = None, *, least_users: int = 2, most_neighbours: int = 20
    ) -> nx.Graph:
        """The graph.

        Args:
            listings: product_id → its metadata; products without an event are left out.
            least_users: who must have come to both products of a counted pair.
            most_neighbours: an edge stays that is among so many strongest of either of its products.
        """
        listings = listings or {}
        graph = nx.Graph()
        for product_id, events in sorted(self._events.items()):
            own = listings.get(product_id, _NOTHING)
            category = own.categories[-1] if own.categories else ""
            graph.add_node(product_id, title=own.title, brand=own.brand, category=category, events=events)
        ids = list(self._rows)
        for name, pairs in self._relations.items():
            for pair in pairs.pairs(least_users):
                _join(graph, ids[pair.first], ids[pair.second], name, pair.users, pair.strength)
        for product_id, own in listings.items():
            for name, others in ((LISTED_BOUGHT, own.also_bought), (LISTED_VIEWED, own.also_viewed)):
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
    found = [Neighbour(other, edge["weight"], edge) for other, edge in graph.adj[product_id].items()]
    return sorted(found, key=lambda own: (-own.weight, own.product_id))[:most]


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
    found = nx.community.louvain_communities(rows, weight="weight", seed=seed)
    importance = dict(graph.degree(weight="weight"))
    groups = [sorted((joined[row] for row in group), key=lambda p: (-importance[p], p)) for group in found]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _join(graph: nx.Graph, first: str, second: str, relation: str, value: int, strength: float) -> None:
    """Add a relation to an edge; said twice, by either product's metadata, it counts once."""
    edge = graph.get_edge_data(first, second, default={})
    if relation not in edge:
        graph.add_edge(first, second, **{relation: value}, weight=edge.get("weight", 0.0) + strength)


def _keep_strongest(graph: nx.Graph, most: int) -> None:
    kept: set[frozenset[str]] = set()
    for product in graph:
        if graph.degree(product) > most:
            kept.update(frozenset((product, own.product_id)) for own in neighbours(graph, product, most))
        else:
            kept.update(frozenset((product, other)) for other in graph.adj[product])
    graph.remove_edges_from([edge for edge in graph.edges if frozenset(edge) not in kept])
