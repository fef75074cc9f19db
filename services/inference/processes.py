"""Runs several processes that serve on one port.

The parent only supervises: the kernel spreads connections over the processes (SO_REUSEPORT). Each follows the log by
itself, so any of them answers any call; process n exposes its metrics on FRESHET_INFERENCE_METRICS_PORT + n.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from services.inference.settings import InferenceSettings
from shared.process.errors import Unusable
from shared.process.supervisor import Program, Supervisor

log = logging.getLogger("inference")

CHECK_SECONDS = 0.1
# Time that a process needs to end, beyond the drain.
ENDING_SECONDS = 4.0


def run(settings: InferenceSettings, stop: threading.Event) -> None:
    """Keep the processes running until `stop` is set, then let each finish its calls.

    Raises:
        Unusable: the port is in use, or a process can't use its settings.
    """
    with _reserved(settings) as port:
        supervisor = Supervisor(log.error)
        try:
            for n in range(settings.processes):
                supervisor.start(_process(settings, port, n))
            log.info("%d processes serve on %s:%d", settings.processes, settings.grpc_host, port)
            while not stop.wait(CHECK_SECONDS):
                supervisor.check()
        finally:
            for name in supervisor.stop(settings.drain_seconds + ENDING_SECONDS):
                log.error("%s did not stop and was killed", name)


def _process(settings: InferenceSettings, port: int, n: int) -> Program:
    """Process n, which is restarted for ever, since the others serve meanwhile."""
    environment = {
        "FRESHET_INFERENCE_PROCESSES": "1",
        "FRESHET_INFERENCE_SHARE_PORT": "true",
        "FRESHET_INFERENCE_GRPC_PORT": str(port),
        "FRESHET_INFERENCE_METRICS_PORT": str(settings.metrics_port + n),
    }
    return Program(
        name=f"process {n}",
        command=[sys.executable, "-m", "services.inference"],
        log_file=None,
        environment=dict(os.environ) | environment,
        most_ends_in_a_row=float("inf"),
    )


@contextmanager
def _reserved(settings: InferenceSettings) -> Iterator[int]:
    """The port, reserved for the processes.

    Raises:
        Unusable: another program listens on it.
    """
    address = (settings.grpc_host, settings.grpc_port)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections linger on it
            probe.bind(place)
            probe.listen()  # without SO_REUSEPORT, so it fails where another program listens
        with socket.socket(family, kind, protocol) as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(place)
            yield int(held.getsockname()[1])
    except OSError as error:
        raise Unusable(
            f"can't listen on {address[0]}:{address[1]}: {error.strerror or error}; choose another "
            "FRESHET_INFERENCE_GRPC_PORT (0: any free one) or FRESHET_INFERENCE_GRPC_HOST"
        ) from error
