"""Programs are started again, given up, and never outlive who started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.embedded import broker
from services.embedded.system import BOOTSTRAP, GRPC_PORT, HTTP_PORT, RECOMMENDER, plan
from shared.process.errors import Unavailable, Unusable
from shared.process.supervisor import MOST_ENDS_IN_A_ROW, Program, Supervisor

SLEEP = "import time; time.sleep(600)"


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def program(folder: Path, code: str, *, name: str = "worker", restart: bool = True, irreplaceable: str = "") -> Program:
    return Program(
        name, [sys.executable, "-I", "-S", "-c", code], folder / "logs" / f"{name}.log", dict(os.environ),
        restart=restart, irreplaceable=irreplaceable,
    )  # fmt: skip


def until(condition: Callable[[], bool], *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def supervisor(clock: Clock, reports: list[str]) -> Iterator[Supervisor]:
    with Supervisor(reports.append, clock) as running:
        yield running


def test_what_ends_is_started_again_after_a_growing_pause(
    supervisor: Supervisor, clock: Clock, reports: list[str], tmp_path: Path
) -> None:
    supervisor.start(program(tmp_path, "raise SystemExit(3)"))
    for restarts, pause in enumerate((0.5, 1.0, 2.0)):
        until(lambda: supervisor.status("worker") is not None)
        supervisor.check()
        clock.now += pause - 0.01
        supervisor.check()
        assert supervisor.restarts("worker") == restarts
        clock.now += 0.02
        supervisor.check()
        assert supervisor.restarts("worker") == restarts + 1
    assert reports[0].startswith("worker ended (status 3); starting it again in 0.5 s")


def test_who_stays_up_for_a_while_has_recovered(supervisor: Supervisor, clock: Clock, tmp_path: Path) -> None:
    supervisor.start(program(tmp_path, SLEEP))
    for restarts in range(1, MOST_ENDS_IN_A_ROW + 3):
        clock.now += 31.0
        os.kill(supervisor.pid("worker"), signal.SIGKILL)
        until(lambda: supervisor.status("worker") is not None)
        supervisor.check()
        clock.now += 0.5
        supervisor.check()
        assert supervisor.restarts("worker") == restarts


def test_what_never_stays_up_is_given_up_with_its_last_words(
    supervisor: Supervisor, clock: Clock, tmp_path: Path
) -> None:
    supervisor.start(program(tmp_path, "raise SystemExit('the disk is on fire')"))
    with pytest.raises(Unavailable, match=r"worker does not stay up: it ended 5 times(.|\n)*the disk is on fire"):
        for _ in range(100):
            until(lambda: supervisor.status("worker") is not None)
            supervisor.check()
            clock.now += 10.0
            supervisor.check()
    assert supervisor.restarts("worker") == MOST_ENDS_IN_A_ROW - 1


def test_what_must_not_be_given_up_is_started_again_however_often_it_ends(
    supervisor: Supervisor, clock: Clock, tmp_path: Path
) -> None:
    supervisor.start(replace(program(tmp_path, "raise SystemExit(3)"), most_ends_in_a_row=float("inf")))
    for restarts in range(1, MOST_ENDS_IN_A_ROW + 3):
        until(lambda: supervisor.status("worker") is not None)
        supervisor.check()
        clock.now += 10.0
        supervisor.check()
        assert supervisor.restarts("worker") == restarts


def test_without_a_log_file_a_program_writes_where_its_supervisor_does(
    supervisor: Supervisor, clock: Clock, reports: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, code in (("one", "raise SystemExit('the disk is on fire')"), ("two", "print('up'); raise SystemExit(2)")):
        supervisor.start(replace(program(tmp_path, code, name=name), log_file=None))
        until(lambda name=name: supervisor.status(name) is not None)  # type: ignore[misc]
    with pytest.raises(Unusable, match=r"^two can't go on; its own message stands above$"):
        supervisor.check()
    assert reports == ["one ended (status 1); starting it again in 0.5 s"]
    output = capfd.readouterr()
    assert (output.out, output.err) == ("up\n", "the disk is on fire\n")


def test_status_2_ends_everything_and_shows_why(supervisor: Supervisor, tmp_path: Path) -> None:
    code = "import sys; print('trainer: wrong setting', file=sys.stderr); sys.exit(2)"
    supervisor.start(program(tmp_path, code))
    until(lambda: supervisor.status("worker") is not None)
    with pytest.raises(Unusable, match=r"worker can't go on:\n  trainer: wrong setting\n  \(.*worker.log\)"):
        supervisor.check()


def test_nothing_goes_on_without_the_irreplaceable(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(program(tmp_path, SLEEP, irreplaceable="all is lost with it"))
    os.kill(supervisor.pid("worker"), signal.SIGKILL)
    until(lambda: supervisor.status("worker") is not None)
    with pytest.raises(Unavailable, match=r"worker ended \(SIGKILL\): all is lost with it"):
        supervisor.check()


def test_a_program_that_may_end_is_not_started_again(supervisor: Supervisor, clock: Clock, tmp_path: Path) -> None:
    supervisor.start(program(tmp_path, "", restart=False))
    until(lambda: supervisor.status("worker") is not None)
    for _ in range(3):
        supervisor.check()
        clock.now += 60.0
    assert (supervisor.status("worker"), supervisor.restarts("worker")) == (0, 0)


def test_its_failure_is_told(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(program(tmp_path, "raise SystemExit('no more paper')", restart=False))
    until(lambda: supervisor.status("worker") is not None)
    with pytest.raises(Unavailable, match=r"worker failed \(status 1\):\n  no more paper"):
        supervisor.check()


def test_who_does_not_listen_is_killed_and_the_irreplaceable_goes_last(tmp_path: Path) -> None:
    order = tmp_path / "order"
    note = f"open({str(order)!r}, 'a').write(NAME + ' '); import sys; sys.exit()"
    wait = "print('up', flush=True); time.sleep(600)"
    catch = f"import signal, time; signal.signal(signal.SIGTERM, lambda *_: exec(NOTE)); {wait}"
    deaf = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {wait}"
    supervisor = Supervisor()
    for name, code, irreplaceable in (
        ("broker", f"NAME, NOTE = 'broker', {note!r}; {catch}", "it must be last"),
        ("service", f"NAME, NOTE = 'service', {note!r}; {catch}", ""),
        ("deaf", deaf, ""),
    ):
        supervisor.start(program(tmp_path, code, name=name, irreplaceable=irreplaceable))
    names = ("broker", "service", "deaf")
    until(lambda: all((tmp_path / "logs" / f"{name}.log").read_text() == "up\n" for name in names))
    assert supervisor.stop(grace_seconds=2.0) == ["deaf"]
    assert order.read_text() == "service broker "
    assert [supervisor.status(name) for name in names] == [0, 0, -signal.SIGKILL]


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    worker = f"print('up', flush=True); {SLEEP}"
    code = f"""
import os, sys, time
from pathlib import Path
from services.embedded import broker
from shared.process.supervisor import Program, Supervisor
supervisor = Supervisor()
folder = Path({str(tmp_path)!r})
port = broker.free_port()
supervisor.start(Program("worker", [sys.executable, "-c", {worker!r}], folder / "worker.log", dict(os.environ)))
supervisor.start(Program("broker", broker.command(port), folder / "broker.log", dict(os.environ)))
print(supervisor.pid("worker"), supervisor.pid("broker"), port, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        *pids, port = (int(word) for word in parent.stdout.readline().split())
        until(lambda: broker.accepts(f"127.0.0.1:{port}") and (tmp_path / "worker.log").read_text() == "up\n")
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        parent.kill()
    until(lambda: not any(alive(pid) for pid in pids))


def test_no_port_is_given_away_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on a port yet when the next one is chosen."""
    first = broker.free_port()
    monkeypatch.setattr(broker, "PORTS", range(first, first + 300))
    assert len({first, *(broker.free_port() for _ in range(40))}) == 41


def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(Unusable, match=f"port {port} on 127.0.0.1 is taken.* another with {GRPC_PORT}$"):
            plan(tmp_path, {GRPC_PORT: str(port)})
        with pytest.raises(Unusable, match=f"another with {HTTP_PORT}$"):
            plan(tmp_path, {HTTP_PORT: str(port)})
        with pytest.raises(Unusable, match=r"another with FRESHET_TRAINER_METRICS_PORT$"):
            plan(tmp_path, {"FRESHET_TRAINER_METRICS_PORT": str(port)})
        with pytest.raises(Unusable, match=f"port {port} on 127.0.0.1 is taken.* another with --kafka-port$"):
            plan(tmp_path, {}, kafka_port=port)
        with pytest.raises(Unusable, match="is taken"), broker.running(tmp_path / "broker.log", port):
            pass


def test_what_the_operator_sets_wins_over_defaults(tmp_path: Path) -> None:
    port = broker.free_port()
    system = plan(tmp_path, {"FRESHET_TRAINER_SEED": "9", GRPC_PORT: str(port)}, defaults={"FRESHET_TRAINER_SEED": "7"})
    assert system.service("trainer").environment["FRESHET_TRAINER_SEED"] == "9"
    assert system.grpc_address == f"127.0.0.1:{port}"
    ports = [
        *system.metrics_ports.values(),
        system.grpc_port,
        system.http_port,
        int(system.bootstrap_servers.rpartition(":")[2]),
    ]
    assert len(set(ports)) == len(ports)


def test_the_gateway_is_told_where_the_others_are(tmp_path: Path) -> None:
    anywhere = dict.fromkeys(("FRESHET_INFERENCE_GRPC_HOST", "FRESHET_GATEWAY_HOST"), "0.0.0.0")  # noqa: S104  # a plan
    system = plan(tmp_path, anywhere, http_port=(port := broker.free_port()))
    assert system.page_url == f"http://127.0.0.1:{port}/"
    variables = system.service("gateway").environment
    assert variables[HTTP_PORT] == str(port)
    assert variables[RECOMMENDER] == f"127.0.0.1:{system.grpc_port}"
    assert variables["FRESHET_GATEWAY_EVALUATOR_METRICS"] == system.metrics_url("evaluator")


@pytest.mark.parametrize("name", ["FRESHET_SHOP_MODELS_DIR", BOOTSTRAP, RECOMMENDER])
def test_what_is_decided_here_can_not_be_set(name: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=f"{name} can.t be set for this command"):
        plan(tmp_path, {name: "elsewhere"})


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="FRESHET_INFERENCE_GRPC_PORT='many': must be a port"):
        plan(tmp_path, {GRPC_PORT: "many"})
