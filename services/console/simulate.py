"""`freshet simulate`: a simulated shop of real users, and what policies are worth in it in the long run."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replay.options import add_dataset, count, moment_ms
from replay.reading.formats import recognise
from replay.reading.lines import Lines
from replay.reading.mapping import load_mapping
from replay.reading.records import Account
from replay.settings import ReplaySettings
from shared.process.errors import Unusable
from shared.process.settings import load
from shared.process.terminal import Forecast, Terminal, bar

# `freshet simulate fit`: from a dataset to two simulated shops, one to learn in and one to be judged in.

if TYPE_CHECKING:
    from services.lab.simulator.period import Period
    from services.lab.simulator.simulator import Simulator

TRAIN, TEST = "train", "test"
_FOR_EVER_MS = 2**62

_ABOUT_FIT = """\
Fit two simulated shops: FOLDER/train to what happened before a date, FOLDER/test to what happened from it on. Both have
the same products, those wanted most before the date; nothing of the later period decides on the earlier one.
Tastes are low-rank factors of who had what to do with which product; what popularity, lasting taste and present need
count, how tastes drift, what satisfies, how long visits and looks are, is fitted to the period. What no log of events
tells, patience, satiation and the trust that good recommendations win, is assumed, stated in simulator.json, and may be
changed in `freshet simulate compare --set`.
"""


def add_fit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "fit",
        help="fit users to two periods of a dataset",
        description=_ABOUT_FIT,
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
    parser.set_defaults(run=run_fit)


def run_fit(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Fit both.

    Raises:
        Unusable: the file, the mapping or the folder can't be used, or a period holds too little.
    """
    from services.lab.simulator.fit import catalogue, fit  # takes a second, which other commands need not wait for

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
    from services.lab.simulator.period import collect

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


# `freshet simulate compare`: policies learn in the shop of one period and are judged in that of a later one.

_ABOUT_COMPARE = """\
Let policies learn in FOLDER/train, all with the same budget, and judge them in FOLDER/test with the same visitors and
the same luck: cumulative reward, session length (slates until the user leaves) and success rate (visits with a
purchase), each with its 95 % bootstrap interval over visits and runs.

  random, trending, cooccurrence   know the log of the first period
  dqn DISCOUNT                     the same Double-Q network for each discount, ε-greedy online; with 0 it is greedy on
                                   the next reward
"""


def add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="let policies learn in one period's shop, judge them in the later one's",
        description=_ABOUT_COMPARE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="that `freshet simulate fit --to` wrote")
    parser.add_argument(
        "--discounts", type=_discounts, default=(0.0, 0.9), metavar="D,D,…",
        help="of the learned policies; 0 is always among them (default: 0,0.9)",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=count, default=3, metavar="N", help="runs of each learned policy (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=count, default=3000, metavar="N", help="gradient steps of each run (default: %(default)s)"
    )
    parser.add_argument(
        "--visits", type=count, default=3000, metavar="N", help="that judge each policy (default: %(default)s)"
    )
    parser.add_argument(
        "--slate", type=count, default=1, metavar="N", help="products shown at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--set", action="append", default=[], dest="changes", metavar="NAME=NUMBER",
        help="another value of an assumed constant, in both shops, to see what depends on it: "
        "satiation_weight, patience, trust, disappointment … (simulator.json has them all)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="of every random draw (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything to a file")
    parser.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Learn, judge, show.

    Raises:
        Unusable: the folder holds no simulators, or a constant is none.
    """
    from services.lab.simulator.simulator import Simulator

    changes = _changes(arguments.changes)
    train, test = (Simulator.load(arguments.folder / name).changed(changes) for name in (TRAIN, TEST))

    import torch  # takes seconds, which neither other commands nor a mistake need wait for

    from services.lab.simulator.contest import Contest, contest

    torch.set_num_threads(1)
    screen = Terminal(sys.stderr)
    found: Contest = contest(
        train,
        test,
        discounts=tuple(sorted({0.0, *arguments.discounts})),
        seeds=arguments.seeds,
        steps=arguments.steps,
        visits=arguments.visits,
        slate=arguments.slate,
        seed=arguments.seed,
        look=screen.status,
    )
    screen.clear()
    command = shlex.join(["freshet", *sys.argv[1:]])
    for line in found.lines():
        terminal.say(line)
    terminal.say()
    terminal.say(f"seed {arguments.seed}: {command}")
    if arguments.json is not None:
        _write(arguments.json, {"command": command, **found.to_json()})
    return 0


def _write(path: Path, found: Mapping[str, object]) -> None:
    try:
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{path} can't be written ({error.strerror}); name another file with --json") from error


def _discounts(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (-1.0,)
    if not all(0 <= discount < 1 for discount in found):
        raise argparse.ArgumentTypeError(f"{text!r} holds no discounts, numbers from 0 and below 1, such as 0,0.5,0.9")
    return found


def _changes(given: list[str]) -> dict[str, float]:
    changes: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            changes[name] = float(value)
        except ValueError:
            raise Unusable(f"--set {text}: say NAME=NUMBER, such as satiation_weight=0") from None
    return changes


_ABOUT = """\
Users who answer what they are shown: with clicks, purchases, and by leaving. They are fitted to one period of a
dataset, and those that judge to a later one that shares no event with it.

  freshet simulate fit sales.csv --to shop          # shop/train of the first half, shop/test of the second
  freshet simulate compare shop                     # policies learn in one and are judged in the other
  python -m replay simulate --model shop/test       # its users call the running system
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    what = parser.add_subparsers(dest="what", required=True, metavar="fit | compare")
    add_fit(what)
    add_compare(what)
