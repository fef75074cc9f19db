"""`freshet data inspect`: what a file holds, and what to do with it."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replay.reading.formats import Head, recognise
from replay.reading.guess import Guess, guess
from replay.reading.lines import Dialect
from replay.reading.mapping import ColumnMapping, as_toml, load_mapping
from replay.settings import ReplaySettings
from shared.process.errors import Unusable
from shared.process.settings import load
from shared.process.terminal import Forecast, Terminal, bar

# What was found in a file, as lines for people. Pure.

if TYPE_CHECKING:
    from replay.reading.inspection import Findings, Spread

_COLUMN = 14


def lines_of(found: Findings) -> Iterator[str]:
    """All that is worth saying, the most important first."""
    yield f"{found.file}: {found.format}"
    yield ""
    yield _line("lines", _lines(found))
    if found.holds == "events":
        yield from _of_events(found)
    else:
        yield _line("products", f"{found.products:,}")
    if missing := _missing(found):
        yield _line("missing", missing)
    if found.price is not None:
        yield _line("price", _spread(found.price))
    if found.helpful is not None:
        yield _line("helpful votes", f"{_spread(found.helpful)}; how many voted in all is not told")
    yield ""
    yield from _of_rejected(found)
    yield from _of_settings(found)


def _lines(found: Findings) -> str:
    left_out = sum(found.rejected.values())
    said = f"{found.lines:,}" + (f", {left_out:,} can't be used" if left_out else ", all can be used")
    return said + (f"; {found.repeats:,} are exact copies of an earlier one, left out" if found.repeats else "")


def _of_events(found: Findings) -> Iterator[str]:
    events = sum(found.kinds.values())
    alone = f", {found.one_event_users:,} ({_share(found.one_event_users, found.users)}) with one event only"
    yield _line("users", f"{found.users:,}" + (alone if found.one_event_users else ", all with several events"))
    if found.guests:
        share = _share(found.guests, events)
        yield _line("guests", f"{found.guests:,} events ({share}) have no user: they count for trending only")
    yield _line("products", f"{found.products:,}")
    grain = ", whole days" if found.whole_days else ""
    yield _line("time", f"{_moment(found.first_ms, found)} to {_moment(found.last_ms, found)}{grain}")
    yield _line("kinds", ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.items()))
    if found.stars:
        rated = sum(found.stars.values())
        yield _line("stars", ", ".join(f"{stars}: {_share(count, rated)}" for stars, count in found.stars.items()))
    if found.seen_again:
        yield _line(
            "again",
            f"{found.seen_again:,} reviews or ratings ({_share(found.seen_again, events)}) of a product that the user "
            "had reviewed or rated before",
        )


def _missing(found: Findings) -> str:
    some = [f"{name} {_percent(share)}" for name, share in found.missing.items() if 0 < share < 1]
    everywhere = [name for name, share in found.missing.items() if share == 1]
    return ", ".join([*some, *([f"{', '.join(everywhere)} 100 %"] if everywhere else [])])


def _of_rejected(found: Findings) -> Iterator[str]:
    if found.broken:
        yield f"{found.broken}. What could be read of it is used: download it again to have the rest."
        yield ""
    if not found.rejected:
        return
    yield "Lines that can't be used, by reason, with the first of each:"
    for reason, count in found.rejected.items():
        yield f"  {count:>9,}  {reason}"
        for example in found.examples.get(reason, []):
            yield f"             {example}"
    if found.rejected.get("bad_rating", 0) > 0.1 * found.lines:
        yield "  Stars go from 1 to 5: where the file has another scale, convert it first, or leave the column out."
    yield ""


def _of_settings(found: Findings) -> Iterator[str]:
    if found.scales:
        yield "Good values for this file (99 of 100 stay below), for the environment or .env:"
        for name, value in found.scales.items():
            yield f"  {name}={value:g}"
        yield ""
    elif found.holds == "events" and found.price is None:
        yield "No line has a price. Those of metadata become the events' (--metadata): inspect that for a good scale."
        yield ""


def _spread(values: Spread) -> str:
    return f"{values.least:g} to {values.most:g}, half below {values.median:g}, 99 % below {values.p99:.6g}"


def _moment(time_ms: int, found: Findings) -> str:
    form = "%Y-%m-%d" if found.whole_days else "%Y-%m-%d %H:%M:%S"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(form)


def _share(count: int, total: int) -> str:
    return _percent(count / max(1, total))


def _percent(share: float) -> str:
    """A share that is never rounded to nothing or to all."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{min(share, 0.999) if share < 1 else 1:.1%}".replace(".0%", "%").replace("%", " %")


def _line(name: str, said: str) -> str:
    return f"  {name:<{_COLUMN}}{said}"


if TYPE_CHECKING:
    from replay.reading.inspection import Findings

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
    from replay.reading.inspection import inspect  # takes a while, which other commands need not wait for

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
    findings = inspect(arguments.file, found, given, settings, _ReadingProgress(screen))
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


class _ReadingProgress:
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
