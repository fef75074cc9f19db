"""`freshet demo`: the whole loop on one machine, on an empty state folder, in about two minutes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from replay import options

if TYPE_CHECKING:
    from shared.process.terminal import Terminal


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = (
        "Replay reviews into an embedded broker, learn from them, serve, and show the result. "
        "Everything runs on 127.0.0.1 and starts empty; nothing is left running."
    )
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="reviews, or a shop's export; default: a generated sample"
    )
    parser.add_argument(
        "--metadata", type=Path, metavar="FILE", help="what the products are called and cost, as SNAP publishes it"
    )
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="which column of a shop's export is what (TOML)")
    parser.add_argument(
        "--within", type=_duration, default="60s", metavar="TIME",
        help="how long the replay takes: 90s, 5m, 2h, 1d (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--users", type=_positive, default=3, metavar="N", help="users to show (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    parser.add_argument(
        "--state-dir", type=Path, default=Path(".freshet/demo"), metavar="FOLDER",
        help="where everything is kept; emptied at the start (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Show the demo.

    Raises:
        Unusable: what was given can't be used; raised before anything starts where that can be known.
        Unavailable: a part failed.
    """
    from services.demo.demo import demo  # takes half a second, which `--help` need not wait for

    demo(arguments, terminal, environ)
    return 0


def _duration(text: str) -> str:
    """The text, checked; replay parses it again."""
    options.duration(text)
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
