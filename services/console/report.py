"""`freshet report`: figures of how policies learn and compare, as one page and as pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from replay.options import add_dataset
from services.lab.options import command_of, limit_threads
from shared.process.errors import Unusable
from shared.process.terminal import Terminal

DEFAULT_POLICIES = "trending,markov,itemknn,dqn,freshet"

_ABOUT = """\
Draw a report of a dataset into FOLDER: index.html, which holds all its pictures and loads nothing from elsewhere, and
each picture as a PNG. It shows precision, recall and cumulative reward over training; positive, neutral and negative
reviews; the convergence of Q-values; success rates; accuracy over time with its intervals, by class of users, and
against coverage; and, where a simulation is given, what a discount above 0 is worth. A figure whose input is missing
says so.

  freshet report reviews.json.gz --out report
  freshet report reviews.json.gz --out report --evaluation result.json --simulation shop.json

Without --evaluation it runs one, with one seed, and leaves evaluation.json and evaluation.parquet in FOLDER.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_dataset(parser, metadata="what the products cost")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write the report")
    parser.add_argument(
        "--policies", default=DEFAULT_POLICIES, metavar="NAME,NAME",
        help="policies to evaluate, where no evaluation is given (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--evaluation", type=Path, metavar="FILE.json",
        help="figures of the same data, written by `freshet evaluate --json`; FILE.parquet beside it is used too",
    )  # fmt: skip
    parser.add_argument(
        "--simulation", type=Path, metavar="FILE.json", help="figures written by `freshet simulate compare --json`"
    )
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="of every random draw (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Make the report.

    Raises:
        Unusable: what was given can't be used; raised before anything is learned where that can be known.
    """
    for path in (arguments.evaluation, arguments.simulation):
        if path is not None and not path.is_file():
            raise Unusable(f"no such file: {path}")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise Unusable(f"{arguments.out} is a file; name a folder with --out")
    limit_threads()
    from services.lab.report import make_report  # takes a while, which other commands need not wait for

    make_report(arguments, command_of(sys.argv[1:], environ), terminal, Terminal(sys.stderr), environ)
    return 0
