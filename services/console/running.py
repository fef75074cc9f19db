"""A running system as the console sees it: started, watched, waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from services.console.scrape import Figures, scrape
from services.console.shop import Shop
from services.console.terminal import Terminal
from services.embedded.broker import accepts
from services.embedded.system import SERVICES, System
from shared.errors import Unavailable
from shared.process import running_system
from shared.process.supervisor import Program, Supervisor

CHECK_SECONDS = 0.2
START_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Running:
    """What the parts of a command share while the system runs."""

    system: System
    supervisor: Supervisor
    terminal: Terminal
    shop: Shop

    def start(self, program: Program, what: str) -> None:
        """Start a program and say so in one line."""
        self.supervisor.start(program)
        self.terminal.say(f"  {program.name:<10} {what}")

    def figures(self, service: str) -> Figures:
        """What a service's metrics say now; none while it starts."""
        return scrape(self.system.metrics_url(service))

    def wait(self, condition: Callable[[], bool], seconds: float, tick: Callable[[], None] = lambda: None) -> bool:
        """Whether `condition` came to hold within `seconds`; calls `tick` while it waits.

        Raises:
            Unusable, Unavailable: a program ended for good.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.supervisor.check()
            if time.monotonic() >= deadline:
                return False
            tick()
            time.sleep(CHECK_SECONDS)
        return True

    def watch(self) -> None:
        """Keep everything running until interrupted.

        Raises:
            Unusable, Unavailable: a program ended for good.
        """
        self.wait(lambda: False, float("inf"))


@contextmanager
def launched(
    system: System, terminal: Terminal, *, embedded: bool, before: Sequence[Program] = ()
) -> Iterator[Running]:
    """The whole system without a replay, ready to answer; stopped when the block is left.

    Args:
        before: programs to run to their end first.

    Raises:
        Unusable, Unavailable: a program ended for good, or it did not get ready in time.
    """
    with Supervisor(say=lambda text: terminal.say(f"  ! {text}")) as supervisor, Shop(system.grpc_address) as shop:
        running = Running(system, supervisor, terminal, shop)
        for program in before:
            running.start(program, "writes the reviews of this demo")
            running.wait(lambda program=program: supervisor.status(program.name) == 0, START_SECONDS)  # type: ignore[misc]
        if embedded:
            running.start(system.broker(), f"Kafka-compatible, in memory, on {system.bootstrap_servers}")
            _require(running, lambda: accepts(system.bootstrap_servers), "the broker")
        for name in SERVICES:
            running.start(system.service(name), _WHAT[name].format(system=system))
        _require(running, shop.is_serving, "inference")
        _require(running, lambda: all(running.figures(name) for name in SERVICES), "the metrics of every service")
        with running_system.shown(system.state_dir, system.environment, system.grpc_address, system.page_url):
            yield running


def _require(running: Running, condition: Callable[[], bool], what: str) -> None:
    if not running.wait(condition, START_SECONDS):
        raise Unavailable(
            f"{what} did not get ready within {START_SECONDS:g} s; see the logs in {running.system.state_dir / 'logs'}"
        )


_WHAT = {
    "features": "scores texts, makes state vectors (Faust)",
    "trainer": "learns, publishes model versions (PyTorch)",
    "inference": "answers gRPC on {system.grpc_address}",
    "evaluator": "judges the policies on every event before it is learned",
    "gateway": "answers HTTP and shows the page: {system.page_url}",
}
