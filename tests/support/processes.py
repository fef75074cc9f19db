"""Services as processes of their own, as people run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.embedded.broker import free_port
from services.embedded.running import scrape
from shared.process.settings import KafkaSettings, names_of

ROOT = Path(__file__).parents[2]
GIVING_WAY = ("trainer", "evaluator")
QUICK_GROUPS = "TESTS_QUICK_GROUPS"  # set where the broker takes sessions shorter than Kafka's 6 s


def kafka_environment(kafka: KafkaSettings) -> dict[str, str]:
    """The variables that give a process these Kafka settings."""
    given = zip(names_of(KafkaSettings), kafka.model_dump().values(), strict=True)
    return {name: str(value) for name, value in given if value is not None}


class Service:
    """One `python -m <module>` with its log file and its metrics."""

    def __init__(self, module: str, environment: Mapping[str, str], log_file: Path, *arguments: str) -> None:
        name = module.rpartition(".")[2]
        self.metrics_port = free_port()
        self.log_file = log_file
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FRESHET_")}
        defaults = {f"FRESHET_{name.upper()}_METRICS_PORT": str(self.metrics_port)}
        if name in GIVING_WAY:  # not to whatever else a busy machine does while the tests wait
            defaults[f"FRESHET_{name.upper()}_NICENESS"] = "0"
        if name == "features" and QUICK_GROUPS in os.environ:  # a group forms in half a session
            defaults["FRESHET_FEATURES_SESSION_SECONDS"] = "3"
        with log_file.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=inherited | defaults | dict(environment),
                cwd=ROOT,
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_file.read_text(errors="replace")

    def metrics(self) -> dict[str, float]:
        """What /metrics says now: `name{label="value"}` → value; empty while nobody answers."""
        return scrape(f"http://127.0.0.1:{self.metrics_port}/metrics", seconds=5.0)

    def wait_for(self, condition: Callable[[], bool], what: str, *, seconds: float = 60.0) -> None:
        """Return once `condition` holds; fail with the log's end when the process ends first or time is up."""
        deadline = time.monotonic() + seconds
        while not condition():
            ended = self.process.poll()
            if ended is not None and not condition():
                raise AssertionError(f"ended with {ended} before {what}:\n{self.log[-3000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {what} within {seconds:g} s:\n{self.log[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, *, seconds: float = 20.0) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def running(module: str, environment: Mapping[str, str], log_file: Path, *arguments: str) -> Iterator[Service]:
    """A service for the length of the block; killed at its end if it still runs."""
    service = Service(module, environment, log_file, *arguments)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.kill()
