"""freshet: a recommender that learns while the traffic flows.

exit status: 0 done, 1 something failed, 2 what was given can't be used, 130 interrupted
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import FrameType
from typing import NamedTuple

FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


class Command(NamedTuple):
    """One command of the console, whose module is imported only when the command is named."""

    module: str  # has add(parser), which says what the command takes
    help: str  # one line
    calls_system: bool = False  # it finds the system that runs in this folder


COMMANDS = {
    "demo": Command("services.console.demo", "show the whole loop on one machine"),
    "up": Command("services.console.up", "run the system, without a replay"),
    "data": Command("services.console.data", "get a dataset from its publisher, and see what a file holds"),
    "evaluate": Command("services.console.evaluate", "judge policies on a dataset"),
    "report": Command("services.console.report", "a page with figures of how policies learn and compare"),
    "simulate": Command("services.console.simulate", "a simulated shop: what a policy is worth in the long run"),
    "graph": Command("services.console.graph", "which products go together"),
    "topics": Command(
        "services.console.topics", "create the topics that are missing, check the others", calls_system=True
    ),
    "models": Command(
        "services.console.models", "list the model versions, or pin the one that is served", calls_system=True
    ),
    "dead-letters": Command(
        "services.console.dead_letters",
        "look at records that could not be understood, and put repaired ones back",
        calls_system=True,
    ),
    "settings": Command("services.console.settings", "list every variable, its default and what it means"),
}

# Extra → the packages that it installs and the commands import; `evaluate` adds to `console`.
PACKAGES = {
    "console": (
        "confluent_kafka", "duckdb", "grpc_health", "numpy", "pandas", "prometheus_client", "pydantic",
        "pydantic_settings", "requests", "safetensors",
    ),
    "evaluate": (
        "cramjam", "faust", "grpc_reflection", "gymnasium", "implicit", "matplotlib", "networkx", "numba", "onnx",
        "onnxruntime", "pyarrow", "scipy", "seaborn", "threadpoolctl", "torch", "uvloop", "vaderSentiment",
    ),
}  # fmt: skip


def main() -> int:
    """Run one command; its exit status. A package that is not installed is named, with the extra that carries it."""
    try:
        return _run(sys.argv[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        extra = next((extra for extra, packages in PACKAGES.items() if missing in packages), None)
        if extra is None or find_spec(missing) is not None:  # a module of ours, say, or a wrong name in a package
            raise
        print(f"freshet: {missing} is not installed: pip install 'freshet[{extra}]'", file=sys.stderr)
        return UNUSABLE


def _run(words: Sequence[str]) -> int:
    arguments = parse(words)
    from services.embedded.variables import refuse_unknown  # what follows would cost `--help` half a second
    from shared.process.errors import FreshetError, Unusable
    from shared.process.running_system import environment_here
    from shared.process.terminal import Terminal

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ★ still gets its line
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        refuse_unknown(os.environ)
        environ: Mapping[str, str] = os.environ
        if COMMANDS[arguments.command].calls_system:
            environ = environment_here(os.environ, say=lambda line: print(f"freshet: {line}", file=sys.stderr))
        return int(arguments.run(arguments, Terminal(sys.stdout), environ))
    except Unusable as error:
        print(f"freshet: {error}", file=sys.stderr)
        return UNUSABLE
    except FreshetError as error:
        print(f"freshet: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # whoever read the output has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; of the commands only the one that is named is imported."""
    parser = argparse.ArgumentParser(
        prog="freshet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    named = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.help)
        if name == named:
            import_module(command.module).add(added)
    return parser.parse_args(words)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
