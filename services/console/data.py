"""`freshet data`: get a dataset from its publisher, and see what a file holds."""

from __future__ import annotations

import argparse

from services.console import data_fetch, data_inspect, data_list


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = "Get a dataset from its publisher, and see what a file holds before it is replayed."
    what = parser.add_subparsers(dest="what", required=True, metavar="list | fetch | inspect")
    data_list.add(what)
    data_fetch.add(what)
    data_inspect.add(what)
