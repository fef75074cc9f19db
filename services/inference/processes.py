"""Several processes that answer on one port: one parent keeps them running and hands nothing through itself.

The kernel spreads connections over them (SO_REUSEPORT). Each follows the log by itself, so any of them answers any
call; process n shows its metrics on FRESHET_INFERENCE_METRICS_PORT + n.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from services.inference.settings import InferenceSettings
from shared.errors import Unusable
from shared.leash import leashed

log = logging.getLogger("inference")

CHECK_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
# Who stays up so long has recovered: its next pause is the first again.
RECOVERED_SECONDS = 30.0
# What a process needs at its end beside the drain.
ENDING_SECONDS = 4.0
UNUSABLE = 2  # exit status of a process that starting again can't help


class Worker:
    """One process, started again with growing pauses when it ends unexpectedly."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._command = command
        self._environment = dict(environment)
        self._clock = clock
        self._pause = FIRST_PAUSE_SECONDS
        self._start_at: float | None = None  # clock seconds; None while it runs
        self._start()

    def _start(self) -> None:
        self._start_at = None
        self._started = self._clock()
        self.process = subprocess.Popen(  # noqa: S603  # this very program
            leashed(self._command), env=self._environment, stdin=subprocess.DEVNULL
        )

    def check(self) -> None:
        """Start it again when it has ended and its pause is over.

        Raises:
            Unusable: it can't use what it was given.
        """
        now = self._clock()
        if self._start_at is not None:
            if now >= self._start_at:
                self._start()
            return
        status = self.process.poll()
        if status is None:
            return
        if status == UNUSABLE:
            raise Unusable(f"{self._name} can't go on; its own message stands above")
        self._pause = FIRST_PAUSE_SECONDS if now - self._started >= RECOVERED_SECONDS else self._pause
        log.error("%s ended with status %d; starting it again in %g s", self._name, status, self._pause)
        self._start_at = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)

    def tell(self) -> None:
        """SIGTERM, where it runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def end(self, seconds: float) -> None:
        """Wait for its end, and make it one when it does not come."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.error("%s did not end and was killed", self._name)  # noqa: TRY400  # there is no more to say
            self.process.kill()
            self.process.wait()


def run(settings: InferenceSettings, told: threading.Event) -> None:
    """Keep the processes running until told to stop; then each finishes its calls.

    Raises:
        Unusable: the port is taken, or a process can't use what it was given.
    """
    with _reserved(settings) as port:
        workers = [
            Worker(f"process {n}", [sys.executable, "-m", "services.inference"], _environment(settings, port, n))
            for n in range(settings.processes)
        ]
        log.info("%d processes answer on %s:%d", len(workers), settings.grpc_host, port)
        try:
            while not told.wait(CHECK_SECONDS):
                for worker in workers:
                    worker.check()
        finally:
            for worker in workers:
                worker.tell()
            deadline = time.monotonic() + settings.drain_seconds + ENDING_SECONDS
            for worker in workers:
                worker.end(max(0.0, deadline - time.monotonic()))


def _environment(settings: InferenceSettings, port: int, n: int) -> dict[str, str]:
    own = {
        "FRESHET_INFERENCE_PROCESSES": "1",
        "FRESHET_INFERENCE_SHARE_PORT": "true",
        "FRESHET_INFERENCE_GRPC_PORT": str(port),
        "FRESHET_INFERENCE_METRICS_PORT": str(settings.metrics_port + n),
    }
    return dict(os.environ) | own


@contextmanager
def _reserved(settings: InferenceSettings) -> Iterator[int]:
    """The port, held so that nobody but the processes can listen on it.

    Raises:
        Unusable: somebody else does.
    """
    address = (settings.grpc_host, settings.grpc_port)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended linger on it
            probe.bind(place)
            probe.listen()  # without SO_REUSEPORT: fails where anybody listens
        with socket.socket(family, kind, protocol) as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(place)
            yield int(held.getsockname()[1])
    except OSError as error:
        raise Unusable(
            f"can't listen on {address[0]}:{address[1]}: {error.strerror or error}; choose another "
            "FRESHET_INFERENCE_GRPC_PORT (0: any free one) or FRESHET_INFERENCE_GRPC_HOST"
        ) from error
