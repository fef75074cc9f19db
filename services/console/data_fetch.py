"""`freshet data fetch`: one published file, resumed where it was cut, held to its SHA-256."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from replay.progress import Forecast, bar
from replay.publishers import EDITIONS, WHAT, Source, editions_of, source_of
from services.console.terminal import Terminal
from shared.errors import Unavailable, Unusable

if TYPE_CHECKING:
    from replay.fetch import Fetched

_FOLDER = Path("data")

_ABOUT = """\
Fetch a dataset from its publisher into a folder. What was cut goes on where it was. The SHA-256 is recorded when a file
first comes, beside it in FILE.sha256 (`sha256sum -c` reads it); a file that is there already is checked against it and
not fetched again, and one that has changed at the publisher is refused until you accept it.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "fetch",
        help="get a dataset from its publisher",
        description=_ABOUT,
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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Fetch it, or check that it is there.

    Raises:
        Unusable: nothing is called that, nobody can be reached, or the file is another than before.
    """
    from replay.fetch import fetch, name_in  # takes a third of a second, which other commands need not wait for

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


def _source(arguments: argparse.Namespace) -> Source:
    if (arguments.name is None) == (arguments.url is None):
        raise Unusable("name one dataset (`freshet data list` shows them), or give an address with --url")
    if arguments.url is not None:
        return Source(edition="", what="", url=arguments.url)
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


def _tell(fetched: Fetched, source: Source, terminal: Terminal) -> None:
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


def _elsewhere(source: Source) -> str:
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
