"""The stack as the command line sees it: compose, containers, Prometheus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from services.embedded.running import scrape
from shared.process.settings import KafkaSettings
from tests.support.processes import ROOT
from tests.support.prometheus import Prometheus

T = TypeVar("T")

PROJECT = "freshet-stack-test"
PORTS = {"HTTP_PORT": "8980", "GRPC_PORT": "50951", "PROMETHEUS_PORT": "9990", "KAFKA_PORT": "9994"}
METRICS_PORT = 9464


def eventually(condition: Callable[[], T], what: str, *, seconds: float = 120.0) -> T:
    """What `condition` returns once it is true; fails when that takes too long."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {seconds:g} s")
        time.sleep(0.2)
    return result


def run(*command: str, seconds: float = 120.0, environment: Mapping[str, str] | None = None) -> str:
    """A command's output; fails with its errors when it does."""
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, cwd=ROOT, check=False,
        env=dict(os.environ) | dict(environment or {}),
    )  # fmt: skip
    assert ended.returncode == 0, f"{' '.join(command)}: {ended.stderr[-3000:]}"
    return ended.stdout


def engine_is_here() -> bool:
    """Whether Docker answers."""
    return (
        shutil.which("docker") is not None and subprocess.run(["docker", "info"], capture_output=True).returncode == 0
    )


def compose_v2_is_here() -> bool:
    """Whether `docker compose` is there, which can wait; docker-compose 1.29 can't."""
    return subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0


class Stack:
    """One project of compose, with the ports of a test."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._environment = {**PORTS, **settings}
        self._waits = compose_v2_is_here()
        self._compose = [
            *(["docker", "compose"] if self._waits else ["docker-compose"]),
            "--project-name", PROJECT, "--file", "docker-compose.yml", "--file", "tests/stack/compose.yml",
        ]  # fmt: skip
        self.grpc_address = f"127.0.0.1:{PORTS['GRPC_PORT']}"
        self.page_url = f"http://127.0.0.1:{PORTS['HTTP_PORT']}/"
        self.kafka = KafkaSettings(bootstrap_servers=f"127.0.0.1:{PORTS['KAFKA_PORT']}")
        self.prometheus = Prometheus(f"127.0.0.1:{PORTS['PROMETHEUS_PORT']}")

    def compose(self, *arguments: str, seconds: float = 300.0) -> str:
        """What compose says."""
        return run(*self._compose, *arguments, seconds=seconds, environment=self._environment)

    @contextmanager
    def coming_up(self) -> Iterator[None]:
        """Bring everything up, as docs/deployment.md says to; at the block's end compose has said that it is up."""
        up = [*self._compose, "up", "--detach", *(["--wait"] if self._waits else [])]
        environment = dict(os.environ) | self._environment
        with tempfile.TemporaryFile() as output:
            with subprocess.Popen(up, cwd=ROOT, env=environment, stdout=output, stderr=output) as process:
                yield
            output.seek(0)
            assert process.returncode == 0, f"{' '.join(up)}: {output.read().decode()[-3000:]}"

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, running or not, the oldest first."""
        labels = {"project": PROJECT, "service": service, "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return run("docker", "ps", "--all", "--quiet", *filters).split()[::-1]

    def inspect(self, service: str) -> dict[str, Any]:
        """Everything Docker knows of a service's first container."""
        result: dict[str, Any] = json.loads(run("docker", "inspect", self.containers(service)[0]))[0]
        return result

    def health(self, service: str) -> str:
        """What the health check says; nothing before there is one."""
        state = self.inspect(service)["State"] if self.containers(service) else {}
        return str(state.get("Health", {}).get("Status", ""))

    def addresses(self, service: str) -> list[str]:
        """Where a service's containers are in their network, as this machine reaches it too (Linux)."""
        result = json.loads(run("docker", "inspect", *self.containers(service)))
        return [net["IPAddress"] for one in result for net in one["NetworkSettings"]["Networks"].values()]

    def figures(self, service: str, process: int = 0) -> dict[str, float]:
        """What a process of a service shows now; nothing while it does not answer."""
        [address, *_] = self.addresses(service)
        return scrape(f"http://{address}:{METRICS_PORT + process}/metrics") if address else {}

    def logs(self, service: str) -> list[str]:
        """The lines its first container has written."""
        ended = subprocess.run(
            ["docker", "logs", self.containers(service)[0]], capture_output=True, text=True, timeout=60, check=True
        )
        return [*ended.stdout.splitlines(), *ended.stderr.splitlines()]

    def memory_mib(self) -> dict[str, float]:
        """Container name → memory in use now, MiB."""
        lines = run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").splitlines()
        units = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}
        used = {}
        for name, value in ((line.split()[0], line.split()[1]) for line in lines):
            if name.startswith(PROJECT) and value[-3:] in units:  # what is starting has no memory yet
                used[name.removeprefix(PROJECT).strip("-_")] = round(float(value[:-3]) * units[value[-3:]], 1)
        return used
