"""The documentation matches the product.

What is checked, and where:

- Python of README.md and docs/api.md, curl and grpcurl: run by tests/integration/test_docs.py on a running system.
- docs/shop-in-an-hour.md: run step by step by tests/e2e/test_shop.py.
- Other commands: parsed here. Options are those of the commands' own parsers, variables those of the settings, targets
  those of the Makefile, services those of docker-compose.yml. A page may hold no command that is unknown here.
- Settings, links, anchors, paths, metrics: compared here with the code.
- Figures: each stands once; README's rows are those of docs/results.md and docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import pytest
import yaml

from replay.__main__ import _parser as replay_parser
from services.console.__main__ import COMMANDS, parse
from services.console.settings import markdown
from services.embedded.variables import CLASSES
from shared.process.settings import names_of
from tests.bench.__main__ import benches
from tests.support.pages import Page, commands, page, pages, rows
from tests.support.processes import ROOT

PAGES = pages()
DOCS = [one for one in PAGES if one.name.startswith("docs/")]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
VARIABLES = {name for cls in CLASSES for name in names_of(cls)}
OF_OTHERS = {"PIP_EXTRA_INDEX_URL", "FRESHET_TEST_DATA", "FRESHET_TEST_KAFKA", "FRESHET_TEST_CHROMIUM"}
# Which pages have Python; what runs it stands above.
WITH_PYTHON = {"README.md", "docs/api.md", "docs/shop-in-an-hour.md"}

by_name = pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)
of_docs = pytest.mark.parametrize("one", DOCS, ids=lambda one: one.name)


# --- commands


def understood(words: Sequence[str], where: Page) -> None:
    """Fail where a command names an option, target, variable or file that is not there."""
    words = list(words)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        assert_known(words.pop(0).partition("=")[0])
    name, *arguments = words
    assert name in CHECKS, f"nothing here knows how to check {name!r}: {' '.join(words)}"
    CHECKS[name](arguments, where)


def assert_known(variable: str) -> None:
    assert variable in VARIABLES | OF_OTHERS, f"no service knows {variable}"


def parses(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    parser.parse_args([word.replace("VERSION", "v1") for word in arguments])


def of_freshet(arguments: Sequence[str], where: Page) -> None:
    parses(console_parser(), arguments)


def of_make(arguments: Sequence[str], where: Page) -> None:
    for word in arguments:
        variable, is_variable, _ = word.partition("=")
        if is_variable:
            assert re.search(rf"\$\({variable}\)|\b{variable}\b *\?=|if \$\({variable}\)", MAKEFILE), word
        else:
            assert re.search(rf"^{word}:", MAKEFILE, flags=re.MULTILINE), f"the Makefile has no {word}"


def of_python(arguments: Sequence[str], where: Page) -> None:
    if arguments[0] != "-m":
        assert any(block.startswith(f"# {arguments[0]}\n") for block in where.blocks("python")), arguments
        return
    module, *rest = arguments[1:]
    if module == "replay":
        replay_parser().parse_args(rest)
    elif module == "services.console":
        parse(rest)
    elif module == "tests.bench":
        assert set(rest) - {"--quick"} <= set(benches()), rest
    else:
        assert find_spec(module) is not None, module
        assert not rest or module == "tests.bench.growth", f"nothing here knows the arguments of {module}"


def of_export(arguments: Sequence[str], where: Page) -> None:
    for word in arguments:
        assert_known(word.partition("=")[0])


def of_docker(arguments: Sequence[str], where: Page) -> None:
    compose, command, *rest = arguments
    assert compose == "compose"
    options = {
        "up": {"-d", "--wait", "--scale"},
        "logs": {"-f"},
        "run": {"--rm"},
        "down": {"--volumes"},
        "build": {"--build-arg"},
    }
    services = set(COMPOSE["services"])
    for n, word in enumerate(rest):
        if word.startswith("-"):
            assert word in options.get(command, ()), word
        elif command == "run":
            assert word in services, word
            of_python(["-m", *rest[n + 1 :]], where)
            return
        elif rest[n - 1] == "--build-arg":
            assert f"\nARG {word.partition('=')[0]}=" in (ROOT / "Dockerfile").read_text(), word
        else:
            assert word.partition("=")[0] in services, word


def is_run(arguments: Sequence[str], where: Page) -> None:
    """What tests/integration/test_docs.py or tests/e2e/test_shop.py runs, and what they skip must fail here."""
    assert where.name in WITH_PYTHON, f"nothing runs this: {arguments}"


CHECKS: dict[str, Callable[[Sequence[str], Page], None]] = {
    "freshet": of_freshet,
    "make": of_make,
    "python": of_python,
    "export": of_export,
    "docker": of_docker,
    "curl": is_run,
    "grpcurl": is_run,
    "ask": is_run,
    "ask()": is_run,
}


@by_name
def test_every_command_is_understood(one: Page) -> None:
    for block in one.blocks("sh"):
        for words in commands(block):
            understood(words, one)


def test_an_option_that_does_not_exist_is_found() -> None:
    for wrong in ("freshet demo --forever", "make demos", "python -m replay run x.csv --fast", "FRESHET_X=1 make demo"):
        with pytest.raises((AssertionError, SystemExit)):
            understood(wrong.split(), page("README.md"))


@by_name
def test_commands_within_sentences_exist(one: Page) -> None:
    parsers = {"freshet": console_parser(), "python -m replay": replay_parser()}
    for code in one.inline():
        for beginning, parser in parsers.items():
            if code.startswith(f"{beginning} "):
                exists(parser, code.removeprefix(beginning).split(), code)
        if code.startswith("make ") and "…" not in code:
            of_make([word for word in code.split()[1:] if "<" not in word], one)


def console_parser() -> argparse.ArgumentParser:
    """The parser of every command of `freshet`."""
    parser = argparse.ArgumentParser()
    commands_of = parser.add_subparsers()
    for name, command in COMMANDS.items():
        import_module(command.module).add(commands_of.add_parser(name))
    return parser


def exists(parser: argparse.ArgumentParser, words: Sequence[str], code: str) -> None:
    """Fail where the words name a command or an option that there is not; arguments may be left out."""
    for word in words:
        below = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        if word.startswith("--"):
            assert word in parser._option_string_actions, code
        elif below is not None:
            assert word in below.choices, code
            parser = below.choices[word]


# --- snippets and files


@by_name
def test_python_stands_only_where_it_is_run(one: Page) -> None:
    for code in one.blocks("python"):
        assert one.name in WITH_PYTHON, f"{one.name} has Python that nothing runs"
        compile(code, one.name, "exec")


@by_name
def test_what_overrides_the_stack_fits_it(one: Page) -> None:
    for block in one.blocks("yaml"):
        override = yaml.safe_load(block)
        secrets = set(override.get("secrets", {}))
        for name, service in override["services"].items():
            assert name in COMPOSE["services"], name
            for variable in service.get("environment", {}):
                assert_known(variable)
            assert set(service.get("secrets", ())) <= secrets, name


def test_every_volume_of_the_stack_is_described() -> None:
    text = page("docs/deployment.md").text.partition("## Volumes")[2]
    named = {name for row in rows(text) for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}
    assert set(COMPOSE["volumes"]) <= named


@by_name
def test_no_block_is_of_a_language_that_nothing_checks(one: Page) -> None:
    assert {language for language, _ in one.steps()} <= {"", "sh", "python", "yaml", "toml", "sql"}


# --- names


def test_every_setting_is_listed_as_it_is() -> None:
    listed = page("docs/settings.md").text
    assert listed == f"{markdown().strip()}\n", "run: freshet settings --markdown > docs/settings.md"


@by_name
def test_every_variable_is_one_that_a_service_knows(one: Page) -> None:
    named = set(re.findall(r"\bFRESHET_[A-Z_]+[A-Z]\b(?![…_<])", one.text))
    assert named <= VARIABLES | OF_OTHERS, named - VARIABLES - OF_OTHERS


@by_name
def test_every_metric_is_one_that_a_service_shows(one: Page) -> None:
    files = [path for room in ("services", "shared", "replay") for path in (ROOT / room).rglob("*.py")]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    for name in set(re.findall(r"\bfreshet_[a-z_]+[a-z]\b(?![_*<])", one.text)):
        assert name in source or name.removesuffix("_total") in source, name


@by_name
def test_every_path_exists(one: Page) -> None:
    rooms = ("replay", "services", "shared", "tests", "protos", "docs", ".ci")
    for code in one.inline():
        if re.fullmatch(rf"({'|'.join(map(re.escape, rooms))})/[\w./-]*", code):
            assert (ROOT / code).exists(), code


def test_what_the_walks_name_is_defined_where_they_say() -> None:
    walked = [row for row in rows(page("docs/architecture.md").text) if re.match(r"\| \d+\. ", row)]
    assert len(walked) >= 20
    for row in walked:
        _, where, names = (cell.strip() for cell in row.strip("|").split(" | "))
        source = "".join((ROOT / file).read_text(encoding="utf-8") for file in re.findall(r"`([^`]+)`", where))
        for name in re.findall(r"`([^`]+)`", names):
            assert re.search(rf"^(class|def|async def) {name}\b", source, flags=re.MULTILINE), f"{name}: not in {where}"


def test_the_order_of_the_rooms_is_the_one_that_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = [
        contract["layers"] for contract in project["tool"]["importlinter"]["contracts"] if "layers" in contract
    ]
    floors = next(layers for layers in contracts if layers[-1] == "shared.pb")
    order = re.search(r"^> (`shared/pb`.*?)\n\n", page("docs/architecture.md").text, flags=re.DOTALL | re.MULTILINE)
    assert order is not None
    rooms = [room.replace("/", ".") for room in re.findall(r"`(\w+/\w+)`", order[1])]
    assert rooms[: len(floors)] == floors[::-1]


def test_every_folder_of_the_tree_exists() -> None:
    trees = [block for block in page("README.md").blocks("") if block.startswith("replay/")]
    assert len(trees) == 1
    above = ROOT
    shown = set()
    for line in trees[0].splitlines():
        folders = [word for word in line[:24].split() if word.endswith("/")]
        assert folders, line
        if not line.startswith(" "):
            above = ROOT
        for folder in folders:
            assert (above / folder).is_dir(), line
            shown.add(above / folder)
        if not line.startswith(" "):
            above = ROOT / folders[0]
    for room in ("services", "shared"):
        there = {path for path in (ROOT / room).iterdir() if path.is_dir() and path.name != "__pycache__"}
        unnamed = {path for path in there if not any(path in (one, *one.parents) for one in shown)}
        assert not unnamed, f"the tree lacks {unnamed}"


# --- links


@by_name
def test_links_lead_somewhere(one: Page) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", one.prose):
        if target.startswith(("https://", "http://127.0.0.1")):
            continue
        path, _, anchor = target.partition("#")
        file = (one.path.parent / path).resolve() if path else one.path
        assert file.exists(), target
        if anchor:
            assert anchor in page(str(file.relative_to(ROOT))).anchors, target


@of_docs
def test_every_page_is_found_from_the_readme(one: Page) -> None:
    assert f"({one.name}" in page("README.md").text


# --- figures


def test_the_readmes_figures_are_those_of_the_pages() -> None:
    readme = page("README.md").text
    for heading, count, where in (
        ("## Does it beat a simple baseline?", 10, "docs/results.md"),
        ("## How fast is it?", 5, "docs/performance.md"),
    ):
        _, _, rest = readme.partition(f"\n{heading}\n")
        shown = rows(rest.partition("\n## ")[0])
        assert len(shown) == count, heading
        known = rows(page(where).text)
        for row in shown:
            assert row in known, f"not in {where}: {row}"


def test_the_readmes_demo_is_that_of_its_page() -> None:
    shown = next(block for block in page("README.md").blocks("") if block.startswith("2. "))
    whole = page("docs/demo.md").text.splitlines()
    for line in shown.splitlines():
        assert line.strip() == "…" or line in whole, line


def test_figures_stand_once() -> None:
    seen: dict[str, str] = {}
    for one in DOCS:
        for row in rows(one.text):
            if len(re.findall(r"\d", row)) >= 4:
                other = seen.setdefault(row, one.name)
                assert other == one.name, f"{one.name} repeats a row of {other}: {row}"


def test_the_leaderboard_is_what_its_files_say() -> None:
    """README's and the page's table of results, against tests/bench/results."""
    shown = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows(page("docs/results.md").text)]
    by_title = {cells[0].removesuffix(" (small: no claim)"): cells for cells in shown if len(cells) == 7}
    from tests.bench.leaderboard import RESULTS, RUNS

    checked = 0
    for name, run in RUNS.items():
        file = RESULTS / f"{name}.json"
        if run.title not in by_title or not file.is_file() or name.endswith("temporal"):
            continue
        cells, result = by_title[run.title], json.loads(file.read_text())
        best = result["best_baseline"]
        mean = f"{result['policies']['freshet']['ndcg@10']['mean']:.4f}".lstrip("0")
        baseline = f"{result['policies'][best]['ndcg@10']['mean']:.4f}".lstrip("0")
        assert cells[1:4] == [f"{result['judged']:,}", f"{best} {baseline}", mean], run.title
        checked += 1
    assert checked >= 8


# --- form


@by_name
def test_a_page_begins_with_what_it_is_for_and_is_not_too_long(one: Page) -> None:
    lines = one.text.splitlines()
    assert len(lines) <= (280 if one.name == "README.md" else 400)
    assert re.match(r"# \S", lines[0])
    assert lines[1] == ""
    assert re.match(r"[`A-Z]", lines[2]), "an opening sentence"
    assert len(re.findall(r"^# ", one.prose, flags=re.MULTILINE)) == 1


def test_the_licence_is_named_alike_everywhere() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert "Copyright 2026 The Freshet authors" in licence
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'license = "Apache-2.0"' in project
    assert '"The Freshet authors"' in project


def test_settings_markdown_is_what_the_command_prints() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "services.console", "settings", "--markdown"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert printed == page("docs/settings.md").text
