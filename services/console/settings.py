"""`freshet settings`: every variable of every service."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from pydantic_settings import BaseSettings

from services.embedded.variables import CLASSES
from shared.process.settings import ServiceSettings, describe, names_of, prefix_of
from shared.process.terminal import Terminal


def add(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.description = "List every variable of every service, its default and what it means."
    parser.add_argument("--markdown", action="store_true", help="print the page docs/settings.md")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, terminal: Terminal, environ: Mapping[str, str]) -> int:  # noqa: ARG001
    """Show them."""
    terminal.say(markdown() if arguments.markdown else describe(*CLASSES))
    return 0


_PAGE = """\
# Settings

This page lists every setting of Freshet. `freshet settings --markdown` prints it, `freshet settings` the same for a
terminal, and `--help` of a service its own.

Settings are environment variables. A service refuses unknown names under its own prefixes, and the console refuses any
`FRESHET_` name that no service knows, so a misspelt name is never silently ignored.
"""


def markdown() -> str:
    """The page docs/settings.md: what every service has once, then each service's own."""
    services = [cls for cls in CLASSES if issubclass(cls, ServiceSettings)]
    names = ", ".join(prefix_of(cls).split("_")[1] for cls in services)
    parts = [_PAGE, "## Every service", "", f"`<SERVICE>` is one of {names}.", ""]
    parts += _table(ServiceSettings, "FRESHET_<SERVICE>_")
    for cls in CLASSES:
        parts += ["", f"## `{prefix_of(cls)}…`", "", *_table(cls, prefix_of(cls))]
    return "\n".join(parts)


def _table(cls: type[BaseSettings], prefix: str) -> Iterator[str]:
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for name, (field, info) in zip(names_of(cls), cls.model_fields.items(), strict=True):
        inherited = ServiceSettings.model_fields.get(field)
        if cls is not ServiceSettings and inherited is not None and inherited.default == info.default:
            continue
        variable = name if cls is not ServiceSettings else f"{prefix}{field.upper()}"
        default = "" if info.default in (None, "") else f"`{info.default}`"
        meaning = (info.description or field).replace("|", r"\|")
        yield f"| `{variable}` | {default} | {meaning} |"
