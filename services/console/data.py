"""`freshet data`: get a dataset from its publisher, and see what a file holds.

list       what can be fetched by name
fetch      one published file, resumed where it was cut, held to its SHA-256
inspect    what a file holds, and what to do with it
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from replay.fetching.publishers import EDITIONS, PUBLICATIONS, WHAT, PublishedFile, editions_of, source_of
from replay.options import moment
from replay.reading.formats import Head, recognise
from replay.reading.guess import Guess, guess
from replay.reading.lines import Dialect
from replay.reading.mapping import ColumnMapping, as_toml, load_mapping
from replay.settings import ReplaySettings
from shared.process.errors import Unavailable, Unusable
from shared.process.settings import load
from shared.process.terminal import Forecast, Terminal, bar

if TYPE_CHECKING:
    from replay.fetching.fetch import Fetched
    from replay.reading.inspection import Findings, Spread

_FOLDER = Path("data")
_QUIET_SECONDS = 1.0  # a file that is read sooner shows no progress
_LABEL = 14  # columns of what stands before a line of findings

_ABOUT_FETCH = """\
Fetch a dataset from its publisher into a folder. A download that was cut goes on where it stopped. The SHA-256 is
recorded when a file first comes, beside it in FILE.sha256 (`sha256sum -c` reads it). A file that is there already is
checked against it and not fetched again; one that has changed at the publisher is refused until you accept the change.
"""

_ABOUT_INSPECT = """\
Read a file once, from beginning to end, and say what it holds: its format, how many users and products, the time it
spans, what is missing, which lines can't be used and why, and good values for the settings that depend on it. Nothing
is sent and nothing is kept. For a CSV in no known format a mapping is proposed, shown, and used.
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = "Get a dataset from its publisher, and see what a file holds before it is replayed."
    commands = parser.add_subparsers(dest="what", required=True, metavar="list | fetch | inspect")
    _add_list(commands)
    _add_fetch(commands)
    _add_inspect(commands)


# list


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "list",
        help="what can be fetched by name",
        description="The datasets that can be fetched by name, and how many reviews or sales each has in all.",
    )
    parser.set_defaults(run=run_list)


def run_list(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """List the datasets, the categories of all editions side by side."""
    terminal.say(f"{'reviews of':<30}" + "".join(f"{edition:>14}" for edition in EDITIONS))
    names: dict[str, dict[str, int]] = {}
    for edition in EDITIONS:
        for name, reviews in PUBLICATIONS[edition].names.items():
            names.setdefault(name.title() if name.isupper() else name, {})[edition] = reviews
    for name in sorted(names):
        terminal.say(f"  {name:<28}" + "".join(f"{_count(names[name].get(edition)):>14}" for edition in EDITIONS))
    terminal.say()
    for name, publication in PUBLICATIONS.items():
        if name not in EDITIONS:
            terminal.say(f"  {name:<28}{_count(next(iter(publication.names.values()))):>14}   {publication.title}")
    terminal.say()
    terminal.say("The files of each category (--what); the first is the default:")
    for edition in EDITIONS:
        publication = PUBLICATIONS[edition]
        terminal.say(f"  {edition}  {', '.join(publication.files):<32}  {publication.title}")
    for what, meaning in WHAT.items():
        terminal.say(f"  {what:<9} {meaning}")
    terminal.say()
    terminal.say("For example: freshet data fetch Musical_Instruments   (5-core of 2014: 10,261 reviews, 2.5 MB)")
    return 0


def _count(reviews: int | None) -> str:
    return "-" if reviews is None else f"{reviews:,}"


# fetch


def _add_fetch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fetch",
        help="get a dataset from its publisher",
        description=_ABOUT_FETCH,
        epilog="files:\n" + "\n".join(f"  {what:<9} {meaning}" for what, meaning in WHAT.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="as `freshet data list` has it; case doesn't matter")
    parser.add_argument("--edition", choices=EDITIONS, help="default: the oldest that has it, which is the smallest")
    parser.add_argument("--what", choices=tuple(WHAT), help="which of its files (default: 5-core; all of 2023)")
    parser.add_argument("--to", type=Path, default=_FOLDER, metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--mirror", metavar="URL", help="another host with the publisher's folders below this address")
    parser.add_argument("--url", metavar="URL", help="any other file, by its address")
    parser.add_argument("--again", action="store_true", help="fetch it even where it is there already")
    parser.add_argument("--accept-change", action="store_true", help="take the file though it has changed")
    parser.set_defaults(run=run_fetch)


def run_fetch(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Fetch a file, or check the one that is there.

    Raises:
        Unusable: no dataset has that name, no host can be reached, or the file has changed.
    """
    from replay.fetching.fetch import (  # takes a third of a second, which other commands need not wait for
        fetch,
        name_in,
    )

    source = _source(arguments)
    name = source.saved or name_in(source.url)
    terminal.say(f"{name} from {source.url}")
    if source.publication is not None:
        others = [f"--edition {other}" for other in editions_of(arguments.name) if other != source.edition]
        terminal.say(f"  {source.publication.title}; {WHAT[source.what]}{_also(others)}")
    try:
        fetched = fetch(
            source.url,
            arguments.to,
            saved=source.saved,
            again=arguments.again,
            accept_change=arguments.accept_change,
            look=_progress(terminal),
            say=lambda line: terminal.say(f"  {line}"),
        )
    except Unavailable as error:
        raise Unusable(f"{error}{_elsewhere(source)}") from error
    _say_fetched(fetched, source, terminal)
    return 0


def _source(arguments: argparse.Namespace) -> PublishedFile:
    if (arguments.name is None) == (arguments.url is None):
        raise Unusable("name one dataset (`freshet data list` shows them), or give an address with --url")
    if arguments.url is not None:
        return PublishedFile(edition="", what="", url=arguments.url)
    return source_of(arguments.name, arguments.edition, arguments.what, arguments.mirror)


def _progress(terminal: Terminal) -> Callable[[int, int | None], None]:
    """A function that shows how far a download is."""
    forecast = Forecast()
    first: tuple[float, int] | None = None  # (seconds, bytes)

    def look(here: int, size: int | None) -> None:
        nonlocal first
        now = time.monotonic()
        first = first or (now, here)
        rate = (here - first[1]) / (now - first[0]) if now > first[0] else 0.0
        if size:
            left = forecast.left(here / size)
            terminal.status(
                f"  {bar(here / size)} {here / size:4.0%}  {megabytes(here)} of {megabytes(size)}"
                f"  {megabytes(rate)}/s  {left}"
            )
        else:
            terminal.status(f"  {megabytes(here)}  {megabytes(rate)}/s")

    return look


def _say_fetched(fetched: Fetched, source: PublishedFile, terminal: Terminal) -> None:
    if fetched.was_here:
        state = "is here already and matches its checksum" if fetched.was_known else "is here already"
    else:
        state = "fetched, unchanged since last time" if fetched.was_known else "fetched"
    terminal.say(f"  {fetched.file}: {megabytes(fetched.size)}, {state}")
    kept = "" if fetched.was_known else f"  (recorded in {fetched.file.name}.sha256)"
    terminal.say(f"  SHA-256 {fetched.sha256}{kept}")
    terminal.say()
    terminal.say(f"Next: freshet data inspect {fetched.file}")
    if source.publication is not None and "metadata" in source.publication.files and source.what != "metadata":
        terminal.say("      --what metadata fetches the titles and prices of its products")


def _elsewhere(source: PublishedFile) -> str:
    """Where else to look."""
    if source.publication is None:
        return ""
    mirrors = "".join(f"\nThe same files: --mirror {mirror}" for mirror in source.publication.mirrors)
    return (
        f"{mirrors}\nThe publisher's page: {source.publication.page}\n"
        "A file that you fetch in another way, with a browser for example, works as well: freshet data inspect FILE"
    )


def _also(others: list[str]) -> str:
    return f" (also: {', '.join(others)})" if others else ""


def megabytes(size: float) -> str:
    """A size for people."""
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


# inspect


def _add_inspect(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "inspect", help="what a file holds, and what to do with it", description=_ABOUT_INSPECT
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what users did, or what products there are")
    parser.add_argument("--mapping", type=Path, metavar="MAP.toml", help="which column of a CSV is what")
    parser.add_argument(
        "--write-mapping", type=Path, metavar="MAP.toml", help="write the mapping that was used to a new file"
    )
    parser.add_argument("--overwrite", action="store_true", help="with --write-mapping: also where that file exists")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, and nothing else")
    parser.set_defaults(run=run_inspect)


def run_inspect(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Inspect a file.

    Raises:
        Unusable: the file or the mapping can't be used, or the mapping to write exists.
    """
    from replay.reading.inspection import inspect  # takes a while, which other commands need not wait for

    settings = load(ReplaySettings, environ)
    target: Path | None = arguments.write_mapping
    if target is not None and target.exists() and not arguments.overwrite:
        raise Unusable(f"{target} exists; name another file, or add --overwrite")
    given = None if arguments.mapping is None else load_mapping(arguments.mapping)
    proposed: Guess | None = None
    try:
        source = recognise(arguments.file, given, settings)
    except Unusable as error:
        proposed = _proposal(arguments.file, given, settings, error)
        if not arguments.json:
            _say_proposal(proposed, arguments.file, terminal)
        given = proposed.mapping
        source = recognise(arguments.file, given, settings)
    if target is not None:
        _write_mapping(target, proposed, source.mapping)
    screen = Terminal(sys.stderr)
    findings = inspect(arguments.file, source, given, settings, _ReadingProgress(screen), time.time_ns() // 1_000_000)
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
    """A mapping for a file in no known format.

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


def _say_proposal(proposed: Guess, file: Path, terminal: Terminal) -> None:
    terminal.say(f"{file} is a CSV in no known format. A mapping proposed from its columns:")
    terminal.say()
    for line in proposed.as_toml().splitlines():
        terminal.say(f"    {line}".rstrip())
    terminal.say()
    terminal.say("Read with it:")
    terminal.say()


def _write_mapping(target: Path, proposed: Guess | None, mapping: ColumnMapping | None) -> None:
    if mapping is None:
        raise Unusable("the file is not a CSV and needs no mapping: leave --write-mapping out")
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
        terminal.say(f"  freshet data inspect {file} --write-mapping shop.toml    # then check it")
        with_mapping = " --mapping shop.toml"
    if findings.holds == "products":
        terminal.say(f"  python -m replay --products {file}{with_mapping}")
        terminal.say(f"  python -m replay run REVIEWS --metadata {file}    # titles and prices with the reviews")
        return
    until = f" --until {moment(findings.ahead.earliest_ms)}" if findings.ahead is not None else ""
    terminal.say(f"  python -m replay run {file}{with_mapping} --within 5m{until}")
    terminal.say(f"  make demo DATA={file}{with_mapping.replace(' --mapping ', ' MAPPING=')}")


def lines_of(findings: Findings) -> Iterator[str]:
    """The findings as lines for people, the most important first."""
    yield f"{findings.file}: {findings.format}"
    yield ""
    yield _line("lines", _lines(findings))
    if findings.holds == "events":
        yield from _of_events(findings)
    else:
        yield _line("products", f"{findings.products:,}")
    if missing := _missing(findings):
        yield _line("missing", missing)
    if findings.price is not None:
        yield _line("price", _spread(findings.price))
    if findings.helpful is not None:
        yield _line("helpful votes", f"{_spread(findings.helpful)}; the file does not say how many voted in all")
    yield ""
    yield from _of_rejected(findings)
    yield from _of_settings(findings)


def _lines(findings: Findings) -> str:
    left_out = sum(findings.rejected.values())
    count = f"{findings.lines:,}" + (f", {left_out:,} can't be used" if left_out else ", all can be used")
    return count + (f"; {findings.repeats:,} are exact copies of an earlier one, left out" if findings.repeats else "")


def _of_events(findings: Findings) -> Iterator[str]:
    events = sum(findings.kinds.values())
    alone = f", {findings.one_event_users:,} ({_share(findings.one_event_users, findings.users)}) with one event only"
    yield _line("users", f"{findings.users:,}" + (alone if findings.one_event_users else ", all with several events"))
    if findings.guests:
        share = _share(findings.guests, events)
        yield _line("guests", f"{findings.guests:,} events ({share}) have no user: they count for trending only")
    yield _line("products", f"{findings.products:,}")
    grain = ", whole days" if findings.whole_days else ""
    yield _line("time", f"{_moment(findings.first_ms, findings)} to {_moment(findings.last_ms, findings)}{grain}")
    if (ahead := findings.ahead) is not None:
        lines, which = (f"{ahead.lines:,} lines", "first ") if ahead.lines > 1 else ("1 line", "")
        yield _line(
            "future",
            f"{lines}, more than a day ahead of the clock, will go to the dead letters: {which}line "
            f"{ahead.first_line}, {_moment(ahead.first_line_ms, findings)}",
        )
    yield _line("kinds", ", ".join(f"{kind} {count:,}" for kind, count in findings.kinds.items()))
    if findings.stars:
        rated = sum(findings.stars.values())
        yield _line("stars", ", ".join(f"{stars}: {_share(count, rated)}" for stars, count in findings.stars.items()))
    if findings.seen_again:
        yield _line(
            "again",
            f"{findings.seen_again:,} reviews or ratings ({_share(findings.seen_again, events)}) of a product that the "
            "user had reviewed or rated before",
        )


def _missing(findings: Findings) -> str:
    some = [f"{name} {_percent(share)}" for name, share in findings.missing.items() if 0 < share < 1]
    everywhere = [name for name, share in findings.missing.items() if share == 1]
    return ", ".join([*some, *([f"{', '.join(everywhere)} 100 %"] if everywhere else [])])


def _of_rejected(findings: Findings) -> Iterator[str]:
    if findings.broken:
        yield f"{findings.broken}. The part that could be read is used; download the file again for the rest."
        yield ""
    if not findings.rejected:
        return
    yield "Lines that can't be used, by reason, with the first of each:"
    for reason, count in findings.rejected.items():
        yield f"  {count:>9,}  {reason}"
        for example in findings.examples.get(reason, []):
            yield f"             {example}"
    if findings.rejected.get("bad_rating", 0) > 0.1 * findings.lines:
        yield "  Stars go from 1 to 5: if the file has another scale, convert it first, or leave the column out."
    yield ""


def _of_settings(findings: Findings) -> Iterator[str]:
    if findings.scales:
        yield "Good values for this file (99 of 100 stay below), for the environment or .env:"
        for name, value in findings.scales.items():
            yield f"  {name}={value:g}"
        yield ""
    elif findings.holds == "events" and findings.price is None:
        yield "No line has a price. With --metadata events get the products' prices: inspect that for a good scale."
        yield ""


def _spread(values: Spread) -> str:
    return f"{values.least:g} to {values.most:g}, half below {values.median:g}, 99 % below {values.p99:.6g}"


def _moment(time_ms: int, findings: Findings) -> str:
    form = "%Y-%m-%d" if findings.whole_days else "%Y-%m-%d %H:%M:%S"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(form)


def _share(count: int, total: int) -> str:
    return _percent(count / max(1, total))


def _percent(share: float) -> str:
    """A share that is never rounded to nothing or to all."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{min(share, 0.999) if share < 1 else 1:.1%}".replace(".0%", "%").replace("%", " %")


def _line(name: str, text: str) -> str:
    return f"  {name:<{_LABEL}}{text}"
