"""The documentation as tests read it: pages, their headings, their blocks of code, their commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import ROOT

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Page:
    """One page of the documentation."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return str(self.path.relative_to(ROOT))

    @property
    def prose(self) -> str:
        """Its text without blocks of code."""
        return _BLOCK.sub("", self.text)

    @property
    def anchors(self) -> set[str]:
        """What a link may name after `#`, as GitHub makes it of headings."""
        headings = re.findall(r"^#+ +(.*)$", self.prose, flags=re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def blocks(self, language: str) -> list[str]:
        """Its blocks of code in a language, in order."""
        return [text for written, text in _BLOCK.findall(self.text) if written == language]

    def steps(self) -> list[tuple[str, str]]:
        """All its blocks, in order: language and text."""
        return _BLOCK.findall(self.text)

    def inline(self) -> list[str]:
        """What stands between backticks in its prose."""
        return [code.replace("\\|", "|") for code in _INLINE.findall(self.prose)]


def page(name: str) -> Page:
    """One page, by its path in the repository."""
    return Page(ROOT / name, (ROOT / name).read_text(encoding="utf-8"))


def pages() -> list[Page]:
    """Every page."""
    return [page(str(path.relative_to(ROOT))) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])]


def commands(block: str) -> Iterator[list[str]]:
    """The words of each command of a shell block; one may go on over lines, inside quotes or after a backslash."""
    pending = ""
    for line in block.splitlines():
        pending += line.removesuffix("\\") if line.endswith("\\") else f"{line}\n"
        if line.endswith("\\"):
            continue
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quote that is still open
            continue
        pending = ""
        if words:
            yield words
    assert not pending, f"a quote is never closed: {pending}"


def rows(text: str) -> list[str]:
    """The lines of a page's tables that are no heads and no rules."""
    lines = [*text.splitlines(), ""]
    rules = {n for n, line in enumerate(lines) if line.startswith("|-") and set(line) <= set("|-")}
    return [line for n, line in enumerate(lines) if line.startswith("|") and not {n, n + 1} & rules]
