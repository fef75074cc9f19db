"""Several processes of inference on one port."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from services.embedded.broker import free_port
from services.embedded.running import scrape
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.settings import KafkaSettings
from tests.support.inference import PATIENCE_SECONDS, environment, eventually
from tests.support.processes import ROOT

COUNT = 2
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class Processes:
    """`python -m services.inference` with several processes."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path, grpc_port: int, metrics_port: int) -> None:
        self.process = process
        self._log_file = log_file
        self._grpc_port = grpc_port
        self._metrics_port = metrics_port

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8")

    def figures(self, n: int) -> dict[str, float]:
        return scrape(f"http://127.0.0.1:{self._metrics_port + n}/metrics")

    def wait_until_ready(self) -> None:
        def look() -> bool:
            assert self.process.poll() is None, self.log
            return all(self.figures(n).get("freshet_inference_ready") == 1.0 for n in range(COUNT))

        eventually(look)

    def healthy(self, settings: dict[str, str]) -> bool:
        """What the health check of its container would say."""
        command = [sys.executable, "-m", "services.inference.healthy"]
        return subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, check=False).returncode == 0

    def call(self) -> None:
        """A call over a connection of its own, which the kernel gives to one of the processes."""
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc_port}", OWN_CONNECTION) as channel:
            RecommenderServiceStub(channel).Recommend(pb.RecommendRequest(user_id="ann"), timeout=20)

    def answered(self, n: int) -> float:
        return self.figures(n).get('freshet_inference_requests_total{code="OK",method="Recommend"}', 0.0)


def settings_of(kafka: KafkaSettings, folder: Path, grpc_port: int, metrics_port: int) -> dict[str, str]:
    overrides = {"PROCESSES": COUNT, "GRPC_PORT": grpc_port, "METRICS_PORT": metrics_port}
    return environment(kafka, folder, **overrides)


@contextmanager
def running(settings: dict[str, str], folder: Path) -> Iterator[Processes]:
    log_file = folder / "inference.log"
    with log_file.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.inference"],
            env=settings, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        yield Processes(
            process, log_file,
            int(settings["FRESHET_INFERENCE_GRPC_PORT"]), int(settings["FRESHET_INFERENCE_METRICS_PORT"]),
        )  # fmt: skip
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_SECONDS)


def two_ports_in_a_row() -> int:
    """The first of two free ports in a row."""
    while True:
        first = free_port()
        with socket.socket() as second:
            try:
                second.bind(("127.0.0.1", first + 1))
            except (OSError, OverflowError):
                continue
            return first


@pytest.mark.slow
def test_each_answers_shows_its_own_metrics_and_is_started_again_when_it_is_killed(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    settings = settings_of(kafka, tmp_path, free_port(), two_ports_in_a_row())
    with running(settings, tmp_path) as processes:
        processes.wait_until_ready()
        assert processes.healthy(settings)

        def both_answered() -> bool:
            processes.call()
            return all(processes.answered(n) for n in range(COUNT))

        eventually(both_answered)
        victim = children(processes.process.pid)[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: "ended (SIGKILL); starting it again" in processes.log)
        processes.wait_until_ready()
        assert victim not in children(processes.process.pid)
        processes.process.send_signal(signal.SIGTERM)
        assert processes.process.wait(PATIENCE_SECONDS) == 0, processes.log
        assert processes.log.count("inference: stopped") == COUNT + 1
    # Nobody is left on the port.
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", int(settings["FRESHET_INFERENCE_GRPC_PORT"])))


def children(pid: int) -> list[int]:
    """The ids of the processes that this one has started."""
    result = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in result.stdout.split()]


def test_a_port_that_somebody_listens_on_is_refused(kafka: KafkaSettings, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = settings_of(kafka, tmp_path, other.getsockname()[1], two_ports_in_a_row())
        with running(settings, tmp_path) as processes:
            assert processes.process.wait(PATIENCE_SECONDS) == 2
            assert "choose another FRESHET_INFERENCE_GRPC_PORT" in processes.log


@pytest.mark.parametrize("port", [0, 65535])
def test_several_processes_need_a_port_each_for_their_metrics(kafka: KafkaSettings, tmp_path: Path, port: int) -> None:
    with running(settings_of(kafka, tmp_path, free_port(), port), tmp_path) as processes:
        assert processes.process.wait(PATIENCE_SECONDS) == 2
        assert re.search(r"FRESHET_INFERENCE_PROCESSES=2 needs FRESHET_INFERENCE_METRICS_PORT", processes.log)
