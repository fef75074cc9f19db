"""The product graph as a picture: its largest communities in colours, their best connected products by name."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

import matplotlib as mpl
import networkx as nx
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from shared.errors import Unusable

COLOURED = 8  # communities
MOST_DRAWN = 400  # products
_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5")
_INK, _MUTED = "#222222", "#6b7280"

Positions = dict[str, NDArray[np.float64]]


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
        part.add_nodes_from(group)  # in their order: a subgraph's own is a set's, another one in each process
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
    said = f"{few[0].upper()}{few[1:]}, {part_of} of their products; a larger dot is better connected"
    figure.supxlabel(said, x=0.02, ha="left", color=_MUTED, fontsize=10)
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
    for edges, colour, alpha in ((between, None, 0.10), (inside, "own", 0.30)):
        segments = [(positions[a], positions[b]) for a, b in edges]
        own = [colours[a] if colour else "#9ca3af" for a, _ in edges]
        axes.add_collection(LineCollection(segments, colors=own, alpha=alpha, linewidths=0.6, zorder=1))


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
