"""The README says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from replay.__main__ import _parser as replay_parser
from services.console.__main__ import parse
from services.console.settings_table import markdown
from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)


def commands(beginning: str) -> list[list[str]]:
    """The arguments of every command line of the README that begins so."""
    lines = [line.split("#")[0] for block in SHELL for line in block.splitlines()]
    return [line.removeprefix(beginning).split() for line in lines if line.startswith(beginning)]


def test_every_setting_is_listed_as_it_is() -> None:
    _, _, rest = README.partition("<!-- settings: `freshet settings --markdown` -->\n\n")
    listed, _, _ = rest.partition("\n\n<!-- /settings -->")
    assert listed == markdown().strip(), "paste what `freshet settings --markdown` prints"


def test_every_command_line_is_understood() -> None:
    lines = commands("freshet ")
    assert len(lines) >= 5
    for arguments in lines:
        parse([word.replace("VERSION", "v1") for word in arguments])
    runs = commands("python -m replay ")
    assert len(runs) >= 5
    for arguments in runs:
        replay_parser().parse_args(arguments)


def test_every_target_and_every_path_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`|cpu )make ([a-z-]+)", README, flags=re.MULTILINE))
    assert {"demo", "test", "check", "protos"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    tree = re.search(r"^(replay/ +.*?)```", README, flags=re.DOTALL | re.MULTILINE)
    assert tree is not None
    for line in tree.group(1).splitlines():
        assert (ROOT / line.split()[0]).is_dir(), line


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert Path(ROOT / target).exists(), target


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_the_python_compiles(code: str) -> None:
    compile(code, "README.md", "exec")
