"""Whether a service can do its work, as Prometheus and a health check are told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from shared.process.healthy import ports
from shared.process.telemetry import LONGEST_TURN_SECONDS, Ready
from tests.support.processes import ROOT


def health_check(service: str, environment: dict[str, str]) -> int:
    """The exit status of the health check."""
    return subprocess.run(
        [sys.executable, "-m", "shared.process.healthy", service],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=False,
    ).returncode


def test_it_is_ready_while_its_loop_turns() -> None:
    now = 1000.0
    registry = CollectorRegistry()
    ready = Ready("turning", registry, lambda: now)

    def shown() -> float | None:
        return registry.get_sample_value("freshet_turning_ready")

    assert shown() == 0.0
    ready.turn()
    assert shown() == 1.0
    now += LONGEST_TURN_SECONDS + 1
    assert shown() == 0.0, "a loop that stands still can do no work"
    ready.turn()
    assert shown() == 1.0


def test_each_process_has_the_next_port() -> None:
    assert ports("trainer", {"FRESHET_TRAINER_METRICS_PORT": "9464"}) == [9464]
    given = {"FRESHET_INFERENCE_METRICS_PORT": "9464", "FRESHET_INFERENCE_PROCESSES": "3"}
    assert ports("inference", given) == [9464, 9465, 9466]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_health_check_ends_with_0_only_where_the_service_says_it_is_ready() -> None:
    registry = CollectorRegistry()
    ready = Ready("asked", registry)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    environment = {"FRESHET_ASKED_METRICS_PORT": str(server.server_port)}
    try:
        assert health_check("asked", environment) == 1
        ready.turn()
        assert health_check("asked", environment) == 0
        assert health_check("other", {"FRESHET_OTHER_METRICS_PORT": str(server.server_port)}) == 1
        # The process after it does not answer.
        assert health_check("asked", environment | {"FRESHET_ASKED_PROCESSES": "2"}) == 1
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
    assert health_check("asked", environment) == 1
