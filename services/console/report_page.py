"""The page of a report: every figure with what it shows and what it is made from, and nothing from another host."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

_STYLE = """
:root { color-scheme: light dark; --back: #f7f8fa; --card: #fff; --ink: #1f2937; --muted: #5b6472; --line: #e1e5ea; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171c; --card: #1d2128; --ink: #e6e9ee; --muted: #a3acba; --line: #323844; }
}
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; }
h2 { margin: 0 0 .5rem; font-size: 1.15rem; }
nav { margin: 1rem 0 2rem; columns: 18rem; font-size: .95rem; }
nav a { color: inherit; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.2rem; }
section { margin: 1.2rem 0; }
img { display: block; box-sizing: border-box; width: 100%; height: auto; }
img { padding: .5rem; background: #fff; border-radius: .4rem; }
p { margin: .7rem 0 0; max-width: 60rem; }
.made { color: var(--muted); font-size: .87rem; }
.missing { border-left: .25rem solid #d08700; padding-left: .8rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One figure of the page."""

    name: str  # of its file, without .png
    title: str
    caption: str  # what is shown
    source: str  # what it is made from
    command: str  # that made what it is made from
    picture: bytes | None  # a PNG; None: its input is missing
    missing: str = ""  # then: which, and what to do


def page(title: str, about: Sequence[str], figures: Sequence[Shown], command: str) -> str:
    """The whole page, its pictures inside it.

    Args:
        about: a line each, of what all is made from.
        command: that made the page.
    """
    contents = "".join(f'<a href="#{_(own.name)}">{_(own.title)}</a><br>' for own in figures)
    lines = "".join(f"<p>{_(line)}</p>" for line in about)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{_(title)}</h1>{lines}</header>\n<nav>{contents}</nav>\n"
        + "".join(map(_section, figures))
        + f'<footer class="made"><p>The page was made by <code>{_(command)}</code></p></footer>\n'
        + "</main>\n</body>\n</html>\n"
    )


def _section(own: Shown) -> str:
    if own.picture is None:
        body = f'<p class="missing">{_(own.missing)}</p>'
    else:
        picture = base64.b64encode(own.picture).decode()
        body = (
            f'<img alt="{_(own.title)}" src="data:image/png;base64,{picture}">\n<p>{_(own.caption)}</p>\n'
            f'<p class="made">Made from {_(own.source)}: <code>{_(own.command)}</code></p>'
        )
    return f'<section id="{_(own.name)}">\n<h2>{_(own.title)}</h2>\n{body}\n</section>\n'


def _(text: str) -> str:
    return html.escape(text)
