"""`Recommend` over HTTP beside gRPC on the same inference: calls per second, and what a call costs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import cast

import uvloop

from shared.pb.freshet.v1.recommender_pb2 import RecommendRequest
from tests.bench.calls import Load, message
from tests.bench.figures import BenchSettings, Figure, shown
from tests.bench.log import fresh_kafka
from tests.bench.recommend import RECOMMEND
from tests.bench.repeats import interleaved
from tests.bench.shop import histories, user_ids
from tests.support import states
from tests.support.gateway import gateway
from tests.support.inference import eventually, running

CONNECTIONS = 32  # one call at a time on each, as HTTP/1.1 has it
GRPC, HTTP = "gRPC", "HTTP"
CPU, CALLS = "process_cpu_seconds_total", 'freshet_gateway_requests_total{route="/v1/recommend",status="200"}'


class Connection(asyncio.Protocol):
    """One connection that asks again as soon as it is answered; `on_done` gets whether with 200."""

    def __init__(self, requests: Sequence[bytes], on_done: Callable[[bool], None]) -> None:
        self._requests = requests
        self._on_done = on_done
        self._next = 0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Ask again once the answer is whole; it says how long it is."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]):
            return
        self._received = b""
        self._on_done(head.startswith(b"HTTP/1.1 200"))
        self._ask()

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def _ask(self) -> None:
        if not self._transport.is_closing():
            self._next = (self._next + 1) % len(self._requests)
            self._transport.write(self._requests[self._next])


async def closed(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> float:
    """Calls answered per second with one always on its way on each connection."""
    answered = failed = 0

    def on_done(ok: bool) -> None:
        nonlocal answered, failed
        answered += ok
        failed += not ok

    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    made = [
        (await loop.create_connection(lambda: Connection(requests, on_done), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    rate = answered / (time.perf_counter() - start)
    for connection in made:
        connection.close()
    if failed:
        raise RuntimeError(f"{failed} calls were not answered")
    return rate


def run(settings: BenchSettings) -> list[Figure]:
    """Two figures: calls per second beside gRPC, and what a call costs the gateway."""
    products, users = (500, 50) if settings.quick else (10_000, 2_000)
    seconds, repeats = (0.3, 1) if settings.quick else (5.0, 5)
    protos = [RecommendRequest(user_id=user) for user in user_ids(users)]
    framed = [message(request.SerializeToString()) for request in protos]
    posts = [_post({"user_id": request.user_id}) for request in protos]
    with fresh_kafka(settings) as kafka:
        states.write(kafka, histories(users, products), tick_every=10_000)
        with running(kafka, settings.folder) as inference, gateway(inference.address, settings.folder) as http:
            eventually(lambda: inference.recommend(protos[0].user_id).products)
            grpc_port, http_port = (int(address.rpartition(":")[2]) for address in (inference.address, http.address))
            before = http.service.metrics()
            spreads = interleaved(
                {
                    GRPC: lambda: uvloop.run(Load(grpc_port, RECOMMEND, framed, CONNECTIONS).closed(seconds, 1)),
                    HTTP: lambda: uvloop.run(closed(http_port, posts, CONNECTIONS, seconds)),
                },
                repeats,
                say=settings.say,
            )
            after = http.service.metrics()
    cpu, calls = (after[name] - before[name] for name in (CPU, CALLS))
    return [
        Figure(
            "Recommend over HTTP", spreads[HTTP].median, "calls/s", spreads[GRPC].median, "the same over gRPC", 0.25,
            at_least=True, note=f"{spreads[HTTP]} beside {spreads[GRPC]}; {CONNECTIONS} calls on their way, gateway, "
            "inference and client on the same cores",
        ),
        Figure(
            "CPU that a call over HTTP takes in the gateway", 1000 * cpu / calls, "ms", None, "", 1.0, at_least=False,
            note=f"over {shown(calls)} calls with ten products each, the call of inference included",
        ),
    ]  # fmt: skip


def _post(body: dict[str, str]) -> bytes:
    content = json.dumps(body).encode()
    head = "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
