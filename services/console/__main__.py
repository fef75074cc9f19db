"""freshet: a recommender that learns while the traffic flows.

exit status: 0 done, 1 something failed, 2 what was given can't be used, 130 interrupted
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from types import FrameType

from services.console import (
    data,
    dead_letters,
    demo,
    evaluate,
    graph,
    models,
    report,
    settings_table,
    simulate,
    topics,
    up,
)
from services.console.known import refuse_unknown
from services.console.terminal import Terminal
from shared.errors import FreshetError, Unusable

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


def main() -> int:
    """Run one command; its exit status."""
    arguments = _parser().parse_args()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ★ still gets its line
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        refuse_unknown(os.environ)
        return int(arguments.run(arguments, Terminal(sys.stdout), os.environ))
    except Unusable as error:
        print(f"freshet: {error}", file=sys.stderr)
        return UNUSABLE
    except FreshetError as error:
        print(f"freshet: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who read the output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="freshet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    every = (demo, up, data, evaluate, report, simulate, graph, topics, models, dead_letters, settings_table)
    for command in every:
        command.add(commands)
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
