"""A real Apache Kafka (KRaft) on loopback, one broker or several, run from an unpacked distribution of version 4."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.embedded.broker import free_port
from shared.process.leash import leashed
from tests.support.processes import ROOT

SECONDS_TO_START = 90.0
LOGGING = ROOT / "services" / "monitoring" / "kafka-log4j2.yaml"
# One that starts fast and leaves the machine's few cores to what is tested.
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={LOGGING}")


def what_is_missing(distribution: Path) -> str:
    """Why no broker can be run from this folder; empty when it can."""
    if not list(distribution.glob("libs/kafka_*.jar")):
        return (
            f"no Apache Kafka in {distribution}: set FRESHET_TEST_KAFKA to an unpacked distribution of version 4 (the "
            "folder that holds libs/), or name a running broker by --broker <host:port>"
        )
    if shutil.which("java") is None:
        return "no java: install a Java 17 runtime (Debian: openjdk-17-jre-headless)"
    return ""


class Cluster:
    """Brokers that are controllers, too; each keeps its log in a folder of its own over a kill."""

    def __init__(
        self,
        distribution: Path,
        folder: Path,
        *,
        brokers: int = 1,
        protocols: Sequence[str] = ("PLAINTEXT",),
        linked_port: int = 0,
        settings: Mapping[str, str] | None = None,
        format_options: Sequence[str] = (),
    ) -> None:
        """Nothing runs before `start`.

        Args:
            protocols: of the listeners for clients, which bear their names.
            linked_port: where one broker tells those to come back to who came in at `behind_the_link`; 0: nowhere.
            settings: of every broker, beside its own.
            format_options: more for `kafka-storage.sh format`.
        """
        self._distribution, self._folder = distribution, folder
        internal = ["INSIDE", "CONTROLLER", *(["LINKED"] if linked_port else [])]
        self._protocols = {name: name for name in protocols} | dict.fromkeys(internal, "PLAINTEXT")
        self._ports = {n: {name: free_port() for name in self._protocols} for n in range(1, brokers + 1)}
        self._settings = settings or {}
        self._format_options = format_options
        self._id = uuid.uuid4().hex[:22]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.linked_port = linked_port

    def addresses(self, protocol: str = "PLAINTEXT") -> str:
        """Where clients find its brokers: `host:port,…`."""
        return ",".join(f"127.0.0.1:{ports[protocol]}" for ports in self._ports.values())

    @property
    def behind_the_link(self) -> int:
        """The port of the listener that sends its clients back to `linked_port`."""
        return self._ports[1]["LINKED"]

    def log(self, n: int) -> str:
        """What a broker has written so far."""
        return self._log_file(n).read_text(errors="replace")

    def start(self, *only: int) -> None:
        """Start the brokers, or some, and wait until they serve."""
        some = only or tuple(self._ports)
        for n in some:
            file = self._folder / f"broker-{n}.properties"
            file.write_text("".join(f"{name}={value}\n" for name, value in self._properties(n).items()))
            self._format(file)
            with self._log_file(n).open("wb") as sink:
                self._processes[n] = subprocess.Popen(
                    leashed(self._java("kafka.Kafka", str(file))), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL
                )
        deadline = time.monotonic() + SECONDS_TO_START
        for n in some:
            while "Kafka Server started" not in self.log(n):
                ended = self._processes[n].poll()
                assert ended is None, f"broker {n} ended with {ended}:\n{self.log(n)[-3000:]}"
                assert time.monotonic() < deadline, f"broker {n} does not start:\n{self.log(n)[-3000:]}"
                time.sleep(0.05)

    def kill(self, n: int) -> None:
        """kill -9."""
        self._processes[n].kill()
        self._processes[n].wait(10)

    def close(self) -> None:
        """End it; its logs are a test's, and not worth a clean end."""
        for n in self._processes:
            self.kill(n)

    def _log_file(self, n: int) -> Path:
        return self._folder / f"broker-{n}.log"

    def _java(self, *arguments: str) -> list[str]:
        return [str(shutil.which("java")), *JVM, "-cp", f"{self._distribution}/libs/*", *arguments]

    def _format(self, file: Path) -> None:
        command = self._java("kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", self._id, "-c", str(file))
        done = subprocess.run([*command, *self._format_options], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def _properties(self, n: int) -> dict[str, str]:
        copies = min(len(self._ports), 3)
        in_sync = str(max(copies - 1, 1))
        advertised = {name: port for name, port in self._ports[n].items() if name != "CONTROLLER"}
        if self.linked_port:
            advertised["LINKED"] = self.linked_port
        voters = (f"{other}@127.0.0.1:{ports['CONTROLLER']}" for other, ports in self._ports.items())
        return {
            "process.roles": "broker,controller",
            "node.id": str(n),
            "controller.quorum.voters": ",".join(voters),
            "listeners": _shown(self._ports[n]),
            "advertised.listeners": _shown(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in self._protocols.items()),
            "inter.broker.listener.name": "INSIDE",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._folder / f"data-{n}"),
            "default.replication.factor": str(copies),
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": str(copies),
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": str(copies),
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
        } | self._settings


def _shown(listeners: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())


@contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, up for the length of the block."""
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
