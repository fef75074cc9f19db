"""The whole system on one machine: which programs, with which ports, folders and settings."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.embedded import broker
from shared.process.errors import Unusable
from shared.process.supervisor import Program

BOOTSTRAP = "FRESHET_KAFKA_BOOTSTRAP_SERVERS"
GRPC_PORT = "FRESHET_INFERENCE_GRPC_PORT"
HTTP_PORT = "FRESHET_GATEWAY_PORT"
RECOMMENDER = "FRESHET_GATEWAY_RECOMMENDER"
EVALUATOR_METRICS = "FRESHET_GATEWAY_EVALUATOR_METRICS"
KAFKA_PORT = "--kafka-port"  # the console's option

SERVICES = ("features", "trainer", "inference", "evaluator", "gateway")

# Variable → folder, below the state folder, where every program of this system keeps things.
_FOLDERS = {
    "FRESHET_TRAINER_STATE_DIR": "trainer",
    "FRESHET_INFERENCE_STATE_DIR": "inference",
    "FRESHET_REPLAY_STATE_DIR": "replay",
    "FRESHET_SHOP_MODELS_DIR": "models",
}


@dataclass(frozen=True, slots=True)
class System:
    """The folders, addresses and settings of one system."""

    state_dir: Path
    bootstrap_servers: str
    grpc_port: int
    http_port: int
    metrics_ports: Mapping[str, int]  # service → port
    environment: Mapping[str, str] = field(repr=False)  # of every program

    @property
    def grpc_address(self) -> str:
        """`host:port` to call."""
        return f"{_reachable(self.environment, 'FRESHET_INFERENCE_GRPC_HOST')}:{self.grpc_port}"

    @property
    def page_url(self) -> str:
        """Where the page is, and HTTP is answered."""
        return f"http://{_reachable(self.environment, 'FRESHET_GATEWAY_HOST')}:{self.http_port}/"

    @property
    def models_dir(self) -> Path:
        """The folder of the model versions."""
        return self.state_dir / "models"

    def metrics_url(self, service: str) -> str:
        """Where a service shows its metrics."""
        return f"http://127.0.0.1:{self.metrics_ports[service]}/metrics"

    def log_file(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.state_dir / "logs" / f"{name}.log"

    def service(self, name: str) -> Program:
        """One of `SERVICES`."""
        return self._python(name, f"services.{name}")

    def replay(self, *arguments: str, name: str = "replay") -> Program:
        """`python -m replay …`: it may end by itself."""
        return self._python(name, "replay", *arguments, restart=False)

    def broker(self) -> Program:
        """The embedded broker."""
        return Program(
            name="broker",
            command=broker.command(int(self.bootstrap_servers.rpartition(":")[2])),
            log_file=self.log_file("broker"),
            environment=self.environment,
            irreplaceable="it keeps the log in memory, so everything is lost with it; start again",
        )

    def _python(self, name: str, module: str, *arguments: str, restart: bool = True) -> Program:
        return Program(
            name=name,
            # -P: a folder named `services` or `shared` in the working folder is not ours.
            command=[sys.executable, "-P", "-m", module, *arguments],
            log_file=self.log_file(name),
            environment=self.environment,
            restart=restart,
        )


def plan(
    state_dir: Path,
    environ: Mapping[str, str],
    *,
    bootstrap_servers: str | None = None,
    kafka_port: int | None = None,
    grpc_port: int | None = None,
    http_port: int | None = None,
    defaults: Mapping[str, str] | None = None,
) -> System:
    """Decide on ports, folders and settings; nothing is started.

    Args:
        environ: the operator's variables; they win over `defaults` and over ports chosen here.
        bootstrap_servers: a Kafka of the operator's own; None: the embedded broker.
        kafka_port, grpc_port, http_port: None: any free one.

    Raises:
        Unusable: a variable sets what is chosen here, or a port is taken.
    """
    state_dir = state_dir.resolve()
    _refuse_owned(environ, [*_FOLDERS, RECOMMENDER, EVALUATOR_METRICS, *([] if bootstrap_servers else [BOOTSTRAP])])
    if bootstrap_servers is None:
        port = kafka_port if kafka_port is not None else broker.free_port()
        broker.require_free(port, KAFKA_PORT)
        bootstrap_servers = f"127.0.0.1:{port}"
    settings = dict(defaults or {})
    settings |= {"OMP_NUM_THREADS": "1"}  # several programs share few cores; the trainer has a setting of its own
    settings[GRPC_PORT] = str(grpc_port if grpc_port is not None else broker.free_port())
    settings[HTTP_PORT] = str(http_port if http_port is not None else broker.free_port())
    settings |= {_metrics_port(name): str(broker.free_port()) for name in (*SERVICES, "replay")}
    environment = settings | dict(environ)
    environment |= {name: str(state_dir / folder) for name, folder in _FOLDERS.items()}
    environment[BOOTSTRAP] = bootstrap_servers
    ports = {name: _port(environment, _metrics_port(name)) for name in (*SERVICES, "replay")}
    grpc_port, http_port = _port(environment, GRPC_PORT), _port(environment, HTTP_PORT)
    broker.require_free(grpc_port, GRPC_PORT)
    broker.require_free(http_port, HTTP_PORT)
    for name, metrics_port in ports.items():
        broker.require_free(metrics_port, _metrics_port(name))
    system = System(state_dir, bootstrap_servers, grpc_port, http_port, ports, environment)
    environment[RECOMMENDER] = system.grpc_address
    environment[EVALUATOR_METRICS] = system.metrics_url("evaluator")
    return system


def _reachable(environment: Mapping[str, str], host: str) -> str:
    """The host at which to reach what listens on the address that a variable names."""
    address = environment.get(host, "127.0.0.1")
    return "127.0.0.1" if address in ("0.0.0.0", "::", "[::]") else address  # noqa: S104  # compared


def _metrics_port(service: str) -> str:
    return f"FRESHET_{service.upper()}_METRICS_PORT"


def _port(environment: Mapping[str, str], name: str) -> int:
    try:
        port = int(environment[name])
    except ValueError:
        port = -1
    if not 0 < port <= 65535:
        raise Unusable(f"{name}={environment[name]!r}: must be a port, 1 to 65535; without it a free one is chosen")
    return port


def _refuse_owned(environ: Mapping[str, str], owned: Iterable[str]) -> None:
    for name in owned:
        if name in environ:
            raise Unusable(
                f"{name} can't be set for this command, which chooses it: unset it (folders follow from --state-dir)"
            )
