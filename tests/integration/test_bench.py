"""Benchmarks run end to end, small: real processes, a table, a JSON file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT


@pytest.mark.slow
def test_two_benchmarks_run_small(tmp_path: Path) -> None:
    kept = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "recommend", "record_events", "--quick", "--json", str(kept)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(kept.read_text(encoding="utf-8"))
    assert report["quick"] is True
    assert report["failed"] == []
    assert {"cpu", "cores", "memory_bytes", "python", "packages", "date", "commit"} <= report["machine"].keys()
    assert [figure["bench"] for figure in report["figures"]] == ["recommend"] * 6 + ["record_events"]
    for figure in report["figures"]:
        assert figure["value"] > 0
        assert figure["name"] in done.stdout
    rate, p99, *_, recorded = report["figures"]
    assert rate["limit"] > 0
    assert p99["limit"] is None
    assert recorded["ratio"] == recorded["value"] / recorded["limit"]
