"""`freshet simulate compare`: policies learn in the shop of one period and are judged in that of a later one."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from replay.options import count
from services.console.simulate_fit import TEST, TRAIN
from services.console.terminal import Terminal
from shared.errors import Unusable

_ABOUT = """\
Let policies learn in FOLDER/train, all with the same budget, and judge them in FOLDER/test with the same visitors and
the same luck: cumulative reward, session length (slates until the user leaves) and success rate (visits with a
purchase), each with its 95 % bootstrap interval over visits and runs.

  random, trending, cooccurrence   know the log of the first period
  dqn DISCOUNT                     the same Double-Q network for each discount, ε-greedy online; with 0 it is greedy on
                                   the next reward
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="let policies learn in one period's shop, judge them in the later one's",
        description=_ABOUT,
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Learn, judge, show.

    Raises:
        Unusable: the folder holds no simulators, or a constant is none.
    """
    from shared.simulator.simulator import Simulator

    changes = _changes(arguments.changes)
    train, test = (Simulator.load(arguments.folder / name).changed(changes) for name in (TRAIN, TEST))

    import torch  # takes seconds, which neither other commands nor a mistake need wait for

    from shared.simulator.contest import Contest, contest

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
