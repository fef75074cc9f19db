"""What `freshet report` does: gather, draw, write."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from services.console.report_inputs import Inputs, gather
from services.console.report_page import Shown, page
from services.console.report_plan import planned
from services.console.terminal import Terminal
from shared.errors import Unusable

PAGE = "index.html"
_DPI = 150


def make(
    arguments: argparse.Namespace, command: str, terminal: Terminal, screen: Terminal, environ: Mapping[str, str]
) -> None:
    """Make the report.

    Raises:
        Unusable: what was given can't be used, or the folder can't be written.
    """
    folder: Path = arguments.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inputs = gather(arguments, screen, environ)
        shown = list(figures(inputs, command, arguments.seed, lambda name: screen.status(f"  drawing {name}")))
        screen.clear()
        for own in shown:
            if own.picture is not None:
                (folder / f"{own.name}.png").write_bytes(own.picture)
        (folder / PAGE).write_text(page(*_head(inputs), shown, command), encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{folder} can't be written ({error.strerror or error}); name another --out") from error
    for own in shown:
        terminal.say(f"  {own.title:<58} {f'{own.name}.png' if own.picture is not None else 'input missing'}")
    terminal.say(f"The report is {folder / PAGE}.")


def _head(inputs: Inputs) -> tuple[str, list[str]]:
    found = inputs.evaluation
    data = found.get("data", {})
    seeds = ", ".join(map(str, found["seeds"]))
    about = [
        f"{data.get('events', len(inputs.data.states)):,} events of {data.get('users', 0):,} users on "
        f"{data.get('products', 0):,} products; protocol {found.get('protocol', 'prequential')}; "
        f"{found.get('judged', 0):,} events judged, each over the whole catalogue; seed {seeds}.",
    ]
    if found.get("reads_future"):
        about.append(f"Reads the future, as its source has it: {', '.join(found['reads_future'])}.")
    if not found.get("claims", False):
        about.append("Too few products, events or seeds to claim that one policy is better than another.")
    return f"Freshet: report on {inputs.data.name}", about


def figures(inputs: Inputs, command: str, seed: int, look: Callable[[str], None]) -> Iterator[Shown]:
    """Every figure of the page, those whose input is missing too.

    Args:
        command: that makes the report.
        seed: of what is drawn at random for it.
        look: hears which figure is drawn.
    """
    for own in planned(inputs, seed):
        look(own.name)
        picture = None if own.draw is None else _png(own.draw())
        yield Shown(own.name, own.title, own.caption, own.source, own.command or command, picture, own.missing)


def _png(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=_DPI, facecolor="white", metadata={"Software": "freshet"})
    return sink.getvalue()
