"""`freshet graph`: which products go together, to look at."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from replay import options
from replay.options import add_dataset
from shared.process.errors import Unusable
from shared.process.terminal import Terminal

EXPORTS = (".graphml", ".json")

_ABOUT = """\
Build the graph of a dataset's products, and look at it. Products are joined by what their users did (also_viewed: view,
click, favourite; also_bought: cart, purchase; co_review: review, rating) and by what metadata lists as also bought and
also viewed. A relation's strength is the cosine of the two products' users, damped where they are few; an edge weighs
the sum of its relations. Communities are Louvain's, on these weights.

  freshet graph reviews.json.gz --metadata meta.json.gz
  freshet graph reviews.json.gz --metadata meta.json.gz --product B0002E1G5C
  freshet graph sales.csv --mapping shop.toml --picture shop.png --out shop.graphml
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_dataset(parser, metadata="what the products are called and sold with")
    options.add_selection(parser)
    parser.add_argument("--product", metavar="ID", help="show the neighbours of one product")
    parser.add_argument(
        "--most", type=options.count, default=10, metavar="N",
        help="neighbours, or communities, to show (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--least-users", type=options.count, default=2, metavar="N",
        help="users that two products must share to be joined (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--most-neighbours", type=options.count, default=20, metavar="N",
        help="keep an edge if it is among this many strongest of either product (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the largest communities")
    parser.add_argument(
        "--out", type=_export, metavar="FILE", help=f"write the whole graph, as the name ends: {', '.join(EXPORTS)}"
    )
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="of communities and layout (default: 7)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Build the graph, show it, draw it, write it.

    Raises:
        Unusable: what was given can't be used.
    """
    for path in (arguments.picture, arguments.out):
        if path is not None and not path.parent.is_dir():
            raise Unusable(f"no such folder: {path.parent}; make it, or name another file than {path}")
    from services.lab.graph_task import run_graph  # takes a second, which other commands need not wait for

    run_graph(arguments, terminal, environ)
    return 0


def _export(text: str) -> Path:
    path = Path(text)
    if path.suffix not in EXPORTS:
        raise argparse.ArgumentTypeError(f"{text!r} must end with {' or '.join(EXPORTS)}")
    return path
