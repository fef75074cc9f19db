"""Inference in a process of its own, as a caller meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.settings import KafkaSettings
from shared.state.shop import ShopSettings
from tests.support.processes import kafka_environment

PATIENCE_SECONDS = 60.0
T = TypeVar("T")


def eventually(look: Callable[[], T]) -> T:
    """What `look` gives once that is truthy; fails when it never is."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        result = look()
        if result:
            return result
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Inference:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.process = process
        self._log_file = log_file
        self.address = f"127.0.0.1:{self._logged(r'gRPC on [^ ]*:([0-9]+)')}"
        self.channel = grpc.insecure_channel(self.address)
        self.stub = RecommenderServiceStub(self.channel)

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8")

    def _logged(self, pattern: str) -> str:
        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log
            return re.search(pattern, self.log)

        result = eventually(look)
        assert result is not None
        return result.group(1)

    def health(self, service: str = "") -> int:
        """The serving status, UNKNOWN while nobody answers."""
        try:
            stub = health_pb2_grpc.HealthStub(self.channel)
            return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status)
        except grpc.RpcError:
            return int(health_pb2.HealthCheckResponse.UNKNOWN)

    def wait_until_serving(self) -> None:
        def look() -> bool:
            assert self.process.poll() is None, self.log
            return self.health() == health_pb2.HealthCheckResponse.SERVING

        eventually(look)

    def recommend(
        self, user: str, count: int = 0, exclude: Sequence[str] = (), timeout: float = 20
    ) -> pb.RecommendResponse:
        request = pb.RecommendRequest(user_id=user, wishes=pb.Wishes(count=count, exclude_product_ids=exclude))
        answer: pb.RecommendResponse = self.stub.Recommend(request, timeout=timeout)
        return answer

    def serving(self) -> str:
        """The id of the version that answers."""
        return str(self.stub.ListModels(pb.ListModelsRequest(), timeout=20).serving_version)

    def metrics(self) -> dict[str, float]:
        """Every series of /metrics."""
        port = self._logged(r"metrics on http://127\.0\.0\.1:([0-9]+)")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


def environment(kafka: KafkaSettings, models: Path, **settings: object) -> dict[str, str]:
    """What the process reads: no setting of the machine's own leaks in."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    variables |= kafka_environment(kafka) | {
        "FRESHET_INFERENCE_GRPC_PORT": "0",
        "FRESHET_SHOP_MODELS_DIR": str(models),
    }
    prefix = {name: "SHOP" if name in ShopSettings.model_fields else "INFERENCE" for name in settings}
    return variables | {f"FRESHET_{prefix[name]}_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def running(
    kafka: KafkaSettings,
    folder: Path,
    *,
    serving: bool = True,
    module: str = "services.inference",
    **settings: object,
) -> Iterator[Inference]:
    """The service for the length of the block; `folder` holds its models and its log."""
    log_file = folder / "inference.log"
    with log_file.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment(kafka, folder / "models", **settings),
            stdout=sink,
            stderr=sink,
            stdin=subprocess.DEVNULL,
        )
    try:
        inference = Inference(process, log_file)
        with inference.channel:
            if serving:
                inference.wait_until_serving()
            yield inference
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_SECONDS)
