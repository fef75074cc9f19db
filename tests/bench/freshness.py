"""Freshness at 1,000 events a second, all running: from recording an event to the first answer that has seen it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import grpc
import numpy as np
import uvloop

from services.trainer.settings import TrainerSettings
from shared.pb.freshet.v1 import events_pb2
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2_grpc import RecommenderServiceStub
from shared.process.settings import names_of
from tests.bench.figures import BenchSettings, Figure
from tests.bench.log import fresh_kafka
from tests.bench.shop import product_ids, user_ids
from tests.support.loop import SMALL, figure, loop
from tests.support.processes import GIVING_WAY, Service

EVENTS_PER_SECOND = 1000
BATCH = 10
PROBES_PER_SECOND = 20
USERS, PRODUCTS = 5_000, 2_000
WANTED_MS = 500.0
NICENESS = str(TrainerSettings.model_fields["niceness"].default)
SERVICES = ("services.features", "services.trainer", "services.inference", "services.evaluator")
APPLIED, STEPS = "freshet_trainer_applied_events_total", "freshet_trainer_steps_total"
TEXT = "I bought it for my brother and he loves it. The sound is great, but the cable is too short and broke in a week."


def run(settings: BenchSettings) -> list[Figure]:
    """Two figures, the median and the 99th percentile, of events that are followed among all others."""
    warm_up, seconds = (2.0, 2.0) if settings.quick else (20.0, 30.0)
    with fresh_kafka(settings) as kafka, loop(kafka, settings.folder / "loop", as_shipped()) as system:
        services = {module: system.start(module) for module in SERVICES}
        address = address_of(services["services.inference"])
        uvloop.run(first_event(address))
        settings.say(f"{EVENTS_PER_SECOND:,} events a second for {warm_up:g} s, to warm up")
        uvloop.run(traffic(address, warm_up))
        before = _learned(services["services.trainer"])
        settings.say(f"the same for {seconds:g} s")
        took, late = uvloop.run(traffic(address, seconds))
        learned = [after - then for after, then in zip(_learned(services["services.trainer"]), before, strict=True)]
        versions = len(system.versions())
    p50, p99 = (float(quantile) * 1000 for quantile in np.quantile(took, (0.5, 0.99)))
    note = (
        f"{len(took)} events followed, slowest {max(took) * 1000:.0f} ms; features, trainer, inference and evaluator "
        f"share the cores; meanwhile {learned[0] / seconds:,.0f} events and {learned[1] / seconds:,.0f} steps a second "
        f"learned, {versions} versions; batches of {BATCH} sent at worst {late * 1000:.0f} ms late"
    )
    return [
        Figure("freshness at 1,000 events/s, p50", p50, "ms", None, "", None, at_least=False),
        Figure("freshness at 1,000 events/s, p99", p99, "ms", None, "", WANTED_MS, at_least=False, note=note),
    ]


def as_shipped(*, giving_way: bool = True) -> dict[str, str]:
    """The settings that tests change, as they are for users; niceness, too, unless told otherwise."""
    names = dict(zip(names_of(TrainerSettings), TrainerSettings.model_fields.values(), strict=True))
    defaults = {name: str(names[name].default) for name in SMALL} | {"OMP_NUM_THREADS": "1"}
    return defaults | {f"FRESHET_{name.upper()}_NICENESS": NICENESS for name in GIVING_WAY if giving_way}


def address_of(inference: Service) -> str:
    inference.wait_for(lambda: figure(inference, "freshet_inference_ready") == 1.0, "the end of an empty log")
    match = re.search(r"gRPC on (\S+:[0-9]+)", inference.log)
    assert match is not None
    return match[1]


def _learned(trainer: Service) -> tuple[float, float]:
    return figure(trainer, APPLIED), figure(trainer, STEPS)


async def first_event(address: str) -> None:
    """Wait until features works: its group takes seconds to form."""
    async with grpc.aio.insecure_channel(address) as channel:
        await _followed(RecommenderServiceStub(channel), _event(np.random.default_rng(1)), patience_seconds=60.0)


async def traffic(address: str, seconds: float) -> tuple[list[float], float]:
    """Send events at the stated rate; what the followed ones took, and how late the latest batch went out, seconds."""
    rng = np.random.default_rng(int(seconds * 1000))
    took: list[float] = []
    late = 0.0
    async with grpc.aio.insecure_channel(address) as channel:
        shop = RecommenderServiceStub(channel)

        async def follow(due: float) -> None:
            await _followed(shop, _event(rng), patience_seconds=30.0)
            took.append(time.perf_counter() - due)

        start = time.perf_counter()
        calls: list[asyncio.Future[object]] = []
        for due, is_probe in _schedule(seconds):
            await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
            late = max(late, time.perf_counter() - start - due)
            if is_probe:
                calls.append(asyncio.ensure_future(follow(start + due)))
            else:
                request = pb.RecordEventsRequest(events=[_event(rng) for _ in range(BATCH)])
                calls.append(asyncio.ensure_future(shop.RecordEvents(request, timeout=30)))
        await asyncio.gather(*calls)
    return took, late


def _schedule(seconds: float) -> Iterator[tuple[float, bool]]:
    """When something is due, and whether it is an event to follow; all together `EVENTS_PER_SECOND`."""
    batches = (EVENTS_PER_SECOND - PROBES_PER_SECOND) / BATCH
    due = [(n / batches, False) for n in range(int(batches * seconds))]
    due += [((n + 0.37) / PROBES_PER_SECOND, True) for n in range(int(PROBES_PER_SECOND * seconds))]
    yield from sorted(due)


async def _followed(shop: RecommenderServiceStub, event: events_pb2.Event, *, patience_seconds: float) -> None:
    """Record an event and ask for an answer that has seen it."""
    recorded = await shop.RecordEvents(pb.RecordEventsRequest(events=[event]), timeout=patience_seconds)
    request = pb.RecommendRequest(user_id=event.user_id, after_position=recorded.events[0].position)
    await shop.Recommend(request, timeout=patience_seconds)


def _event(rng: np.random.Generator) -> events_pb2.Event:
    """A view, or now and then a purchase or a review; what sells is skewed."""
    draw = rng.random()
    event = events_pb2.Event(
        kind=events_pb2.EVENT_KIND_VIEW,
        user_id=_USERS[int(rng.integers(USERS))],
        product_id=_PRODUCTS[int(PRODUCTS * rng.random() ** 3)],
    )
    if draw < 0.1:
        event.kind = events_pb2.EVENT_KIND_REVIEW
        event.rating, event.text = float(rng.integers(1, 6)), TEXT
    elif draw < 0.3:
        event.kind = events_pb2.EVENT_KIND_PURCHASE
    return event


_USERS, _PRODUCTS = user_ids(USERS), product_ids(PRODUCTS)
