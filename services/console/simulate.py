"""`freshet simulate`: a simulated shop of real users, and what policies are worth in it in the long run.

fit        from a dataset to two simulated shops, one to learn in and one to be judged in
compare    policies learn in the shop of one period and are judged in that of a later one
users      the simulated users call the running system
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import signal
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replay.options import add_dataset, count, moment_ms, positive
from replay.reading.formats import recognise
from replay.reading.lines import Lines
from replay.reading.mapping import load_mapping
from replay.reading.records import Account
from replay.settings import ReplaySettings
from shared.process.errors import Unusable
from shared.process.running_system import running_here
from shared.process.settings import describe, load
from shared.process.terminal import Forecast, Terminal, Watch, bar

if TYPE_CHECKING:
    from services.lab.simulator.period import Period
    from services.lab.simulator.simulator import Simulator

TRAIN, TEST = "train", "test"
ADDRESS = "127.0.0.1:50051"  # of inference, where no system is found
_FOR_EVER_MS = 2**62

_ABOUT = """\
Simulate users who answer what they are shown: with clicks, with purchases, and by leaving. One shop is fitted to a
first period of a dataset, to learn in; another one to the period after it, which shares no event with the first, to
judge in.

  freshet simulate fit sales.csv --to shop          # shop/train: the first half, shop/test: the second
  freshet simulate compare shop                     # policies learn in one and are judged in the other
  freshet simulate users --model shop/test          # its users call the running system
"""

_ABOUT_FIT = """\
Fit two simulated shops: FOLDER/train to what happened before a date, FOLDER/test to what happened from that date on.
Both have the same products, those wanted most before the date; nothing of the later period influences the earlier one.

Tastes are low-rank factors of who had what to do with which product. Fitted to the period are: how much popularity,
lasting taste and present need count, how tastes drift, what satisfies, and how long visits and looks are. A log does
not show patience, satiation and the trust that good recommendations win: these are assumed and stated in
simulator.json; `freshet simulate compare --set` changes them.
"""

_ABOUT_COMPARE = """\
Let policies learn in FOLDER/train, all with the same budget, and judge them in FOLDER/test with the same visitors and
the same luck: cumulative reward, session length (slates until the user leaves) and success rate (visits with a
purchase), each with its 95 % bootstrap interval over visits and runs.

  random, trending, cooccurrence   know the log of the first period
  dqn DISCOUNT                     the same Double-Q network for each discount, ε-greedy online; with 0 it is greedy on
                                   the next reward
"""

_ABOUT_USERS = """\
Let the users of a fitted simulator call the running system. Each begins a visit with a view of a product it needs and
asks for recommendations over gRPC. It answers them through RecordEvents, as a shop's pages do, with clicks and
purchases that name the recommendation, and its next one is answered from a state that holds those. In the end it
leaves, and comes back later. It never clicks a product that the simulator does not know.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="what", required=True, metavar="fit | compare | users")
    _add_fit(commands)
    _add_compare(commands)
    _add_users(commands)


# fit


def _add_fit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fit",
        help="fit users to two periods of a dataset",
        description=_ABOUT_FIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_dataset(parser, data="what users did; `python -m replay run --help` lists the formats")
    parser.add_argument(
        "--until", type=moment_ms, metavar="DATE",
        help="where the first period ends and the second begins (UTC; default: half of the events lie before it)",
    )  # fmt: skip
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to write the two simulators")
    parser.add_argument(
        "--products", type=count, default=1000, metavar="N",
        help="how many products to simulate, at most (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--least-events", type=count, default=5, metavar="N",
        help="leave out products with fewer events in the first period (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--dimension", type=count, default=16, metavar="N", help="dimensions of tastes (default: %(default)s)"
    )
    _add_seed(parser)
    parser.set_defaults(run=run_fit)


def run_fit(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Fit both shops.

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
        _say_fit(name, fitted, terminal)
    terminal.say()
    terminal.say(f"Next: freshet simulate compare {shlex.quote(str(arguments.to))}")
    return 0


def _read(file: Path, mapping: Path | None, settings: ReplaySettings) -> Period:
    from services.lab.simulator.period import collect

    source = recognise(file, None if mapping is None else load_mapping(mapping), settings)
    screen, forecast, account = Terminal(sys.stderr), Forecast(), Account()
    lines: Lines

    def look() -> None:
        share = lines.done_ratio
        left = forecast.left(share)
        screen.status(f"  {bar(share)} {share:4.0%}  {account.lines:,} lines  {left}")

    lines = Lines(file, settings.most_line_bytes, look)
    events = source.read(lines, account, reject=lambda line, error: None)  # noqa: ARG005  # `freshet data inspect` tells
    period = collect(event for _, _, event in events)
    screen.clear()
    return period


def _say_fit(name: str, fitted: Simulator, terminal: Terminal) -> None:
    d, origin = fitted.dynamics, fitted.origin
    terminal.say()
    terminal.say(
        f"{name:<6} {_day(origin.from_ms)} to {_day(origin.until_ms)}, {origin.events:,} events of "
        f"{len(fitted.user_ids):,} users"
    )
    better = origin.figures["log_likelihood"] - origin.figures["log_likelihood_popularity"]
    terminal.say(
        f"  choices      popularity {d.popularity_weight:.2f}, taste {d.taste_weight:.1f}, of which present need "
        f"{d.need_share:.0%};\n               {better:+.2f} nats a choice over popularity, on held-out events"
    )
    terminal.say(
        f"  tastes       a need outlives a click in {d.need_persistence:.0%} of cases; drift {d.drift:.3f} a visit"
    )
    terminal.say(
        f"  satisfaction offset {d.satisfied_offset:+.2f}, taste {d.satisfied_taste:+.3f}, popularity "
        f"{d.satisfied_popularity:+.3f};\n               {d.purchase_share:.0%} of satisfying clicks end in a purchase"
    )
    terminal.say(
        f"  pace         {d.leave:.1%} leave at any one product; a look lasts {_seconds(d.dwell_log_mean)} (median)"
    )


def _seconds(log_mean: float) -> str:
    return f"{math.exp(log_mean):.0f} s"


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


# compare


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compare",
        help="let policies learn in one period's shop, and judge them in the later one's",
        description=_ABOUT_COMPARE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="as `freshet simulate fit --to` wrote it")
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
        "--visits", type=count, default=3000, metavar="N", help="visits that judge each policy (default: %(default)s)"
    )
    parser.add_argument(
        "--slate", type=count, default=1, metavar="N", help="products shown at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--set", action="append", default=[], dest="changes", metavar="NAME=NUMBER",
        help="another value of an assumed constant, in both shops, to see what depends on it: "
        "satiation_weight, patience, trust, disappointment … (simulator.json has them all)",
    )  # fmt: skip
    _add_seed(parser)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything to a file")
    parser.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Let policies learn, judge them, and show the result.

    Raises:
        Unusable: the folder holds no simulators, or there is no such constant.
    """
    from services.lab.simulator.simulator import Simulator

    changes = _changes(arguments.changes)
    train, test = (Simulator.load(arguments.folder / name).changed(changes) for name in (TRAIN, TEST))

    import torch  # takes seconds, which neither other commands nor a mistake need wait for

    from services.lab.simulator.comparison import compare

    torch.set_num_threads(1)
    screen = Terminal(sys.stderr)
    comparison = compare(
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
    for line in comparison.lines():
        terminal.say(line)
    terminal.say()
    terminal.say(f"seed {arguments.seed}: {command}")
    if arguments.json is not None:
        _write(arguments.json, {"command": command, **comparison.to_json()})
    return 0


def _write(path: Path, document: Mapping[str, object]) -> None:
    try:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{path} can't be written ({error.strerror}); name another file with --json") from error


def _discounts(text: str) -> tuple[float, ...]:
    try:
        discounts = tuple(float(part) for part in text.split(","))
    except ValueError:
        discounts = (-1.0,)
    if not all(0 <= discount < 1 for discount in discounts):
        raise argparse.ArgumentTypeError(f"{text!r}: discounts are numbers from 0 and below 1, such as 0,0.5,0.9")
    return discounts


def _changes(given: list[str]) -> dict[str, float]:
    changes: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            changes[name] = float(value)
        except ValueError:
            raise Unusable(f"--set {text}: write NAME=NUMBER, such as satiation_weight=0") from None
    return changes


# users


def _add_users(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "users",
        help="let simulated users call the running system",
        description=_ABOUT_USERS,
        epilog=describe(ReplaySettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="a fitted simulator, such as shop/test"
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT",
        help=f"of the gRPC service (default: of the system that runs in this folder, else {ADDRESS})",
    )  # fmt: skip
    parser.add_argument(
        "--users", type=count, default=100, metavar="N", help="how many at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=positive, default=20.0, metavar="N",
        help="recommendations a second, of all users together (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--slate", type=count, default=10, metavar="N", help="products a recommendation (default: %(default)s)"
    )
    parser.add_argument("--visits", type=count, metavar="N", help="end after so many (default: when stopped)")
    parser.add_argument(
        "--upsert-products", action="store_true",
        help="send the system the simulator's products first, ids and prices; they replace what it knows of them",
    )  # fmt: skip
    _add_seed(parser)
    parser.set_defaults(run=run_users)


def run_users(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Let the users come until all visits were made, or until SIGTERM or Ctrl-C.

    Raises:
        Unusable: the folder holds no simulator, or the system refuses a request.
    """
    from services.lab.crowd import Crowd, CrowdMetrics, CrowdPlan  # gRPC, which the other commands do without
    from services.lab.simulator.simulator import Simulator
    from shared.process.telemetry import new_registry, setup_logging, start_metrics

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = load(ReplaySettings, environ)
    simulator = Simulator.load(arguments.model)
    system = None if arguments.address else running_here(lambda line: print(f"freshet: {line}", file=sys.stderr))
    address = arguments.address or (system.grpc_address if system else ADDRESS)
    setup_logging(settings)
    registry = new_registry()
    start_metrics("replay", settings, registry)
    plan = CrowdPlan(
        users=arguments.users,
        slate=arguments.slate,
        rate=arguments.rate,
        visits=arguments.visits,
        seed=arguments.seed,
        with_products=arguments.upsert_products,
    )
    watch = Watch(stop, sys.stderr if sys.stderr.isatty() else None, every_seconds=settings.progress_seconds)
    Crowd(simulator, address, plan, CrowdMetrics(registry), stop, watch).run()
    return 0


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="of every random draw (default: %(default)s)")
