"""Sorted runs on disk become one order."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from replay.order.ordering import SortedRow, merged, read_run, write_run


@pytest.mark.parametrize("most_open", [2, 3, 100])
def test_many_runs_are_merged_with_few_files_open(tmp_path: Path, most_open: int) -> None:
    rng = random.Random(most_open)
    rows = [SortedRow(rng.randrange(50), line, rng.randbytes(rng.randrange(30))) for line in range(1000)]
    runs = []
    for n in range(11):
        runs.append(tmp_path / f"run-{n}")
        write_run(runs[-1], sorted(rows[n::11]))
    assert list(merged(runs, most_open=most_open)) == sorted(rows)
    assert not list(tmp_path.iterdir())


def test_an_empty_run_is_no_rows(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [])
    assert list(read_run(tmp_path / "run")) == []
