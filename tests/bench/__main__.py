"""Benchmarks: each figure beside its own limit, measured in the same run.

    python -m tests.bench [NAME …] [--json PATH] [--quick]

It reports: a figure that is missed is shown as missed, and the exit status is 0 all the same. It is 1 when a
benchmark fails, 2 when there is none of a name.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.process.errors import Unusable
from tests.bench.figures import BenchSettings, Figure, table
from tests.bench.machine import machine

HERE = Path(__file__).parent
DATA = Path(os.environ.get("FRESHET_TEST_DATA", HERE.parents[2] / "shared" / "data"))
FAILED, UNUSABLE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks, show the table, keep the JSON; the exit status."""
    known = benches()
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog="\n".join(["benchmarks:", *(f"  {name:<14} {about}" for name, about in known.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; default: all")
    parser.add_argument("--json", type=Path, metavar="PATH", help="keep the figures and facts of the machine here")
    parser.add_argument("--quick", action="store_true", help="small and rough, to see that it works")
    given = parser.parse_args(arguments)
    try:
        names = chosen(given.names, known)
    except Unusable as error:
        print(f"bench: {error}", file=sys.stderr)
        return UNUSABLE
    figures: list[Figure] = []
    report: dict[str, Any] = {"machine": machine(), "quick": given.quick, "figures": [], "failed": []}
    for name in names:
        _say(name, known[name])
        start = time.monotonic()
        try:
            measured = _run(name, quick=given.quick)
        except Exception:  # noqa: BLE001  # one that fails must not take the others' figures with it
            traceback.print_exc()
            report["failed"].append(name)
            continue
        _say(name, f"done in {time.monotonic() - start:.0f} s")
        figures += measured
        report["figures"] += [{"bench": name, **figure.as_json()} for figure in measured]
    if figures:
        print(table(figures))
    if given.json is not None:
        given.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _say("bench", f"kept as {given.json}")
    if report["failed"]:
        print(f"bench: failed: {', '.join(report['failed'])}", file=sys.stderr)
    return FAILED if report["failed"] else 0


def benches() -> dict[str, str]:
    """Each benchmark of this folder, a module with a function `run`, and what it measures."""
    measured = {}
    for path in sorted(HERE.glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in module.body):
            measured[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return measured


def chosen(names: Sequence[str], known: dict[str, str]) -> list[str]:
    """The benchmarks to run, each once: those named, or all.

    Raises:
        Unusable: there is none of that name.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise Unusable(f"no benchmark is called {name!r}; {hint}")
    return list(dict.fromkeys(names)) or list(known)


def _run(name: str, *, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix=f"freshet-bench-{name}-") as folder:
        settings = BenchSettings(
            quick=quick,
            folder=Path(folder),
            data=DATA if DATA.is_dir() else None,
            say=lambda line: _say(name, line),
        )
        figures: list[Figure] = importlib.import_module(f"tests.bench.{name}").run(settings)
        return figures


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
