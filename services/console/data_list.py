"""`freshet data list`: what can be fetched by name."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from replay.publishers import EDITIONS, PUBLICATIONS, WHAT
from services.console.terminal import Terminal


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "list",
        help="what can be fetched by name",
        description="The datasets that can be fetched by name, and how many reviews or sales each has in all.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """List them, the categories of all editions side by side."""
    terminal.say(f"{'reviews of':<30}" + "".join(f"{edition:>14}" for edition in EDITIONS))
    names: dict[str, dict[str, int]] = {}
    for edition in EDITIONS:
        for name, reviews in PUBLICATIONS[edition].names.items():
            names.setdefault(name.title() if name.isupper() else name, {})[edition] = reviews
    for name in sorted(names):
        terminal.say(f"  {name:<28}" + "".join(f"{_count(names[name].get(edition)):>14}" for edition in EDITIONS))
    terminal.say()
    for name, publication in PUBLICATIONS.items():
        if name not in EDITIONS:
            terminal.say(f"  {name:<28}{_count(next(iter(publication.names.values()))):>14}   {publication.title}")
    terminal.say()
    terminal.say("What there is of each category (--what), the first where nothing is asked for:")
    for edition in EDITIONS:
        publication = PUBLICATIONS[edition]
        terminal.say(f"  {edition}  {', '.join(publication.files):<32}  {publication.title}")
    for what, meaning in WHAT.items():
        terminal.say(f"  {what:<9} {meaning}")
    terminal.say()
    terminal.say("Such as: freshet data fetch Musical_Instruments   (5-core of 2014: 10,261 reviews, 2.5 MB)")
    return 0


def _count(reviews: int | None) -> str:
    return "-" if reviews is None else f"{reviews:,}"
