"""What `freshet graph` does: reads a dataset, builds the graph, shows it, draws it, and writes it."""

from __future__ import annotations

import argparse
import difflib
import json
import math
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib as mpl
import networkx as nx
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from replay.metrics import ReplayMetrics
from replay.order.ordered_copy import Selection, alone, selection_of
from replay.order.ordering import ordered_copy
from replay.reading.formats import recognise, recognise_products
from replay.reading.lines import Lines
from replay.reading.mapping import load_mapping
from replay.reading.records import Account, parse_record
from replay.reading.snap import related_of
from replay.settings import ReplaySettings
from services.lab.datasets import SHOW_EVERY, OrderingStatus
from services.lab.graph import (
    LISTED_BOUGHT,
    LISTED_VIEWED,
    RELATIONS,
    GraphBuilder,
    Neighbour,
    ProductMetadata,
    communities,
    neighbours,
)
from shared.process.errors import Unusable
from shared.process.settings import load
from shared.process.terminal import Terminal, cut

COLOURED = 8  # communities
MOST_DRAWN = 400  # products
_TITLE = 44  # characters of a product's title
_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5")
_INK, _MUTED = "#222222", "#6b7280"

Positions = dict[str, NDArray[np.float64]]


def run_graph(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> None:
    """Build the graph, show it, draw it, write it.

    Raises:
        Unusable: a file can't be used, or there is no such product.
    """
    screen = Terminal(sys.stderr)
    selection = selection_of(arguments)
    builder, metadata = read_graph(arguments.data, arguments.metadata, arguments.mapping, selection, environ, screen)
    screen.status("  joining products")
    graph = builder.graph(metadata, least_users=arguments.least_users, most_neighbours=arguments.most_neighbours)
    groups = communities(graph, arguments.seed)
    screen.clear()
    lines = _of_all if arguments.product is None else _of_product
    for line in lines(graph, groups, arguments):
        terminal.say(line)
    if arguments.picture is not None:
        screen.status("  drawing")
        draw(graph, groups, arguments.picture, title=arguments.data.name, seed=arguments.seed)
        screen.clear()
        terminal.say(f"The picture is {arguments.picture}.")
    if arguments.out is not None:
        write(graph, groups, arguments.out)
        terminal.say(f"The graph was written to {arguments.out}.")


# What is read.


def read_graph(
    file: Path,
    metadata: Path | None,
    mapping: Path | None,
    selection: Selection,
    environ: Mapping[str, str],
    screen: Terminal,
) -> tuple[GraphBuilder, dict[str, ProductMetadata]]:
    """The events and the products of a graph; titles are the metadata's or, without, those of a CSV that has them.

    Raises:
        Unusable: a file can't be used, or the selection leaves nothing.
    """
    settings = load(ReplaySettings, environ)
    named = None if mapping is None else load_mapping(mapping)
    products: dict[str, ProductMetadata] = {}
    if metadata is not None:
        products = read_metadata(metadata, None, settings, screen)
    elif named is not None or recognise(file, None, settings).mapping is not None:
        products = read_metadata(file, mapping, settings, screen)
    with alone(settings.state_dir):
        copy = ordered_copy(
            file, metadata, settings, OrderingStatus(screen), named, metrics=ReplayMetrics(CollectorRegistry())
        )
    builder = GraphBuilder()
    try:
        extent = copy.extent(selection)
        for number, ordered in enumerate(copy.events(selection, extent)):
            event = ordered.event
            builder.add(event.user_id, event.product_id, event.kind)
            if number % SHOW_EVERY == 0:
                screen.status(f"  counting pairs: {number / extent.events:4.0%}")
    finally:
        copy.close()
    screen.clear()
    return builder, products


def read_metadata(
    file: Path, mapping: Path | None, settings: ReplaySettings, screen: Terminal
) -> dict[str, ProductMetadata]:
    """What a file says of products; the last of several lines about one counts.

    Raises:
        Unusable: the file can't be used.
    """
    source = recognise_products(file, None if mapping is None else load_mapping(mapping), settings)
    account = Account()

    def look() -> None:
        screen.status(f"  reading {file.name}: {lines.done_ratio:4.0%}, {account.lines:,} lines")

    lines = Lines(file, settings.most_line_bytes, look)
    products: dict[str, ProductMetadata] = {}
    for _, content, product in source.read(lines, account, reject=lambda line, error: None):  # noqa: ARG005
        also_bought, also_viewed = related_of(parse_record(content)) if source.mapping is None else ((), ())
        products[product.product_id] = ProductMetadata(
            title=product.title,
            brand=product.brand,
            categories=tuple(product.categories),
            also_bought=also_bought,
            also_viewed=also_viewed,
        )
    screen.clear()
    account.require_use(file, source.name)
    return products


# What is shown.


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
    nearest = neighbours(graph, product, arguments.most)
    columns = [name for name in RELATIONS if any(name in neighbour.edge for neighbour in nearest)]
    yield ""
    yield f"{'weight':>8}" + "".join(f"{name:>13}" for name in columns) + "  listed          neighbour"
    for neighbour in nearest:
        users = "".join(f"{neighbour.edge.get(name, 0):>13,}" for name in columns)
        yield f"{neighbour.weight:>8.3f}{users}  {_listed(neighbour):<14}  {_named(graph, neighbour.product_id)}"


def _listed(neighbour: Neighbour) -> str:
    relations = (("bought", LISTED_BOUGHT), ("viewed", LISTED_VIEWED))
    return ", ".join(word for word, name in relations if name in neighbour.edge) or "-"


def _named(graph: nx.Graph, product: str) -> str:
    title = graph.nodes[product]["title"]
    return f"{product} {cut(title, _TITLE)}" if title else product


# What is written: the whole graph, or a picture of its largest communities.


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


def drawn(groups: list[list[str]], communities: int = COLOURED, most: int = MOST_DRAWN) -> list[list[str]]:
    """The part of the largest communities that is drawn: of each its best connected products, by its share."""
    chosen = groups[:communities]
    total = sum(map(len, chosen))
    return [group[: max(1, round(len(group) * min(1.0, most / total)))] for group in chosen]


def layout(graph: nx.Graph, groups: list[list[str]], seed: int) -> Positions:
    """Where each product stands: communities beside each other, larger ones wider, products inside by their edges."""
    radii = [math.sqrt(len(group)) for group in groups]
    centres = _packed(radii)
    positions: Positions = {}
    for group, radius, centre in zip(groups, radii, centres, strict=True):
        part = nx.Graph()
        part.add_nodes_from(group)  # in this order: a subgraph's is a set's, another one in each process
        part.add_edges_from(graph.subgraph(group).edges(data=True))
        inner = nx.spring_layout(part, weight="weight", seed=seed, iterations=60)
        for product, place in inner.items():
            far = float(np.hypot(*place)) or 1.0  # even the density: a spring layout crowds its middle
            positions[product] = centre + place / far * min(1.0, far) ** 0.8 * radius * 0.92
    return positions


def draw(graph: nx.Graph, groups: list[list[str]], path: Path, *, title: str, seed: int) -> None:
    """Draw the largest communities into a PNG.

    Raises:
        Unusable: there is nothing to draw, or it can't be written.
    """
    if not groups:
        raise Unusable("no product has a neighbour, so there is nothing to draw: --least-users 1 joins more")
    chosen = drawn(groups)
    shown = [product for group in chosen for product in group]
    part = graph.subgraph(shown)
    positions = layout(part, chosen, seed)
    colours = {p: _COLOURS[n % len(_COLOURS)] for n, group in enumerate(chosen) for p in group}
    figure = Figure(figsize=(12, 9), dpi=150, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    _draw_edges(axes, part, positions, colours)
    points = np.array([positions[p] for p in shown])
    degrees = np.array([graph.degree(p, weight="weight") for p in shown])
    sizes = 25 + 260 * degrees / max(1e-9, degrees.max())
    axes.scatter(
        points[:, 0], points[:, 1], s=sizes, c=[colours[p] for p in shown], edgecolors="white", linewidths=0.7, zorder=2
    )
    for number, group in enumerate(chosen):
        _name(axes, graph, group, len(groups[number]), positions, colours[group[0]])
    few = (
        f"the {len(chosen)} largest of {len(groups):,} communities" if len(groups) > len(chosen) else "all communities"
    )
    part_of = "all" if len(shown) == sum(map(len, groups[: len(chosen)])) else f"the {len(shown):,} best connected"
    figure.suptitle(f"Products of {title} that go together", x=0.02, ha="left", color=_INK, fontsize=15)
    caption = f"{few[0].upper()}{few[1:]}, {part_of} of their products; a larger dot is better connected"
    figure.supxlabel(caption, x=0.02, ha="left", color=_MUTED, fontsize=10)
    axes.set_aspect("equal")
    axes.margins(0.09)
    axes.axis("off")
    try:
        with mpl.rc_context({"savefig.dpi": "figure"}):
            figure.savefig(path, format="png", metadata={"Software": "freshet"})
    except OSError as error:
        raise Unusable(f"{path} can't be written ({error.strerror}); name another file with --picture") from error


def _packed(radii: list[float]) -> list[NDArray[np.float64]]:
    """Centres of circles that don't touch, the first in the middle, each next one as near to it as there is room."""
    placed: list[NDArray[np.float64]] = []
    gap = 0.35 * radii[0]
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    for radius in radii:
        if not placed:
            placed.append(np.zeros(2))
            continue
        spots = [
            centre + (radius + radii[m] + gap) * np.array([1.35 * np.cos(a), np.sin(a)])
            for m, centre in enumerate(placed)
            for a in angles
        ]
        free = [
            spot
            for spot in spots
            if all(np.hypot(*(spot - centre)) >= radius + radii[m] + 0.99 * gap for m, centre in enumerate(placed))
        ]
        placed.append(min(free, key=lambda spot: (round(float(np.hypot(spot[0] / 1.35, spot[1])), 9), *spot)))
    return placed


def _draw_edges(axes: mpl.axes.Axes, graph: nx.Graph, positions: Positions, colours: dict[str, str]) -> None:
    inside, between = list[tuple[str, str]](), list[tuple[str, str]]()
    for a, b in graph.edges:
        (inside if colours[a] == colours[b] else between).append((a, b))
    for edges, is_coloured, alpha in ((between, False, 0.10), (inside, True, 0.30)):
        segments = [(positions[a], positions[b]) for a, b in edges]
        colors = [colours[a] if is_coloured else "#9ca3af" for a, _ in edges]
        axes.add_collection(LineCollection(segments, colors=colors, alpha=alpha, linewidths=0.6, zorder=1))


def _name(axes: mpl.axes.Axes, graph: nx.Graph, group: list[str], size: int, positions: Positions, colour: str) -> None:
    """Say below a community what its best connected product is called."""
    places = np.array([positions[p] for p in group])
    title = graph.nodes[group[0]]["title"] or group[0]
    text = "\n".join(textwrap.wrap(textwrap.shorten(title, 56, placeholder=" …"), 34))
    axes.annotate(
        f"{text}\n{size:,} products",
        (float(places[:, 0].mean()), float(places[:, 1].min())),
        xytext=(0, -8),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=8.5,
        color=_INK,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": colour, "alpha": 0.9},
        zorder=3,
    )
