"""Each part imports with only what its extra installs; the script `freshet` names the extra that is missing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.console.__main__ import COMMANDS, PACKAGES, parse

ROOT = Path(__file__).parents[2]
CUDA = ("nvidia-", "cuda-", "triton")  # torch's CUDA build pins these itself
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
# Distribution → what it is imported as, of those that an image may lack.
IMPORTED_AS = {
    "torch": "torch", "onnx": "onnx", "onnxruntime": "onnxruntime", "scipy": "scipy", "implicit": "implicit",
    "pandas": "pandas", "duckdb": "duckdb", "networkx": "networkx", "matplotlib": "matplotlib", "pyarrow": "pyarrow",
    "gymnasium": "gymnasium", "faust-streaming": "faust", "vaderSentiment": "vaderSentiment", "aiohttp": "aiohttp",
    "numba": "numba",
}  # fmt: skip


def installed(extra: str) -> set[str]:
    """The distributions of an extra, and of the extras that it includes."""
    distributions: set[str] = set()
    for name in EXTRAS[extra]:
        if name.startswith("freshet["):
            for other in name.removeprefix("freshet[").removesuffix("]").split(","):
                distributions |= installed(other)
        else:
            distributions.add(name)
    return distributions


def test_a_policy_whose_library_is_not_installed_is_refused_with_what_to_do() -> None:
    program = (
        "import sys\nsys.modules['implicit'] = None\nfrom shared.policies.registry import class_of\nclass_of('bpr')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Unusable: the policy bpr needs implicit: install the extra `evaluate`" in done.stderr


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("services.features.__main__", "features"),
        ("services.trainer.__main__", "learn"),
        ("shared.policies.freshet.policy", "learn"),  # what the trainer learns unless told otherwise
        ("services.inference.__main__", "serve"),
        ("services.inference.server", "serve"),
        ("services.evaluator.__main__", "serve"),
        ("services.evaluator.loop", "serve"),
        ("services.gateway.__main__", "gateway"),
        ("services.gateway.server", "gateway"),
        ("replay.__main__", "replay"),
        ("services.console.__main__", "console"),
    ],
)
def test_it_imports_without_what_its_extra_does_not_install(module: str, extra: str) -> None:
    lacking = sorted(imported for name, imported in IMPORTED_AS.items() if name not in installed(extra))
    if extra == "features":
        lacking.remove("aiohttp")  # Faust brings it
    program = f"import sys\nfor name in {lacking}:\n    sys.modules[name] = None\nimport {module}"
    if module == "services.evaluator.loop":  # makes these by name
        program += "\nfrom shared.policies.registry import class_of\n"
        program += "from services.evaluator.accuracy import BASELINES\nlist(map(class_of, BASELINES))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_script(before: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script `freshet`, as pip writes it, after a line that takes something away."""
    module, _, function = PROJECT["scripts"]["freshet"].partition(":")
    program = f"import sys\n{before}\nfrom {module} import {function}\nsys.exit({function}())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_script_without_any_extra_says_which_one_carries_the_command_line() -> None:
    lacking = sorted(name for packages in PACKAGES.values() for name in packages)
    done = run_script(f"for name in {lacking}:\n    sys.modules[name] = None", "topics")
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"freshet: \w+ is not installed: pip install 'freshet\[console\]'\n", done.stderr)


def imported_by_help(*command: str) -> set[str]:
    """The packages that `freshet … --help` imports."""
    program = "import sys\nfrom services.console.__main__ import main\n"
    program += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    program += "print(*sorted({name.partition('.')[0] for name in sys.modules}), sep='\\n', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(" ".join(["usage: freshet", *command]))
    imported = set(done.stderr.split())
    assert "argparse" in imported
    return imported


@pytest.mark.parametrize("command", [[], ["demo"], ["up"]])
def test_help_imports_nothing_that_takes_its_time(command: list[str]) -> None:
    heavy = {package for packages in PACKAGES.values() for package in packages} | {"grpc", "aiohttp", "asyncio"}
    assert not imported_by_help(*command) & heavy


@pytest.mark.parametrize("command", ["evaluate", "report", "graph", "simulate"])
def test_help_of_research_does_not_wait_for_what_it_computes_with(command: str) -> None:
    heavy = {"torch", "numba", "duckdb", "pandas", "scipy", "matplotlib", "onnxruntime", "implicit", "grpc"}
    assert not imported_by_help(command) & heavy


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"evaluate", "report", "graph", "simulate"}))
def test_a_command_that_neither_folds_nor_scores_imports_no_compiler(command: str) -> None:
    assert "numba" not in imported_by_help(command)


def test_every_command_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in COMMANDS.items():
        with pytest.raises(SystemExit, match="0"):
            parse([name, "--help"])
        assert f"usage: freshet {name} " in capsys.readouterr().out
        with pytest.raises(SystemExit, match="0"):
            parse(["--help"])
        assert " ".join(command.help.split()) in " ".join(capsys.readouterr().out.split())


def test_a_command_that_needs_more_says_which_extra_carries_it(tmp_path: Path) -> None:
    lacking = sorted(PACKAGES["evaluate"])
    data = tmp_path / "sales.csv"
    data.write_text("user,product,time\na,b,2020-01-01\n")
    done = run_script(f"for name in {lacking}:\n    sys.modules[name] = None", "graph", str(data))
    assert done.returncode == 2
    assert re.fullmatch(r"freshet: \w+ is not installed: pip install 'freshet\[evaluate\]'\n", done.stderr)


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("sys.modules['services.console.topics'] = None", "services.console.topics"),
        ("sys.modules['shared.process.errors'] = None", "shared.process.errors"),
        ("import confluent_kafka\nsys.modules['confluent_kafka.admin'] = None", "confluent_kafka.admin"),
        ("sys.modules['argparse'] = None", "argparse"),
    ],
)
def test_a_module_that_no_extra_carries_is_a_bug_and_stays_a_traceback(before: str, name: str) -> None:
    done = run_script(before, "topics")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert f"ModuleNotFoundError: import of {name} halted" in done.stderr


def test_the_script_knows_every_package_that_its_extras_install() -> None:
    imported_as: dict[str, set[str]] = {}
    for package, distributions in packages_distributions().items():
        for distribution in distributions:
            imported_as.setdefault(distribution.lower().replace("_", "-"), set()).add(package)
    console = installed("console")
    for distribution in console | installed("evaluate"):
        extra = "console" if distribution in console else "evaluate"
        assert imported_as[distribution.lower()] & set(PACKAGES[extra]), distribution


def test_all_that_make_install_brings_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    seen: set[tuple[str, frozenset[str]]] = set()
    left: list[tuple[str, frozenset[str]]] = [("freshet", frozenset({"dev"}))]
    while left:
        name, extras = left.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for requirement in map(Requirement, requires(name) or ()):
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in {"", *extras}):
                left.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    brought = {name for name, _ in seen if not name.startswith(CUDA)}
    assert brought - pinned == {"freshet"}
