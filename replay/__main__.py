"""Replay: reads a dataset and sends it to the log as events, in the order of their time, at a chosen pace.

    python -m replay run reviews.json.gz --within 5m
    python -m replay run sales.csv --mapping shop.toml --ending now
    python -m replay --products products.json.gz
    python -m replay sample --out reviews.json.gz --meta products.json.gz

`run --help` names the formats that are read. It ends when the broker has acknowledged everything, or at SIGTERM or
Ctrl-C, with its position kept for --resume.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from replay import options
from replay.metrics import ReplayMetrics
from replay.sending.catalogue import send_catalogue
from replay.sending.run import run
from replay.settings import ReplaySettings
from shared.process.errors import Unavailable, Unusable
from shared.process.running_system import environment_here
from shared.process.settings import KafkaSettings, describe, load
from shared.process.telemetry import new_registry, setup_logging, start_metrics

_SIMULATE_HAS_MOVED = "simulated users come from another command now: freshet simulate users"

_RUN = """\
Send a file of what users did. What it is, is told from its content, plain or gzip:

  reviews as SNAP publishes them: JSON lines of 2014 and 2018 (also as Python literals) and of 2023; blocks
      (finefoods.txt, movies.txt); ratings alone as CSV, of each edition
  Kaggle's Reviews.csv, UCI's Online Retail I and II, Alibaba's UserBehavior
  any other CSV, with --mapping: a TOML file that says which column is what, such as
      [columns]                        # its names, or its numbers from 1; of these product and time must be told
      user = "CustomerID"
      product = "StockCode"
      time = "InvoiceDate"
      price = "UnitPrice"              # also: kind, rating, text, quantity, helpful, total_votes, dwell_seconds,
                                       # event_id; for --products title, category, brand
      [file]                           # header = true, delimiter, decimal, encoding: told from the file where left out
      [time]
      format = "%d.%m.%Y %H:%M"        # or seconds, milliseconds, iso; told from the file where left out
      zone = "Europe/London"           # of times without one (default: UTC)
      [user]
      missing = "guest"                # counts for trending only; or "reject"
      [kind]
      default = "purchase"             # where left out: a text is a review, stars are a rating
      values = { pv = "view" }         # of the column `kind`
      [[kind.when]]                    # the first that matches wins: starts_with, equals or below
      column = "InvoiceNo"
      starts_with = "C"
      kind = "return"

A record that can't be used is counted and reported, exact copies of an earlier one are left out, and the rest goes on.
The dataset is put in event-time order once and the copy kept for later replays.

Sent twice to the same log, a dataset counts once: readers know each event by its dataset and number. With --loop event
times go on: each loop comes later by the dataset's range and a day, and counts as new. --from and --until go by the
file's own times, also with --ending; --resume goes on with what --ending was first.
"""


_PRODUCTS = (
    "send what products are called and cost: metadata as SNAP publishes it (JSON lines), or a CSV with title, "
    "category, brand, price by its mapping; of several lines about one product the last counts"
)


def main() -> int:
    """Run one command; its exit status."""
    if sys.argv[1:2] == ["simulate"]:
        print(f"replay: {_SIMULATE_HAS_MOVED}", file=sys.stderr)
        return 2
    parser = _parser()
    arguments = parser.parse_args()
    if (arguments.command is None) == (arguments.catalogue is None):
        parser.error("one of run, sample and --products is needed")
    if arguments.command is not None and arguments.catalogue_mapping is not None:
        parser.error("--mapping comes after the command")
    try:
        status: int = (arguments.command or _products)(arguments)
    except Unusable as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    except Unavailable as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    epilog = describe(ReplaySettings, KafkaSettings)
    parser = argparse.ArgumentParser(
        prog="python -m replay", description=__doc__, epilog=epilog, formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--products", dest="catalogue", type=Path, metavar="FILE", help=_PRODUCTS)
    parser.add_argument(
        "--mapping", dest="catalogue_mapping", type=Path, metavar="FILE",
        help="with --products: which column of a CSV is what (TOML)",
    )  # fmt: skip
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    _add_run(
        commands.add_parser(
            "run", help="send a dataset", description=_RUN, epilog=epilog, formatter_class=raw, allow_abbrev=False
        )
    )
    sample = commands.add_parser("sample", help="write a generated dataset in SNAP's own format", allow_abbrev=False)
    _add_sample(sample)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what users did")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="which column of a CSV is what (TOML)")
    parser.add_argument("--metadata", type=Path, metavar="FILE", help="the products: titles, categories, prices")
    paces = parser.add_mutually_exclusive_group()
    paces.add_argument("--within", type=options.duration, metavar="TIME", help="the whole range in 90s, 5m, 2h, 1d")
    paces.add_argument(
        "--speed", type=options.speed, metavar="FACTOR",
        help="event time / wall time, such as 100000; max: as fast as the broker takes it (default: max)",
    )  # fmt: skip
    paces.add_argument("--rate", type=options.positive, metavar="N", help="events per second")
    parser.add_argument(
        "--evenly", action="store_true",
        help="with --within: the same number of events each second, however their times lie",
    )  # fmt: skip
    options.add_selection(parser)
    parser.add_argument(
        "--ending", type=options.ending, metavar="now|DATE",
        help="add whole days to all event times, so that the file's last event lies on this day; now: today, unless it "
        "would lie in the future",
    )  # fmt: skip
    parser.add_argument(
        "--loop", type=options.count, nargs="?", const=0, default=1, metavar="N",
        help="send it N times; without N again and again, until event times reach the year 2200",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on where the last replay of this dataset ended")
    parser.add_argument("--stay", action="store_true", help="stay up at the end, with the metrics, until stopped")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.evenly and arguments.within is None:
        raise Unusable("--evenly spreads the events over a time: say which with --within")
    settings, kafka, metrics, stop = _started()
    run(arguments, settings, kafka, metrics, stop)
    logging.getLogger("replay").info("stopped")
    return 0


def _products(arguments: argparse.Namespace) -> int:
    settings, kafka, metrics, stop = _started()
    send_catalogue(arguments.catalogue, arguments.catalogue_mapping, settings, kafka, metrics, stop)
    return 0


def _started() -> tuple[ReplaySettings, KafkaSettings, ReplayMetrics, threading.Event]:
    """The settings, with logs and metrics at work, and what SIGTERM and Ctrl-C set."""
    stop = _stopped_by_signals()
    settings, kafka = load(ReplaySettings), load(KafkaSettings, environment_here(os.environ, _say))
    setup_logging(settings)
    registry = new_registry()
    start_metrics("replay", settings, registry)
    return settings, kafka, ReplayMetrics(registry), stop


def _say(line: str) -> None:
    print(f"replay: {line}", file=sys.stderr)


def _stopped_by_signals() -> threading.Event:
    """What SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _add_sample(parser: argparse.ArgumentParser) -> None:
    from replay.sample import shop

    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the reviews go, gzip")
    parser.add_argument("--meta", type=Path, required=True, metavar="FILE", help="where the products go, gzip")
    for name, default in (
        ("users", shop.DEFAULT_USERS),
        ("products", shop.DEFAULT_PRODUCTS),
        ("events", shop.DEFAULT_EVENTS),
        ("seed", shop.DEFAULT_SEED),
    ):
        parser.add_argument(
            f"--{name}", type=options.count, default=default, metavar="N", help="(default: %(default)s)"
        )
    parser.set_defaults(command=_sample)


def _sample(arguments: argparse.Namespace) -> int:
    from replay.sample.shop import write_sample

    try:
        write_sample(
            arguments.out,
            arguments.meta,
            users=arguments.users,
            products=arguments.products,
            events=arguments.events,
            seed=arguments.seed,
        )
    except OSError as error:
        raise Unusable(f"the sample can't be written: {error}") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
