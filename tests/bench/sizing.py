"""Sizing: memory per 10,000 products and 100,000 users, and cores at 1,000 events a second, of each service."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import uvloop

import freshet
from services.trainer.settings import TrainerSettings
from tests.bench.figures import BenchSettings, Figure
from tests.bench.freshness import (
    APPLIED,
    EVENTS_PER_SECOND,
    PRODUCTS,
    SERVICES,
    USERS,
    address_of,
    as_shipped,
    first_event,
    traffic,
)
from tests.bench.log import fresh_kafka
from tests.bench.shop import user_ids
from tests.support.loop import figure, loop
from tests.support.processes import Service

PRODUCTS_ADDED, USERS_ADDED = 10_000, 100_000
EVENTS_EACH = 5
BATCH = 1_000
PATIENCE_SECONDS = 1_800.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
SERVED = "freshet_inference_model_applied_events"
PUBLISH_EVENTS = TrainerSettings.model_fields["publish_events"].default
# As shipped, but as after months: a step every 64 transitions. What else runs here must not starve the trainer.
SETTINGS = as_shipped(giving_way=False) | {
    "FRESHET_TRAINER_TRANSITIONS_PER_STEP": str(TrainerSettings.model_fields["most_transitions_per_step"].default)
}
APPLIED_OF = {
    "services.trainer": APPLIED,
    "services.inference": "freshet_inference_applied_total",
    "services.evaluator": "freshet_evaluator_applied_events_total",
}


class System:
    """The services, and how many events they were sent."""

    def __init__(self, services: Mapping[str, Service], address: str) -> None:
        self.services = services
        self.address = address

    def send(self, events: Iterable[freshet.Event]) -> None:
        """Record events, and return once every reader has applied them."""
        before = self._applied()
        sent = 0
        remaining = iter(events)
        with freshet.Client(self.address) as client:
            while batch := list(islice(remaining, BATCH)):
                client.record(batch, timeout=60)
                sent += len(batch)
        self._wait({name: count + sent for name, count in before.items()})

    def traffic(self, seconds: float) -> dict[str, float]:
        """Send 1,000 events a second; the CPU seconds that each service takes for a thousand, catching up included."""
        before = self.cpu_seconds()
        uvloop.run(traffic(self.address, seconds))
        self.settle()
        after = self.cpu_seconds()
        return {name: (after[name] - before[name]) / seconds for name in after}

    def settle(self) -> None:
        """Wait until no reader is behind another."""
        newest = max(self._applied().values())
        self._wait(dict.fromkeys(APPLIED_OF, newest))

    def cpu_seconds(self) -> dict[str, float]:
        """User and system time of each service since its start, proc(5)."""
        used = {}
        for name, service in self.services.items():
            fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
            used[name] = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
        return used

    def memory(self, line: str = "VmRSS") -> dict[str, float]:
        """MiB of each service: VmRSS resident now, VmHWM at most so far, proc(5)."""
        megabytes = {}
        for name, service in self.services.items():
            status = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
            [value] = [text.split()[1] for text in status if text.startswith(f"{line}:")]
            megabytes[name] = int(value) * 1024 / MIB
        return megabytes

    def _applied(self) -> dict[str, float]:
        return {name: figure(self.services[name], applied) for name, applied in APPLIED_OF.items()}

    def _wait(self, wanted: Mapping[str, float]) -> None:
        for name, count in wanted.items():
            self.services[name].wait_for(
                lambda name=name, count=count: figure(self.services[name], APPLIED_OF[name]) >= count,
                f"{count:,.0f} events applied",
                seconds=PATIENCE_SECONDS,
            )
        inference = self.services["services.inference"]
        newest = min(wanted.values()) - PUBLISH_EVENTS
        inference.wait_for(lambda: figure(inference, SERVED) >= newest, f"a version of {newest:,.0f} events")


def run(settings: BenchSettings) -> list[Figure]:
    """Four figures a service: what it takes with a small shop, what products and users add, and its CPU."""
    share = 50 if settings.quick else 1
    with fresh_kafka(settings) as kafka, loop(kafka, settings.folder / "loop", SETTINGS) as running:
        services = {module: running.start(module) for module in SERVICES}
        system = System(services, address_of(services["services.inference"]))
        uvloop.run(first_event(system.address))
        settings.say(f"{EVENTS_PER_SECOND:,} events a second of {USERS:,} users, {PRODUCTS:,} products")
        system.traffic(40 / share)
        small = system.traffic(20 / share)  # then the replay buffer is full
        base = system.memory()
        settings.say(_listed("MiB", base) + _listed("CPU", small))
        settings.say(f"{PRODUCTS_ADDED // share:,} more products, {EVENTS_EACH} events each")
        system.send(_of_products(system, PRODUCTS_ADDED // share))
        products = system.memory()
        settings.say(_listed("MiB", products))
        settings.say(f"{USERS_ADDED // share:,} more users, an event each")
        system.send(_of_users(USERS_ADDED // share))
        users = system.memory()
        settings.say(_listed("MiB", users))
        settings.say(f"{EVENTS_PER_SECOND:,} events a second again")
        large = system.traffic(15 / share)
        settings.say(_listed("CPU", large))
        most = system.memory("VmHWM")
    figures = []
    for module in SERVICES:
        name = module.removeprefix("services.")
        figures += [
            _figure(f"{name}: memory of a small shop", base[module], "MiB", f"at most {most[module]:.0f} in all"),
            _figure(f"{name}: per 10,000 products", (products[module] - base[module]) * share, "MiB"),
            _figure(f"{name}: per 100,000 users", (users[module] - products[module]) * share, "MiB"),
            _figure(f"{name}: 1,000 events/s", small[module], "cores", f"{large[module]:.2f} with all of them"),
        ]
    return figures


def _listed(what: str, by_service: Mapping[str, float]) -> str:
    values = ", ".join(f"{module.removeprefix('services.')} {value:.3g}" for module, value in by_service.items())
    return f"{what}: {values}. "


def _figure(name: str, value: float, unit: str, note: str = "") -> Figure:
    return Figure(name, value, unit, None, "", None, at_least=False, note=note)


def _of_products(system: System, count: int) -> Iterator[freshet.Event]:
    """Announce products, and let known users view them often enough to fill the replay buffer anew."""
    names = [f"P{n:09d}" for n in range(count)]
    with freshet.Client(system.address) as client:
        client.upsert_products(
            [freshet.Product(name, title=f"Fennick Wheelbarrow {name}", price=9.99) for name in names], timeout=60
        )
    users = user_ids(USERS)
    for turn in range(EVENTS_EACH):
        for n, name in enumerate(names):
            yield freshet.view(users[(7 * n + turn) % USERS], name)


def _of_users(count: int) -> Iterator[freshet.Event]:
    """One view for each new user, of known products."""
    for n in range(count):
        yield freshet.view(f"U{n:012d}X", f"P{n % 100:09d}")
