"""`freshet data`: get a dataset from its publisher, and see what a file holds."""

from __future__ import annotations

import argparse

from services.console import data_fetch, data_inspect, data_list


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = commands.add_parser(
        "data",
        help="get a dataset from its publisher, and see what a file holds",
        description="Get a dataset from its publisher, and see what a file holds before it is replayed.",
    )
    what = parser.add_subparsers(dest="what", required=True, metavar="list | fetch | inspect")
    for command in (data_list, data_fetch, data_inspect):
        command.add(what)
