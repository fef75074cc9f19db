"""The product graph: products, and between them what users and metadata say they have in common. Pure.

Nodes have `title`, `brand`, `category` (the narrowest) and `events`. Edges have for each relation that holds the users
who came to both, `listed_bought` and `listed_viewed` where either product's metadata lists the other, and `weight`: the
sum of the relations' strengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import networkx as nx

from shared.graph.listing import Listing
from shared.graph.pairs import RELATION_OF_KIND, RELATIONS, Pairs

LISTED_BOUGHT, LISTED_VIEWED = "listed_bought", "listed_viewed"
# What a mention in the metadata weighs, beside a cosine of at most 1.
LISTED_STRENGTH = {LISTED_BOUGHT: 0.1, LISTED_VIEWED: 0.05}

_NOTHING = Listing()


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
        self, listings: Mapping[str, Listing] | None = None, *, least_users: int = 2, most_neighbours: int = 20
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
