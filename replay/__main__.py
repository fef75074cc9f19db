"""Replay: reads a dataset and sends it to the log as events, in the order of their times, at a pace of your choice.

    python -m replay run reviews.json.gz --within 5m
    python -m replay run sales.csv --mapping shop.toml --ending now
    python -m replay --products products.json.gz
    python -m replay sample --out reviews.json.gz --meta products.json.gz

`run --help` lists the formats. A replay ends when the broker has acknowledged everything. SIGTERM or Ctrl-C end it
sooner; its position is saved for --resume.
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
Send a file of what users did, plain or gzip. Its format is recognised by its content:

  reviews as SNAP publishes them: JSON lines of 2014 and 2018 (also as Python literals) and of 2023; blocks
      (finefoods.txt, movies.txt); ratings without text as CSV, of each edition
  Kaggle's Reviews.csv, UCI's Online Retail I and II, Alibaba's UserBehavior
  any other CSV, with --mapping: a TOML file that says what each column holds, such as
      [columns]                        # names of the file's columns, or their numbers from 1
      user = "CustomerID"
      product = "StockCode"            # required
      time = "InvoiceDate"             # required
      price = "UnitPrice"              # also: kind, rating, text, quantity, helpful, total_votes, dwell_seconds,
                                       # event_id; for --products title, category, brand
      [file]                           # optional: header = true, delimiter, decimal, encoding
      [time]
      format = "%d.%m.%Y %H:%M"        # or seconds, milliseconds, iso; recognised if left out
      zone = "Europe/London"           # for times without a zone (default: UTC)
      [user]
      missing = "guest"                # an event without a user counts for trending only; or "reject"
      [kind]
      default = "purchase"             # if left out: a text is a review, stars are a rating
      values = { pv = "view" }         # what the values of the column `kind` mean
      [[kind.when]]                    # the first match wins: starts_with, equals or below
      column = "InvoiceNo"
      starts_with = "C"
      kind = "return"

Records that can't be used are left out, counted and reported, and so are exact copies of an earlier record. The
dataset is put in event-time order once; the ordered copy is kept for later replays.

A dataset that is sent twice to the same log counts once: readers know each event by its dataset and number. With --loop
event times go on: each loop is later than the one before by the dataset's range and a day, and counts as new. --from
and --until mean the times in the file, also with --ending. --resume keeps to the --ending of the first replay.

Events more than a day ahead of the clock go to the dead letters; a replay says beforehand how many, and from which time
on. --until leaves them out.
"""


_PRODUCTS = (
    "send products: metadata as SNAP publishes it (JSON lines), or a CSV whose mapping names title, category, brand, "
    "price; of several lines about one product the last one counts"
)


def main() -> int:
    """Run one command; its exit status."""
    if sys.argv[1:2] == ["simulate"]:
        print(f"replay: {_SIMULATE_HAS_MOVED}", file=sys.stderr)
        return 2
    parser = _parser()
    arguments = parser.parse_args()
    if (arguments.command is None) == (arguments.catalogue is None):
        parser.error("name a command, run or sample, or --products")
    if arguments.command is not None and arguments.catalogue_mapping is not None:
        parser.error("--mapping belongs after the command")
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
        help="with --products: what each column of a CSV holds (TOML)",
    )  # fmt: skip
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    _add_run(
        commands.add_parser(
            "run", help="send a dataset", description=_RUN, epilog=epilog, formatter_class=raw, allow_abbrev=False
        )
    )
    sample = commands.add_parser("sample", help="write a generated dataset in SNAP's format", allow_abbrev=False)
    _add_sample(sample)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what users did")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="what each column of a CSV holds (TOML)")
    parser.add_argument("--metadata", type=Path, metavar="FILE", help="the products: titles, categories, prices")
    paces = parser.add_mutually_exclusive_group()
    paces.add_argument(
        "--within", type=options.duration, metavar="TIME", help="send the whole range within 90s, 5m, 2h, 1d"
    )
    paces.add_argument(
        "--speed", type=options.speed, metavar="FACTOR",
        help="event time / wall time, such as 100000; max: as fast as the broker accepts (default: max)",
    )  # fmt: skip
    paces.add_argument("--rate", type=options.positive, metavar="N", help="events per second")
    parser.add_argument(
        "--evenly", action="store_true",
        help="with --within: the same number of events each second, whatever their times",
    )  # fmt: skip
    options.add_selection(parser)
    parser.add_argument(
        "--ending", type=options.ending, metavar="now|DATE",
        help="add whole days to all event times, so that the last event is on this day; now: the latest day that "
        "does not put it in the future",
    )  # fmt: skip
    parser.add_argument(
        "--loop", type=options.count, nargs="?", const=0, default=1, metavar="N",
        help="send the file N times; without N, as often as its event times stay within a day ahead of the clock",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on where the last replay of this dataset ended")
    parser.add_argument("--stay", action="store_true", help="at the end, keep serving metrics until stopped")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.evenly and arguments.within is None:
        raise Unusable("--evenly needs --within: the time to spread the events over")
    settings, kafka, metrics, stop = _started()
    run(arguments, settings, kafka, metrics, stop)
    logging.getLogger("replay").info("stopped")
    return 0


def _products(arguments: argparse.Namespace) -> int:
    settings, kafka, metrics, stop = _started()
    send_catalogue(arguments.catalogue, arguments.catalogue_mapping, settings, kafka, metrics, stop)
    return 0


def _started() -> tuple[ReplaySettings, KafkaSettings, ReplayMetrics, threading.Event]:
    """The settings, the metrics, and the event that SIGTERM and Ctrl-C set; logging is set up."""
    stop = _stopped_by_signals()
    settings, kafka = load(ReplaySettings), load(KafkaSettings, environment_here(os.environ, _say))
    setup_logging(settings)
    registry = new_registry()
    start_metrics("replay", settings, registry)
    return settings, kafka, ReplayMetrics(registry), stop


def _say(line: str) -> None:
    print(f"replay: {line}", file=sys.stderr)


def _stopped_by_signals() -> threading.Event:
    """The event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _add_sample(parser: argparse.ArgumentParser) -> None:
    from replay.sample import shop

    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file for the reviews, gzip")
    parser.add_argument("--meta", type=Path, required=True, metavar="FILE", help="file for the products, gzip")
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
