"""Overload: `Recommend` offered at half, once, twice and ten times what one process carries; accepted, refused, p99."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import uvloop

from shared.pb.freshet.v1.recommender_pb2 import RecommendRequest
from tests.bench.calls import Connection, Load, message
from tests.bench.figures import BenchSettings, Figure, shown
from tests.bench.log import fresh_kafka
from tests.bench.recommend import CONNECTIONS, IN_FLIGHT, RECOMMEND, due, require_learned, stock
from tests.bench.served_seconds import quantile_ms
from tests.bench.shop import user_ids, write_learned
from tests.bench.when_due import when_due
from tests.support.inference import Inference, eventually, running
from tests.support.versions import announce

TIMES = (0.5, 1.0, 2.0, 5.0, 10.0)
PATIENCE_SECONDS = 20.0
UNLIMITED_MS = 60_000  # no call is refused while its capacity is measured
REQUESTS = "freshet_inference_requests_total{"


@dataclass(slots=True)
class Offered:
    """The outcomes of one run's calls."""

    accepted: list[float] = field(default_factory=list)  # seconds from when each was sent
    refused: list[float] = field(default_factory=list)  # likewise, of those without an answer's content
    late: list[float] = field(default_factory=list)  # seconds that each was sent after it was due
    lost: int = 0  # never ended


class Arrivals:
    """Calls sent when they are due, whatever became of those before, and however many may be on their way at a time."""

    def __init__(self, port: int, requests: Sequence[bytes], connections: int) -> None:
        self._port = port
        self._requests = requests
        self._connections = connections

    async def run(self, due: Sequence[float]) -> Offered:
        """Offer one call at each of these seconds from now, ascending."""
        offered_load = Offered()
        sent: list[dict[int, float]] = [{} for _ in range(self._connections)]  # call → when it was sent
        all_done = asyncio.Event()
        left = len(due)

        def ended(n: int, stream: int, *, ok: bool) -> None:
            nonlocal left
            began = sent[n].pop(stream, None)
            if began is None:  # a refused call is reset after its end: its request was not read
                return
            (offered_load.accepted if ok else offered_load.refused).append(time.perf_counter() - began)
            left -= 1
            if not left:
                all_done.set()

        loop = asyncio.get_running_loop()
        connections = [
            (
                await loop.create_connection(
                    lambda n=n: Connection(RECOMMEND, lambda stream, ok, n=n: ended(n, stream, ok=ok)),
                    "127.0.0.1",
                    self._port,
                )
            )[1]
            for n in range(self._connections)
        ]

        def send(number: int, due_at: float) -> None:
            n = number % self._connections
            now = time.perf_counter()
            sent[n][connections[n].call(self._requests[number % len(self._requests)])] = now
            offered_load.late.append(now - due_at)

        await when_due(due, send)
        try:
            await asyncio.wait_for(all_done.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            offered_load.lost = left
        for connection in connections:
            connection.close()
        return offered_load


def run(settings: BenchSettings) -> list[Figure]:
    """For each load the p99 of what was accepted, beside that at half load; and how many were refused."""
    products, users = (500, 50) if settings.quick else (10_000, 2_000)
    seconds = 0.5 if settings.quick else 6.0
    figures: list[Figure] = []
    with fresh_kafka(settings) as kafka:
        stock(kafka, products, users)
        announce(kafka, write_learned(settings.folder / "models", products))
        requests = [message(RecommendRequest(user_id=u).SerializeToString()) for u in user_ids(users)]
        with running(kafka, settings.folder, longest_queue_ms=UNLIMITED_MS) as inference:
            eventually(inference.serving)
            require_learned(inference, users)
            load = Load(_port(inference), RECOMMEND, requests, CONNECTIONS)
            uvloop.run(load.closed(seconds, IN_FLIGHT))  # places new products, too
            carried = uvloop.run(load.closed(seconds / 2, IN_FLIGHT))
            settings.say(f"one process carries {shown(carried)} calls/s")
        with running(kafka, settings.folder) as inference:
            eventually(inference.serving)
            port = _port(inference)
            uvloop.run(Arrivals(port, requests, CONNECTIONS).run(due(carried / 2, seconds, seed=6)))
            normal = 0.0
            for times in TIMES:
                before = inference.metrics()
                gc.collect()
                arrivals = due(carried * times, seconds, seed=7)
                offered = uvloop.run(Arrivals(port, requests, CONNECTIONS).run(arrivals))
                summary = _summary(offered, before, inference.metrics(), arrivals[-1])
                p99 = float(np.quantile(offered.accepted, 0.99)) * 1000 if offered.accepted else float("nan")
                normal = normal or p99
                settings.say(f"{times:g} times: p99 {p99:.1f} ms, {summary}")
                figures.append(
                    Figure(
                        f"accepted calls at {times:g} times the load",
                        p99,
                        "ms, p99",
                        normal,
                        "at half load",
                        2.0,
                        at_least=False,
                        note=summary,
                    )
                )
            inference.wait_until_serving()
    return figures


def _port(inference: Inference) -> int:
    return int(inference.address.rpartition(":")[2])


def _summary(offered: Offered, before: dict[str, float], after: dict[str, float], seconds: float) -> str:
    grew: Counter[str] = Counter()  # calls by status, from the service's own metrics
    for series, value in after.items():
        if series.startswith(REQUESTS) and 'method="Recommend"' in series:
            grew[series.partition('code="')[2].partition('"')[0]] += int(value - before.get(series, 0.0))
    shed = grew["RESOURCE_EXHAUSTED"]
    other = grew.total() - grew["OK"] - shed
    unread = len(offered.refused) - shed - other  # gRPC refused them
    p99 = quantile_ms(before, after, "Recommend", 0.99)
    p50, refused99, late99 = (
        float(np.quantile(values, q)) * 1000 if values else 0.0
        for values, q in ((offered.accepted, 0.5), (offered.refused, 0.99), (offered.late, 0.99))
    )
    return (
        f"p50 {p50:.1f} ms; in the server p99 {p99:.1f} ms; {shown(len(offered.accepted) / seconds)} accepted/s, "
        f"{shown(len(offered.refused) / seconds)} refused/s within {refused99:.1f} ms (p99), {unread:,} of "
        f"them unread; {other + offered.lost} failed otherwise; sent up to {late99:.1f} ms late (p99)"
    )
