"""Where the tests find a real Kafka, and their message when there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.embedded.broker import free_port
from tests.support.processes import ROOT


def collect(broker: str, distribution: Path) -> tuple[int, str]:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "pytest_timeout",
            "--broker",
            broker,
            "--collect-only",
            "tests/integration/test_shared_kafka.py",
        ],
        env=dict(os.environ) | {"FRESHET_TEST_KAFKA": str(distribution), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_kafka_that_is_asked_for_and_not_there_is_said_with_both_ways_to_name_one(tmp_path: Path) -> None:
    status, output = collect("kafka", tmp_path)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert f"no Apache Kafka in {tmp_path}: set FRESHET_TEST_KAFKA to an unpacked distribution" in output
    assert "--broker <host:port>" in output
    address = f"127.0.0.1:{free_port()}"
    status, output = collect(address, tmp_path)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert f"--broker {address}: nobody answers there" in output


def test_on_another_broker_only_what_uses_one_runs(broker_address: str, tmp_path: Path) -> None:
    status, output = collect(broker_address, tmp_path)
    assert status == 0
    assert "test_every_message_is_accounted_for" in output
    assert "test_what_nobody_acknowledges_is_told" not in output
