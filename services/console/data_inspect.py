"""`freshet data inspect`: what a file holds, and what to do with it."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from replay.formats import recognise
from replay.guess import Guess, guess
from replay.head import Head
from replay.mapping import Mapping as ColumnMapping
from replay.mapping import load_mapping
from replay.mapping_text import as_toml
from replay.progress import Forecast, bar
from replay.rows import Dialect
from replay.settings import ReplaySettings
from services.console.data_findings import lines_of
from services.console.terminal import Terminal
from shared.errors import Unusable
from shared.settings import load

if TYPE_CHECKING:
    from replay.findings import Findings

_QUIET_SECONDS = 1.0  # so long it takes to see a small file through

_ABOUT = """\
Read a file once, from its beginning to its end, and say what it holds: its format, how many users and products, the
time it spans, what is missing, which lines can't be used and why, and good values for the settings that depend on it.
Nothing is sent and nothing is kept. For a CSV in no known format a mapping is proposed, shown, and used for what is
said.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("inspect", help="what a file holds, and what to do with it", description=_ABOUT)
    parser.add_argument("file", type=Path, metavar="FILE", help="what users did, or what products there are")
    parser.add_argument("--mapping", type=Path, metavar="MAP.toml", help="which column of a CSV is what")
    parser.add_argument(
        "--write-mapping", type=Path, metavar="MAP.toml", help="write the mapping that was used to a new file"
    )
    parser.add_argument("--overwrite", action="store_true", help="with --write-mapping: also where that file exists")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON, and nothing else")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Inspect it.

    Raises:
        Unusable: the file or the mapping can't be used, or the mapping to write exists.
    """
    from replay.inspection import inspect  # takes a while, which other commands need not wait for

    settings = load(ReplaySettings, environ)
    target: Path | None = arguments.write_mapping
    if target is not None and target.exists() and not arguments.overwrite:
        raise Unusable(f"{target} exists; name another file, or say --overwrite")
    given = None if arguments.mapping is None else load_mapping(arguments.mapping)
    proposed: Guess | None = None
    try:
        found = recognise(arguments.file, given, settings)
    except Unusable as error:
        proposed = _proposal(arguments.file, given, settings, error)
        if not arguments.json:
            _show(proposed, arguments.file, terminal)
        given = proposed.mapping
        found = recognise(arguments.file, given, settings)
    if target is not None:
        _write(target, proposed, found.mapping)
    screen = Terminal(sys.stderr)
    findings = inspect(arguments.file, found, given, settings, _Progress(screen))
    screen.clear()
    if arguments.json:
        terminal.say(findings.model_dump_json(indent=2))
        return 0
    for line in lines_of(findings):
        terminal.say(line)
    if target is not None:
        terminal.say(f"The mapping was written to {target}.")
    _say_next(findings, arguments, proposed, terminal)
    return 0


def _proposal(file: Path, given: ColumnMapping | None, settings: ReplaySettings, error: Unusable) -> Guess:
    """A mapping for a file that nobody knows.

    Raises:
        Unusable: the first error, where a mapping was given or there are no columns to guess from.
    """
    if given is not None:
        raise error
    head = Head(file, settings.most_line_bytes)
    if head.is_no_csv or not _has_columns(head):
        raise error
    return guess(head)


def _has_columns(head: Head) -> bool:
    """Whether lines look like rows: a delimiter that most of them have equally often, and no text of other bytes."""
    rows = head.rows(Dialect(head.delimiter("utf-8")))
    widths = [len(row) for row in rows]
    usual = max(widths, key=widths.count, default=0)
    return usual >= 2 and len(rows) >= 2 and widths.count(usual) >= 0.8 * len(head.lines)


def _show(proposed: Guess, file: Path, terminal: Terminal) -> None:
    terminal.say(f"{file} is a CSV in no known format. A mapping proposed from its columns:")
    terminal.say()
    for line in proposed.as_toml().splitlines():
        terminal.say(f"    {line}".rstrip())
    terminal.say()
    terminal.say("Read with it:")
    terminal.say()


def _write(target: Path, proposed: Guess | None, mapping: ColumnMapping | None) -> None:
    if mapping is None:
        raise Unusable("the file is no CSV and needs no mapping: leave --write-mapping out")
    text = as_toml(mapping) if proposed is None else proposed.as_toml()
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{target} can't be written ({error.strerror}); name another file") from error


class _Progress:
    """Shows how far the reading is, where that takes a while."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._forecast = Forecast()
        self._started = time.monotonic()

    def __call__(self, share: float, lines: int) -> None:
        left = self._forecast.left(share)
        if time.monotonic() - self._started > _QUIET_SECONDS:
            self._terminal.status(f"  {bar(share)} {share:4.0%}  {lines:,} lines  {left}")


def _say_next(findings: Findings, arguments: argparse.Namespace, proposed: Guess | None, terminal: Terminal) -> None:
    file = shlex.quote(str(arguments.file))
    mapping = arguments.mapping or arguments.write_mapping
    with_mapping = f" --mapping {shlex.quote(str(mapping))}" if mapping is not None else ""
    terminal.say("Next:")
    if proposed is not None and mapping is None:
        terminal.say(f"  freshet data inspect {file} --write-mapping shop.toml    # then look it through")
        with_mapping = " --mapping shop.toml"
    if findings.holds == "products":
        terminal.say(f"  python -m replay --products {file}{with_mapping}")
        terminal.say(f"  python -m replay run REVIEWS --metadata {file}    # titles and prices with the reviews")
        return
    terminal.say(f"  python -m replay run {file}{with_mapping} --within 5m")
    terminal.say(f"  make demo DATA={file}{with_mapping.replace(' --mapping ', ' MAPPING=')}")
