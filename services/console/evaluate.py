"""`freshet evaluate`: does it beat a good simple baseline, and how do you know?"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replay import options
from replay.options import add_dataset
from services.lab.options import LONG_HISTORY, NEW_PRODUCTS, PROTOCOLS, VARIANTS
from shared.log.records import DEFAULT_MASKED_KINDS, masked_kinds_of
from shared.policies.registry import POLICIES
from shared.process.errors import Unusable
from shared.process.terminal import Terminal

DEFAULT_POLICIES = "trending,repeat,markov,itemknn,ease,ials,bpr,freshet"

_ABOUT = """\
Judge policies side by side on one identical stream, in this process and without a broker: the readers of a replay, the
state vectors of the features service, the scores, masks and ranks of what is served. Every figure ranks the whole
catalogue known at that moment; none is sampled.

  prequential    test, then learn: before each event is applied every policy ranks the catalogue, then all learn it.
                 Policies that are fitted in batches are so at 20 points of the stream. With --warm-up the first events
                 are not judged, and choose among values given with --set.
  temporal       learn on the first 80 % of the time line, judge the rest and learn no more. Of the first 80 %, the last
                 eighth chooses among values given with --set.
  leave-one-out  rank each user's last product. Leaky; only to stand beside published figures. Reads `user product
                 product …` text files, too.

A user's products of one whole day are predicted as a set from the state at the day's start; ties count at half; a
product without an event before is a miss. The same data, seed and command give the same figures, bit for bit on one
machine, all but what is said of speed. Off-policy estimates (IPS, doubly robust) are not made here: they need logged
propensities, which no dataset holds.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = _ABOUT
    parser.epilog = f"policies: {', '.join(POLICIES)}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_dataset(parser, data="reviews, a shop's export, or a file of sequences", metadata="what the products cost")
    parser.add_argument(
        "--policies", type=_policies, default=DEFAULT_POLICIES, metavar="NAME,NAME",
        help="all, or some of those below (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: prequential; of sequences leave-one-out")
    parser.add_argument("--variant", choices=VARIANTS, help="of leave-one-out: what is learned (default: strict)")
    parser.add_argument("--seed", type=int, default=7, metavar="N", help="the first one (default: %(default)s)")
    parser.add_argument(
        "--seeds", type=options.count, default=1, metavar="N",
        help="run under so many, each one above the other (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--masked-kinds", type=_kinds, metavar="KIND,KIND",
        help="kinds of events after which a product is not recommended to the user again; '' for none, so that "
        f"repeats count (default: FRESHET_SHOP_MASKED_KINDS, {','.join(DEFAULT_MASKED_KINDS)} where it is not set)",
    )  # fmt: skip
    parser.add_argument(
        "--history-length", type=options.count, metavar="N",
        help="events of a user that make the state (default: FRESHET_SHOP_HISTORY_LENGTH, 20 where it is not set; "
        f"{LONG_HISTORY} in leave-one-out)",
    )  # fmt: skip
    parser.add_argument(
        "--spam", type=options.share, default=0.0, metavar="SHARE",
        help="add so many paid reviewers, as a share of the users; they are learned from and not judged",
    )  # fmt: skip
    parser.add_argument(
        "--set", type=_setting, action="append", default=[], metavar="POLICY.OPTION=VALUE", dest="settings",
        help="an argument of a policy; several values, VALUE,VALUE, are tried in the validation period: --warm-up, or "
        "the temporal protocol's",
    )  # fmt: skip
    parser.add_argument(
        "--new-products", choices=NEW_PRODUCTS, default=NEW_PRODUCTS[0], metavar="HOW",
        help="what a product of --metadata is before its first event: unlisted, unknown as any other (default); "
        "listed, in the running from the beginning; placed, likewise, and with a place from what it is",
    )  # fmt: skip
    parser.add_argument(
        "--warm-up", type=options.share, default=0.0, metavar="SHARE",
        help="of prequential: the share of the events that is only learned, and on which values given with --set are "
        "chosen; the others are judged",
    )  # fmt: skip
    options.add_selection(parser)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures as JSON")
    parser.add_argument(
        "--parquet", type=Path, metavar="PATH", help="write a row per judged event, policy and seed as Parquet"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Judge them.

    Raises:
        Unusable: what was given can't be used; said before anything is learned where that can be known.
    """
    for path in (arguments.json, arguments.parquet):
        if path is not None and not path.parent.is_dir():
            raise Unusable(f"no such folder: {path.parent}; make it, or name another file than {path}")
    # So as to repeat bit for bit, and to take no more than its share; libraries read it when they are first imported.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from services.lab.evaluate import evaluate  # takes a while, which other commands need not wait for

    evaluate(arguments, command_of(sys.argv[1:], environ), terminal, Terminal(sys.stderr), environ)
    return 0


def command_of(words: list[str], environ: Mapping[str, str]) -> str:
    """What to type to have the same again, with the variables that events are described and kept by."""
    from shared.process.settings import prefix_of  # they take a while, which `--help` need not wait for
    from shared.state.shop import ShopSettings, StreamSettings

    kept_by = {f"{prefix_of(ShopSettings)}{field}".upper() for field in StreamSettings.model_fields}
    names = sorted(name for name in environ if name.startswith("FRESHET_FEATURES_") or name in kept_by)
    shaping = [f"{name}={shlex.quote(environ[name])}" for name in names]
    return " ".join([*shaping, shlex.join(["freshet", *words])])


def _policies(text: str) -> list[str]:
    names = list(POLICIES) if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in POLICIES]
    if unknown or not names:
        said = f"no policy is called {unknown[0]!r}" if unknown else "names no policy"
        raise argparse.ArgumentTypeError(f"{said}; there are {', '.join(POLICIES)}")
    return list(dict.fromkeys(names))


def _kinds(text: str) -> str:
    try:
        masked_kinds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _setting(text: str) -> tuple[str, str, list[Any]]:
    found = re.fullmatch(r"([a-z0-9]+)\.([a-z0-9_]+(?:\.[a-z0-9_]+)?)=(.+)", text.strip())
    if found is None or found[1] not in POLICIES:
        raise argparse.ArgumentTypeError(f"{text!r} is no POLICY.OPTION=VALUE such as markov.window=5")
    return found[1], found[2], [_value(part) for part in found[3].split(",")]


def _value(text: str) -> Any:
    for reading in (json.loads, float):  # JSON knows no .5
        try:
            return reading(text)
        except ValueError:
            continue
    return text
