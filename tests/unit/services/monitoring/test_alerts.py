"""The alert rules, by Prometheus' own promtool: each is shown quiet, firing and clear again, and can't be left out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.promql import ALERTS, MONITORING, rules

TESTS = MONITORING / "alerts_test.yml"
NAMES = [rule["alert"] for rule in rules() if "alert" in rule]


@pytest.fixture(scope="module")
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not on PATH; it comes with Prometheus (Debian: apt-get install prometheus)")
    return path


def judged(promtool: str, folder: Path, alerts: str) -> subprocess.CompletedProcess[str]:
    """What promtool says of these rules."""
    (folder / "alerts.yml").write_text(alerts)
    shutil.copy(TESTS, folder)
    return subprocess.run(
        [promtool, "test", "rules", str(folder / TESTS.name)], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_configuration_is_valid(promtool: str, tmp_path: Path) -> None:
    config = (MONITORING / "prometheus.yml").read_text().replace("/etc/prometheus/alerts.yml", str(ALERTS))
    (tmp_path / "prometheus.yml").write_text(config)
    checked = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_each_alert_fires_and_clears(promtool: str, tmp_path: Path) -> None:
    done = judged(promtool, tmp_path, ALERTS.read_text())
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("broken", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
def test_alerts_that_never_or_always_fire_are_found_out(promtool: str, tmp_path: Path, broken: str) -> None:
    content = yaml.safe_load(ALERTS.read_text())
    content["groups"] = [
        {"name": group["name"], "rules": [rule | {"expr": broken} for rule in group["rules"] if "alert" in rule]}
        for group in content["groups"]
    ]
    done = judged(promtool, tmp_path, yaml.safe_dump(content))
    assert done.returncode == 1
    output = done.stdout + done.stderr
    assert [name for name in NAMES if name not in output] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    [rule] = [rule for rule in rules() if rule.get("alert") == name]
    assert dict(rule["labels"])["severity"] in ("critical", "warning")
    notes = dict(rule["annotations"])
    assert 0 < len(notes["summary"]) < 120
    assert len(notes["description"]) > 100
    assert notes["description"].endswith(".")


def test_each_alert_has_its_test() -> None:
    """Where promtool is not at hand, too."""
    content = yaml.safe_load(TESTS.read_text())
    shown: dict[str, list[bool]] = {}
    for case in content["tests"]:
        firing = [bool(step.get("exp_samples")) for step in case["promql_expr_test"]]
        for name in re.findall(r"alertname=\"([A-Z]\w+)\"", yaml.safe_dump(case)):
            shown[name] = firing
    assert set(NAMES) <= set(shown)
    assert all(firing == [False, True, False] for firing in shown.values())
