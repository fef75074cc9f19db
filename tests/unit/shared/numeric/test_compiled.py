"""What all compiled functions have in common, by a few small ones; and that none is compiled while a service works."""

from __future__ import annotations

import ast
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from numpy.typing import NDArray

from shared.numeric.compiled import Matrix, ReadOnlyVector, Vector, compiled, modules, prefetch

ROOT = Path(__file__).parents[4]
COUNTS = re.compile(r"compiled functions: (\d+) new, (\d+) kept from before, [\d.]+ s\n")


class Sums(NamedTuple):
    over: Vector[np.float64]
    under: Vector[np.float64]


@compiled
def ratio_of_sums(left: Vector[np.float64], right: Vector[np.float64]) -> float:
    over, under = 0.0, 0.0
    for i in range(left.size):
        over += left[i]
        under += right[i]
    return over / under


@compiled
def add(rows: Matrix[np.float32], row: int, what: ReadOnlyVector[np.float32], weight: float) -> None:
    for i in range(what.size):
        rows[row, i] += what[i] * weight


@compiled
def first(sums: Sums) -> float:
    return float(sums.over[0] / sums.under[0])


@compiled
def total(values: NDArray[np.float64]) -> float:
    return float(values.sum())


def test_a_compiled_function_gives_bit_for_bit_what_python_gives() -> None:
    rng = np.random.default_rng(7)
    for size in range(1, 70):  # longer than any vector register: sums must not be reordered to fill one
        left = rng.lognormal(0.0, 9.0, size)
        right = rng.lognormal(0.0, 9.0, size)
        assert ratio_of_sums(left, right) == ratio_of_sums.py_func(left, right)


def test_what_is_divided_by_0_is_as_in_numpy() -> None:
    nothing = np.zeros(1)
    assert ratio_of_sums(np.ones(1), nothing) == np.inf
    assert np.isnan(ratio_of_sums(nothing, nothing))


def test_it_takes_the_types_of_its_annotations() -> None:
    rows = np.zeros((3, 2), np.float32)
    add(rows, 1, np.ones(2, np.float32), 0.5)
    fixed = np.ones(2, np.float32)
    fixed.flags.writeable = False
    add(rows, 2, fixed, 2.0)
    assert rows.tolist() == [[0.0, 0.0], [0.5, 0.5], [2.0, 2.0]]
    assert first(Sums(np.array([3.0]), np.array([2.0]))) == 1.5


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(np.zeros((3, 2)), id="wider numbers"),
        pytest.param(np.zeros(3, np.float32), id="fewer dimensions"),
        pytest.param(np.zeros((3, 4), np.float32)[:, ::2], id="gaps"),
        pytest.param(np.broadcast_to(np.float32(0), (3, 2)), id="not writable"),
    ],
)
def test_other_arrays_are_refused_instead_of_compiling_for_them(rows: NDArray[np.float32]) -> None:
    with pytest.raises(TypeError, match="No matching definition"):
        add(rows, 1, np.ones(2, np.float32), 0.5)


def test_unchecked_it_computes_the_same() -> None:
    sums = Sums(np.array([3.0]), np.array([2.0]))
    assert first.unchecked(sums) == first(sums) == 1.5
    assert not hasattr(total, "unchecked"), "a type left open has to be looked at"


@compiled
def sum_of_fetched(values: Matrix[np.int64]) -> int:
    for n in (-7, 0, values.size - 1, 1 << 40):
        prefetch(values, n)
    return int(values.sum())


def test_what_is_fetched_ahead_changes_nothing_wherever_it_lies() -> None:
    values = np.arange(6).reshape(2, 3)
    assert sum_of_fetched(values) == sum_of_fetched.py_func(values) == 15
    anew = numba.njit(sum_of_fetched.py_func)
    assert anew(values) == 15
    [code] = anew.inspect_asm().values()
    assert len(re.findall(r"^\s*(?:prefetch|prfm)", code, re.MULTILINE)) == 4


def test_a_type_left_open_is_compiled_for_at_the_call() -> None:
    assert total(np.ones((2, 3))) == 6.0
    assert total(np.ones(2)) == 2.0


# Where machine code is kept ------------------------------------------------------------------------------------------

WEIGHTS = "SCALE = {scale}\n"
INNER = """
from numpy.typing import NDArray
import numpy as np
from shared.numeric.compiled import compiled
from shared.weights import SCALE

@compiled
def scaled(values: NDArray[np.float64]) -> float:
    return values[0] * SCALE + {plus}
"""
OUTER = """
import numpy as np
from shared.inner import scaled
from shared.numeric.compiled import Vector, compiled

@compiled
def answer(values: Vector[np.float64]) -> float:
    return scaled(values)

print("answer", answer(np.ones(1)))
"""
LACKING = """
import a_package_that_is_not_installed
from shared.numeric.compiled import compiled

@compiled
def never(x: float) -> float:
    return x
"""


def write(folder: Path, *, scale: float = 2.0, plus: float = 0.0) -> None:
    """A small tree with two compiled functions, of which the one that Python calls rests on three files."""
    (folder / "shared/numeric").mkdir(parents=True, exist_ok=True)
    for name in ("shared/__init__.py", "shared/numeric/__init__.py", "shared/numeric/compiled.py"):
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "shared/weights.py").write_text(WEIGHTS.format(scale=scale))
    (folder / "shared/inner.py").write_text(INNER.format(plus=plus))
    (folder / "shared/outer.py").write_text(OUTER)
    (folder / "shared/lacking.py").write_text(LACKING)


def compile_in(
    folder: Path, before: Callable[[], None] | None = None, **environ: str
) -> tuple[float, int, int, subprocess.CompletedProcess[str]]:
    """What `answer` gives in a process of its own, and how many functions were compiled and loaded for that."""
    done = subprocess.run(
        [sys.executable, "-m", "shared.numeric.compiled"],
        cwd=folder, env={**os.environ, **environ}, preexec_fn=before, capture_output=True, text=True, check=True,
    )  # fmt: skip
    counts = COUNTS.search(done.stdout)
    assert counts is not None, done.stdout
    return float(done.stdout.partition("answer ")[2].split()[0]), int(counts[1]), int(counts[2]), done


def write_nothing() -> None:
    """Let no file grow: what a read-only file system does, for root too."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree whose functions have been compiled."""
    folder = tmp_path_factory.mktemp("built")
    write(folder)
    answer, new, kept, done = compile_in(folder)
    assert (answer, new, kept) == (2.0, 2, 0)
    assert "shared.lacking: left out, since a_package_that_is_not_installed is not installed" in done.stdout
    return folder


def test_what_was_compiled_is_loaded_afterwards_even_where_nothing_can_be_written(built: Path) -> None:
    answer, new, kept, done = compile_in(built, write_nothing)
    assert (answer, new, kept) == (2.0, 0, 1)  # the inner one is part of the outer one
    assert done.stderr == ""


def test_a_copy_needs_no_compiling_whatever_its_times(built: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built, tmp_path / "copy", copy_function=shutil.copyfile)
    for number, path in enumerate(sorted(copy.rglob("*.py"))):
        os.utime(path, (number, number))
    assert compile_in(copy, write_nothing)[:3] == (2.0, 0, 1)


@pytest.mark.parametrize(("change", "answer"), [({"scale": 3.0}, 3.0), ({"plus": 1.0}, 3.0)])
def test_a_change_in_another_file_that_it_rests_on_compiles_it_again(
    built: Path, tmp_path: Path, change: dict[str, float], answer: float
) -> None:
    copy = shutil.copytree(built, tmp_path / "copy")
    write(copy, **change)
    assert compile_in(copy)[:3] == (answer, 2, 0)


def test_a_type_that_has_gone_compiles_again_what_took_it(tmp_path: Path) -> None:
    def outer(kind: str) -> str:
        pair = f"class {kind}(NamedTuple):\n    values: Vector[np.float64]\n"
        taking = OUTER.replace("values: Vector[np.float64]", f"pair: {kind}").replace(
            "scaled(values)", "scaled(pair.values)"
        )
        taking = taking.replace("answer(np.ones(1))", f"answer({kind}(np.ones(1)))")
        return "from typing import NamedTuple\n" + taking.replace("@compiled", f"{pair}\n@compiled")

    write(tmp_path)
    for kind in ("Pair", "Renamed"):
        (tmp_path / "shared/outer.py").write_text(outer(kind))
        assert compile_in(tmp_path)[0] == 2.0
        assert compile_in(tmp_path, write_nothing)[1:3] == (0, 1)


def test_where_nothing_can_be_kept_it_is_compiled_at_each_start_and_says_so(built: Path) -> None:
    answer, new, kept, done = compile_in(built, write_nothing, NUMBA_CPU_NAME="generic")  # not what it was built for
    assert (answer, new, kept) == (2.0, 2, 0)
    assert done.stderr.count("functions are compiled anew at each start, since ") == 1


def test_another_folder_may_be_named_for_it(built: Path, tmp_path: Path) -> None:
    assert compile_in(built, NUMBA_CACHE_DIR=str(tmp_path))[1:3] == (2, 0)
    assert compile_in(built, write_nothing, NUMBA_CACHE_DIR=str(tmp_path))[1:3] == (0, 1)


# This tree's own ----------------------------------------------------------------------------------------------------


def test_install_and_images_compile_it_all_for_the_processor_they_run_on() -> None:
    assert "$(BIN)/python -m shared.numeric.compiled" in (ROOT / "Makefile").read_text()
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    for stage in (next(stage for stage in stages if "-m shared.numeric.compiled" in stage), stages[-1]):
        assert "NUMBA_CPU_NAME=${CPU}" in stage


@pytest.mark.slow
def test_every_compiled_function_is_loaded_and_not_compiled_once_that_is_done() -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "shared.numeric.compiled"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    counts = COUNTS.fullmatch(done.stdout)
    assert counts is not None, done.stdout  # nothing left out
    assert int(counts[1]) == 0


def test_python_calls_only_functions_whose_types_are_known_beforehand() -> None:
    """Others would be compiled while a service works, and at each start where nothing can be kept."""
    open_types = {
        function.__name__
        for name in modules()
        for function in vars(import_module(name)).values()
        if isinstance(function, Dispatcher) and function._can_compile
    }
    calls = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for package in ("shared", "services")
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, line in calls_of_python(ast.parse(path.read_text()))
        if name in open_types
    ]
    assert not calls, f"annotate these with Vector, Matrix, … of {compiled.__module__}"


def calls_of_python(node: ast.AST) -> Iterator[tuple[str, int]]:
    """What is called, and in which line, but for what compiled functions call."""
    if isinstance(node, ast.FunctionDef) and any(ast.unparse(mark) == "compiled" for mark in node.decorator_list):
        return
    if isinstance(node, ast.Call):
        yield ast.unparse(node.func).rpartition(".")[2], node.lineno
    for child in ast.iter_child_nodes(node):
        yield from calls_of_python(child)
