"""The system that runs in this folder: a file in its state folder says where it answers, and commands look there.

Such a file lies in each state folder below `.freshet` for as long as its system answers. What it holds counts where
the environment's own variables name no Kafka.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "running.json"
STATE_FOLDERS = Path(".freshet")
BOOTSTRAP = "FRESHET_KAFKA_BOOTSTRAP_SERVERS"
_KAFKA = "FRESHET_KAFKA_"
_ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """Where a system answers."""

    pid: int  # of the process that keeps it running
    grpc_address: str
    page_url: str
    kafka: dict[str, str]  # the variables by which its log is reached


@contextmanager
def shown(state_dir: Path, environment: Mapping[str, str], grpc_address: str, page_url: str) -> Iterator[None]:
    """Let others find the system for the length of the block.

    Args:
        environment: of its programs.
    """
    kafka = {name: value for name, value in environment.items() if name.startswith(_KAFKA)}
    system = RunningSystem(os.getpid(), grpc_address, page_url, kafka)
    file, new = state_dir / FILE, state_dir / f"{FILE}.new"
    new.write_text(json.dumps(asdict(system), indent=2) + "\n", encoding="utf-8")
    new.replace(file)  # whole from its first moment
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def is_found_here(state_dir: Path) -> bool:
    """Whether commands that are run in this folder look into that state folder."""
    return state_dir.resolve().parent == STATE_FOLDERS.resolve()


def running_here(say: Callable[[str], None]) -> RunningSystem | None:
    """The system that runs in this folder, the newest of several; None: none does.

    Args:
        say: takes a line about each file that is ignored, its system having ended, and about a choice among several.
    """
    alive = []
    for file in sorted(STATE_FOLDERS.glob(f"*/{FILE}"), key=_age):
        system = _read(file)
        reason = "it can't be read" if system is None else _why_not(system)
        if system is None or reason:
            say(f"{file} is ignored: {reason}")
        else:
            alive.append((file, system))
    if len(alive) > 1:
        say(f"several systems run here; this is the newest, of {alive[0][0].parent}")
    return alive[0][1] if alive else None


def environment_here(environ: Mapping[str, str], say: Callable[[str], None]) -> Mapping[str, str]:
    """The environment, with the Kafka of the system that runs in this folder where it names none itself."""
    if any(name.upper() == BOOTSTRAP for name in environ):
        return environ
    system = running_here(say)
    return environ if system is None else {**system.kafka, **environ}


def _age(file: Path) -> float:
    try:
        return -file.stat().st_mtime
    except OSError:  # its system has just ended
        return 0.0


def _read(file: Path) -> RunningSystem | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kafka = {str(name): str(value) for name, value in content["kafka"].items() if name.startswith(_KAFKA)}
        if BOOTSTRAP not in kafka:
            return None
        return RunningSystem(int(content["pid"]), str(content["grpc_address"]), str(content["page_url"]), kafka)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _why_not(system: RunningSystem) -> str:
    """Why the system is none that runs; empty: it is."""
    try:
        os.kill(system.pid, 0)
    except ProcessLookupError:
        return f"the system that wrote it has ended (process {system.pid})"
    except (PermissionError, OverflowError):
        pass  # another user's; whether it answers is tried next
    servers = system.kafka[BOOTSTRAP]
    return "" if any(map(_answers, servers.split(","))) else f"no broker answers at {servers}"


def _answers(server: str) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS):
            return True
    except (OSError, ValueError, OverflowError):
        return False
