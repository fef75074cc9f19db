"""A real Prometheus beside the processes of a test, with the project's own configuration and rules."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.embedded.broker import free_port
from tests.support.promql import ALERTS, MONITORING


class Prometheus:
    """What one has been told, by its HTTP API."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer; None while nobody answers.

        Raises:
            AssertionError: it answers that the question is wrong.
        """
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                body = error.read().decode()
            assert error.code >= 500, f"{parameters}: {body}"
            return None
        except OSError:
            return None

    def values(self, expr: str) -> list[float]:
        """The value now of each series of an expression."""
        answer = self.get("query", query=expr)
        return [float(series["value"][1]) for series in answer["result"]] if answer else []

    def names(self) -> set[str]:
        """Every metric there is."""
        return set(self.get("label/__name__/values") or ())

    def down(self) -> list[str]:
        """Targets that gave nothing, with the reason."""
        targets = (self.get("targets") or {"activeTargets": []})["activeTargets"]
        return [f"{t['labels']['job']}: {t['lastError']}" for t in targets if t["health"] != "up"]

    def broken_rules(self) -> list[str]:
        """Rules that could not be evaluated, with the reason."""
        groups = (self.get("rules") or {"groups": []})["groups"]
        return [
            f"{rule['name']}: {rule['lastError']}" for g in groups for rule in g["rules"] if rule["health"] == "err"
        ]


def finite(values: list[float]) -> bool:
    """Whether there is a number among them."""
    return any(map(math.isfinite, values))


@contextmanager
def watching(folder: Path, ports: Mapping[str, int]) -> Iterator[Prometheus]:
    """A Prometheus that asks every job of services/monitoring/prometheus.yml on its port, once a second.

    Args:
        ports: of each job on loopback.
    """
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not on PATH (Debian: apt-get install prometheus)")
    port = free_port()
    folder.mkdir()
    rules = yaml.safe_load(ALERTS.read_text())
    for group in rules["groups"]:
        group["interval"] = "1s"
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(folder / "alerts.yml")]
    config["scrape_configs"] = [
        {
            "job_name": job["job_name"],
            "static_configs": [{"targets": [f"127.0.0.1:{(ports | {'prometheus': port})[job['job_name']]}"]}],
        }
        for job in config["scrape_configs"]
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with (folder / "prometheus.log").open("wb") as sink:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield Prometheus(f"127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()
