"""`freshet data`: get a dataset from its publisher, and see what a file holds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from replay.fetching.publishers import EDITIONS, PUBLICATIONS, WHAT, PublishedFile, editions_of, source_of
from services.console import data_inspect
from shared.process.errors import Unavailable, Unusable
from shared.process.terminal import Forecast, Terminal, bar

# `freshet data list`: what can be fetched by name.


def add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "list",
        help="what can be fetched by name",
        description="The datasets that can be fetched by name, and how many reviews or sales each has in all.",
    )
    parser.set_defaults(run=run_list)


def run_list(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """List them, the categories of all editions side by side."""
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
    terminal.say("What there is of each category (--what), the first where nothing is asked for:")
    for edition in EDITIONS:
        publication = PUBLICATIONS[edition]
        terminal.say(f"  {edition}  {', '.join(publication.files):<32}  {publication.title}")
    for what, meaning in WHAT.items():
        terminal.say(f"  {what:<9} {meaning}")
    terminal.say()
    terminal.say("Such as: freshet data fetch Musical_Instruments   (5-core of 2014: 10,261 reviews, 2.5 MB)")
    return 0


def _count(reviews: int | None) -> str:
    return "-" if reviews is None else f"{reviews:,}"


# `freshet data fetch`: one published file, resumed where it was cut, held to its SHA-256.

if TYPE_CHECKING:
    from replay.fetching.fetch import Fetched

_FOLDER = Path("data")

_ABOUT_FETCH = """\
Fetch a dataset from its publisher into a folder. What was cut goes on where it was. The SHA-256 is recorded when a file
first comes, beside it in FILE.sha256 (`sha256sum -c` reads it); a file that is there already is checked against it and
not fetched again, and one that has changed at the publisher is refused until you accept it.
"""


def add_fetch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
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
    parser.add_argument("--again", action="store_true", help="fetch it also where it is there already")
    parser.add_argument("--accept-change", action="store_true", help="take the file though it is another than before")
    parser.set_defaults(run=run_fetch)


def run_fetch(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Fetch it, or check that it is there.

    Raises:
        Unusable: nothing is called that, nobody can be reached, or the file is another than before.
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
    _tell(fetched, source, terminal)
    return 0


def _source(arguments: argparse.Namespace) -> PublishedFile:
    if (arguments.name is None) == (arguments.url is None):
        raise Unusable("name one dataset (`freshet data list` shows them), or give an address with --url")
    if arguments.url is not None:
        return PublishedFile(edition="", what="", url=arguments.url)
    return source_of(arguments.name, arguments.edition, arguments.what, arguments.mirror)


def _progress(terminal: Terminal) -> Callable[[int, int | None], None]:
    """What shows how far a download is."""
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


def _tell(fetched: Fetched, source: PublishedFile, terminal: Terminal) -> None:
    if fetched.was_here:
        said = "was here already and is what was recorded" if fetched.was_known else "was here already"
    else:
        said = "fetched, and the same as before" if fetched.was_known else "fetched"
    terminal.say(f"  {fetched.file}: {megabytes(fetched.size)}, {said}")
    kept = "" if fetched.was_known else f"  (recorded in {fetched.file.name}.sha256)"
    terminal.say(f"  SHA-256 {fetched.sha256}{kept}")
    terminal.say()
    terminal.say(f"Next: freshet data inspect {fetched.file}")
    if source.publication is not None and "metadata" in source.publication.files and source.what != "metadata":
        terminal.say("      the titles and prices of its products come with --what metadata")


def _elsewhere(source: PublishedFile) -> str:
    """Where else to look."""
    if source.publication is None:
        return ""
    mirrors = "".join(f"\nThe same files: --mirror {mirror}" for mirror in source.publication.mirrors)
    return (
        f"{mirrors}\nThe publisher's page: {source.publication.page}\n"
        "A file that you fetch elsewhere, with a browser say, is as good: freshet data inspect FILE"
    )


def _also(others: list[str]) -> str:
    return f" (also: {', '.join(others)})" if others else ""


def megabytes(size: float) -> str:
    """A size for people."""
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = "Get a dataset from its publisher, and see what a file holds before it is replayed."
    what = parser.add_subparsers(dest="what", required=True, metavar="list | fetch | inspect")
    add_list(what)
    add_fetch(what)
    data_inspect.add(what)
