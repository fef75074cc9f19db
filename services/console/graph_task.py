"""What `freshet graph` does: read, build, tell, draw, write."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx as nx

from replay.ordered_copy import selection_of
from services.console.graph_reading import read_graph
from services.console.terminal import Terminal, cut
from shared.errors import Unusable
from shared.graph.pairs import RELATIONS
from shared.graph.product_graph import LISTED_BOUGHT, LISTED_VIEWED, Neighbour, communities, neighbours

_TITLE = 44  # characters of a product's title


def look(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> None:
    """Build the graph, show it, draw it, write it.

    Raises:
        Unusable: a file can't be used, or there is no such product.
    """
    screen = Terminal(sys.stderr)
    selection = selection_of(arguments)
    builder, listings = read_graph(arguments.data, arguments.metadata, arguments.mapping, selection, environ, screen)
    screen.status("  joining products")
    graph = builder.graph(listings, least_users=arguments.least_users, most_neighbours=arguments.most_neighbours)
    groups = communities(graph, arguments.seed)
    screen.clear()
    told = _of_product(graph, groups, arguments) if arguments.product is not None else _of_all(graph, groups, arguments)
    for line in told:
        terminal.say(line)
    if arguments.picture is not None:
        from services.console.graph_picture import draw  # takes a second

        screen.status("  drawing")
        draw(graph, groups, arguments.picture, title=arguments.data.name, seed=arguments.seed)
        screen.clear()
        terminal.say(f"The picture is {arguments.picture}.")
    if arguments.out is not None:
        write(graph, groups, arguments.out)
        terminal.say(f"The graph was written to {arguments.out}.")


def write(graph: nx.Graph, groups: list[list[str]], path: Path) -> None:
    """Write the graph with each product's community, numbered from 1, as GraphML or as JSON of nodes and edges.

    Raises:
        Unusable: it can't be written.
    """
    numbered = {product: number for number, group in enumerate(groups, start=1) for product in group}
    graph = graph.copy()
    nx.set_node_attributes(graph, numbered, "community")
    try:
        if path.suffix == ".json":
            text = json.dumps(nx.node_link_data(graph, edges="edges"), ensure_ascii=False, indent=1)
            path.write_text(text + "\n", encoding="utf-8")
        else:
            nx.write_graphml_xml(graph, path)
    except OSError as error:
        raise Unusable(f"{path} can't be written ({error.strerror}); name another file with --out") from error


def _of_all(graph: nx.Graph, groups: list[list[str]], arguments: argparse.Namespace) -> Iterator[str]:
    alone = sum(1 for product in graph if not graph.degree(product))
    yield (
        f"{arguments.data.name}: {graph.number_of_nodes():,} products, {graph.number_of_edges():,} edges, "
        f"{alone:,} products without a neighbour"
    )
    for name in (*RELATIONS, LISTED_BOUGHT, LISTED_VIEWED):
        edges = sum(1 for _, _, edge in graph.edges(data=True) if name in edge)
        if edges:
            yield f"  {name:<14}{edges:>9,} edges"
    if not groups:
        yield f"No two products share {arguments.least_users} users: --least-users 1 joins more."
        return
    yield ""
    yield f"{len(groups):,} communities, the largest first, each with its best connected products:"
    for number, group in enumerate(groups[: arguments.most], start=1):
        named = "; ".join(_named(graph, product) for product in group[:3])
        yield f"{number:>4}  {len(group):>6,} products  {named}"


def _of_product(graph: nx.Graph, groups: list[list[str]], arguments: argparse.Namespace) -> Iterator[str]:
    product = arguments.product
    if product not in graph:
        near = difflib.get_close_matches(product, graph, n=3)
        meant = f"; did you mean {', '.join(near)}?" if near else ""
        raise Unusable(f"{arguments.data.name} holds no product {product!r}{meant}")
    node = graph.nodes[product]
    yield f"{_named(graph, product)}: {node['events']:,} events, {graph.degree(product):,} neighbours"
    number = next((n for n, group in enumerate(groups, start=1) if product in group), None)
    if number is None:
        yield "It has no neighbour: it shares too few users with any other product, and no metadata lists it."
        return
    yield f"It is in community {number}, with {len(groups[number - 1]) - 1:,} others."
    found = neighbours(graph, product, arguments.most)
    columns = [name for name in RELATIONS if any(name in own.edge for own in found)]
    yield ""
    yield f"{'weight':>8}" + "".join(f"{name:>13}" for name in columns) + "  listed          neighbour"
    for own in found:
        users = "".join(f"{own.edge.get(name, 0):>13,}" for name in columns)
        yield f"{own.weight:>8.3f}{users}  {_listed(own):<14}  {_named(graph, own.product_id)}"


def _listed(own: Neighbour) -> str:
    said = (("bought", LISTED_BOUGHT), ("viewed", LISTED_VIEWED))
    return ", ".join(word for word, name in said if name in own.edge) or "-"


def _named(graph: nx.Graph, product: str) -> str:
    title = graph.nodes[product]["title"]
    return f"{product} {cut(title, _TITLE)}" if title else product
