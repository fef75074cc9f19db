"""The recommender, as the gateway calls it: several connections, the least busy one first."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from freshet.calling import OPTIONS
from services.gateway.problems import Problem, of_rpc
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.telemetry import SECONDS_BUCKETS

# Which paths there are: one for each call of the proto, made from its descriptor, and the plain GET forms. Pure.

SERVICE = pb.DESCRIPTOR.services_by_name["RecommenderService"]
PREFIX = "/v1"


@dataclass(frozen=True, slots=True)
class Method:
    """One call of the proto."""

    name: str
    rpc: str  # as gRPC names it
    path: str  # of its POST
    request: type[Message]
    response: type[Message]
    streams: bool  # many responses to one request


def _method(found: MethodDescriptor) -> Method:
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", found.name).lower()
    return Method(
        name=found.name,
        rpc=f"/{SERVICE.full_name}/{found.name}",
        path=f"{PREFIX}/{kebab}",
        request=GetMessageClass(found.input_type),
        response=GetMessageClass(found.output_type),
        streams=found.server_streaming,
    )


METHODS: Mapping[str, Method] = {found.name: _method(found) for found in SERVICE.methods}


@dataclass(frozen=True, slots=True)
class Get:
    """A call that is asked for by a URL alone: what is in braces in the path is a field of the request."""

    path: str
    method: str
    query: Mapping[str, str] = field(default_factory=dict)  # parameter → field of the request, dotted

    @property
    def in_path(self) -> list[str]:
        """The fields that the path holds."""
        return re.findall(r"\{(\w+)\}", self.path)


_WISHES = {name: f"wishes.{name}" for name in ("count", "diversity", "minimum_score", "product_fields", "explain")}
_PAGE = {name: name for name in ("page_size", "page_token")}

GETS = (
    Get(f"{PREFIX}/users", "ListUsers", _PAGE),
    Get(f"{PREFIX}/users/{{user_id}}", "GetUser"),
    Get(f"{PREFIX}/users/{{user_id}}/recommendations", "Recommend", _WISHES),
    Get(f"{PREFIX}/products", "ListProducts", {**_PAGE, "query": "query"}),
    Get(f"{PREFIX}/products/{{product_id}}", "GetProduct"),
    Get(f"{PREFIX}/products/{{product_id}}/similar", "SimilarProducts", _WISHES),
    Get(f"{PREFIX}/trending", "Trending", {"category": "category", **_WISHES}),
    Get(f"{PREFIX}/models", "ListModels"),
)

# How the document orders the calls.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Recommendations": ("Recommend", "BatchRecommend", "SimilarProducts", "Trending"),
    "Events and products": ("RecordEvents", "UpsertProducts", "RemoveProducts"),
    "What is known": ("ListProducts", "GetProduct", "ListUsers", "GetUser", "ListModels"),
}


# What the gateway tells Prometheus.


class GatewayMetrics:
    """The metrics of one gateway, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # route: the path as it is documented, with braces; none where there is no such path.
        self.requests = Counter(
            "freshet_gateway_requests_total", "HTTP requests answered.", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "freshet_gateway_request_seconds", "Time to answer a request, a stream to its end.", ["route"],
            buckets=SECONDS_BUCKETS, registry=registry,
        )  # fmt: skip
        self.in_flight = Gauge("freshet_gateway_requests_in_flight", "Requests being answered.", registry=registry)
        self.calls_refused = Counter(
            "freshet_gateway_calls_refused_total",
            "Calls refused because every connection to the recommender was full.",
            registry=registry,
        )
        self.ready = Gauge(
            "freshet_gateway_ready",
            "1 while the recommender says that it can do its work, else 0.",
            registry=registry,
        )
        # Each route known in advance starts at 0.
        for route in {*(method.path for method in METHODS.values()), *(get.path for get in GETS)}:
            self.requests.labels(route, 200)
            self.request_seconds.labels(route)


# gRPC gives an attempt to connect no longer than this: a recommender on a busy machine is slow, not away.
CONNECTING = {"grpc.min_reconnect_backoff_ms": 2_000}


class _Connection:
    """One connection, and how many calls are on their way on it."""

    def __init__(self, address: str) -> None:
        # Channels of a process share connections to one address unless told not to.
        options = [*(dict(OPTIONS) | CONNECTING).items(), ("grpc.use_local_subchannel_pool", 1)]
        self.channel: Any = grpc.aio.insecure_channel(address, options)
        self.calls = {method.name: self._made(method) for method in METHODS.values()}
        self.in_flight = 0

    def _made(self, method: Method) -> Any:
        return (self.channel.unary_stream if method.streams else self.channel.unary_unary)(
            method.rpc,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )


class Recommender:
    """Open from the time it is made, in a running event loop, until `close`.

    Args:
        most_calls: calls at a time on each connection; what exceeds them is refused here and at once, for gRPC would
            let it wait for as long as it may take.
    """

    def __init__(self, address: str, connections: int, most_calls: int, metrics: GatewayMetrics) -> None:
        self._connections = deque(_Connection(address) for _ in range(connections))
        self._most_calls = most_calls
        self._metrics = metrics
        self._apart = _Connection(address)  # asks for health, however many calls are on their way
        self._health = health_pb2_grpc.HealthStub(self._apart.channel)

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """The one with the fewest calls on their way, in turn among those with equally few."""
        self._connections.rotate()
        chosen = min(self._connections, key=_calls_in_flight)
        if chosen.in_flight >= self._most_calls:
            self._metrics.calls_refused.inc()
            raise Problem(
                429, "more calls are on their way than the recommender takes at a time; ask again in a moment"
            )
        chosen.in_flight += 1
        try:
            yield chosen
        finally:
            chosen.in_flight -= 1

    async def answer(self, method: Method, request: Message, seconds: float) -> Message:
        """The response of a call; cancelling this cancels the call.

        Raises:
            Problem: the call was refused, or ended with another status than OK.
        """
        with self._connection() as connection:
            try:
                response: Message = await connection.calls[method.name](request, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                raise of_rpc(error.code(), error.details() or "", request) from None
        return response

    async def answers(self, method: Method, request: Message, seconds: float) -> AsyncGenerator[Message, None]:
        """The responses of a streaming call; leaving it early cancels the call.

        Raises:
            Problem: the call was refused, or ended with another status than OK.
        """
        with self._connection() as connection:
            call = connection.calls[method.name](request, timeout=seconds)
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise of_rpc(error.code(), error.details() or "", request) from None
            finally:
                call.cancel()

    async def serves(self, seconds: float) -> bool:
        """Whether it says that it can do its work."""
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Close every connection."""
        for connection in (*self._connections, self._apart):
            await connection.channel.close()


def _calls_in_flight(connection: _Connection) -> int:
    return connection.in_flight
