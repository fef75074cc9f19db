"""`freshet simulate fit`: from a dataset to two simulated shops, one to learn in and one to be judged in."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replay.datasets import Account
from replay.formats import recognise
from replay.lines import Lines
from replay.mapping import load_mapping
from replay.options import count, moment_ms
from replay.progress import Forecast, bar
from replay.settings import ReplaySettings
from services.console.dataset_options import add_dataset
from services.console.terminal import Terminal
from shared.settings import load

if TYPE_CHECKING:
    from shared.simulator.period import Period
    from shared.simulator.simulator import Simulator

TRAIN, TEST = "train", "test"
_FOR_EVER_MS = 2**62

_ABOUT = """\
Fit two simulated shops: FOLDER/train to what happened before a date, FOLDER/test to what happened from it on. Both have
the same products, those wanted most before the date; nothing of the later period decides on the earlier one.
Tastes are low-rank factors of who had what to do with which product; what popularity, lasting taste and present need
count, how tastes drift, what satisfies, how long visits and looks are, is fitted to the period. What no log of events
tells, patience, satiation and the trust that good recommendations win, is assumed, stated in simulator.json, and may be
changed in `freshet simulate compare --set`.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "fit",
        help="fit users to two periods of a dataset",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset(parser, data="what users did; `python -m replay run --help` has the formats")
    parser.add_argument(
        "--until", type=moment_ms, metavar="DATE",
        help="where the first period ends and the second begins (UTC; default: half of the events lie before it)",
    )  # fmt: skip
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the two simulators go")
    parser.add_argument(
        "--products", type=count, default=1000, metavar="N", help="products, at most (default: %(default)s)"
    )
    parser.add_argument(
        "--least-events", type=count, default=5, metavar="N",
        help="of a product in the first period; others are left out (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--dimension", type=count, default=16, metavar="N", help="of tastes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="of every random draw (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Fit both.

    Raises:
        Unusable: the file, the mapping or the folder can't be used, or a period holds too little.
    """
    from shared.simulator.fit import catalogue, fit  # takes a second, which other commands need not wait for

    whole = _read(arguments.data, arguments.mapping, load(ReplaySettings, environ))
    border = whole.middle_ms(0.5) if arguments.until is None else arguments.until
    periods = {TRAIN: whole.between(0, border), TEST: whole.between(border, _FOR_EVER_MS)}
    products = catalogue(periods[TRAIN], arguments.least_events, arguments.products)
    terminal.say(f"{arguments.data.name}: {len(whole):,} events of known users, {len(products):,} products simulated")
    for name, period in periods.items():
        fitted = fit(period, products, dimension=arguments.dimension, seed=arguments.seed, data=arguments.data.name)
        fitted.save(arguments.to / name)
        _tell(name, fitted, terminal)
    terminal.say()
    terminal.say(f"Next: freshet simulate compare {shlex.quote(str(arguments.to))}")
    return 0


def _read(file: Path, mapping: Path | None, settings: ReplaySettings) -> Period:
    from shared.simulator.period import collect

    given = None if mapping is None else load_mapping(mapping)
    found = recognise(file, given, settings)
    screen, forecast, account = Terminal(sys.stderr), Forecast(), Account()
    lines: Lines

    def look() -> None:
        share = lines.done_ratio
        left = forecast.left(share)
        screen.status(f"  {bar(share)} {share:4.0%}  {account.lines:,} lines  {left}")

    lines = Lines(file, settings.most_line_bytes, look)
    events = found.read(lines, account, reject=lambda line, error: None)  # noqa: ARG005  # `freshet data inspect` tells
    period = collect(event for _, _, event in events)
    screen.clear()
    return period


def _tell(name: str, fitted: Simulator, terminal: Terminal) -> None:
    d, origin = fitted.dynamics, fitted.origin
    terminal.say()
    terminal.say(
        f"{name:<6} {_day(origin.from_ms)} to {_day(origin.until_ms)}, {origin.events:,} events of "
        f"{len(fitted.user_ids):,} users"
    )
    better = origin.figures["log_likelihood"] - origin.figures["log_likelihood_popularity"]
    terminal.say(
        f"  choices      popularity {d.popularity_weight:.2f}, taste {d.taste_weight:.1f}, of which present need "
        f"{d.need_share:.0%}; {better:+.2f} nats a choice over popularity, on held-out events"
    )
    terminal.say(f"  tastes       a need outlives a click with {d.need_persistence:.0%}; drift {d.drift:.3f} a visit")
    terminal.say(
        f"  satisfaction offset {d.satisfied_offset:+.2f}, taste {d.satisfied_taste:+.3f}, popularity "
        f"{d.satisfied_popularity:+.3f}; {d.purchase_share:.0%} of it is bought"
    )
    terminal.say(
        f"  pace         leaves at any product with {d.leave:.1%}; looks for {_seconds(d.dwell_log_mean)} (median)"
    )


def _seconds(log_mean: float) -> str:
    return f"{math.exp(log_mean):.0f} s"


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
