"""The recommender behind the gateway: its methods and their paths, and a client with several connections."""

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
from prometheus_client import Counter

from freshet.calling import OPTIONS
from services.gateway.problems import Problem, of_rpc
from shared.pb.freshet.v1 import recommender_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["RecommenderService"]
PREFIX = "/v1"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the proto, and the path of its POST."""

    name: str
    rpc: str  # as gRPC names it
    path: str
    request: type[Message]
    response: type[Message]
    streams: bool  # many responses to one request


def _method(descriptor: MethodDescriptor) -> Method:
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", descriptor.name).lower()
    return Method(
        name=descriptor.name,
        rpc=f"/{SERVICE.full_name}/{descriptor.name}",
        path=f"{PREFIX}/{kebab}",
        request=GetMessageClass(descriptor.input_type),
        response=GetMessageClass(descriptor.output_type),
        streams=descriptor.server_streaming,
    )


METHODS: Mapping[str, Method] = {descriptor.name: _method(descriptor) for descriptor in SERVICE.methods}


@dataclass(frozen=True, slots=True)
class Get:
    """A GET form of a method. Braces in the path name a field of the request."""

    path: str
    method: str
    query: Mapping[str, str] = field(default_factory=dict)  # parameter → field of the request, dotted

    @property
    def in_path(self) -> list[str]:
        """The fields in the path."""
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

# The order of the methods in the OpenAPI document.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Recommendations": ("Recommend", "BatchRecommend", "SimilarProducts", "Trending"),
    "Events and products": ("RecordEvents", "UpsertProducts", "RemoveProducts"),
    "Users, products and models": ("ListProducts", "GetProduct", "ListUsers", "GetUser", "ListModels"),
}

# gRPC gives up an attempt to connect after this time: a recommender on a busy machine is slow, not away.
CONNECTING = {"grpc.min_reconnect_backoff_ms": 2_000}


class _Channel:
    """One connection, and the number of its calls in flight."""

    def __init__(self, address: str) -> None:
        # Without a pool of their own, channels of one process share a connection to the same address.
        options = [*(dict(OPTIONS) | CONNECTING).items(), ("grpc.use_local_subchannel_pool", 1)]
        self.channel: Any = grpc.aio.insecure_channel(address, options)
        self.calls = {method.name: self._callable(method) for method in METHODS.values()}
        self.in_flight = 0

    def _callable(self, method: Method) -> Any:
        return (self.channel.unary_stream if method.streams else self.channel.unary_unary)(
            method.rpc,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )


class Recommender:
    """A client of inference, open from its construction (in a running event loop) until `close`.

    Args:
        most_calls: concurrent calls on each connection. The client refuses further ones at once, since gRPC would queue
            them without a limit.
        calls_refused: counts those.
    """

    def __init__(self, address: str, connections: int, most_calls: int, calls_refused: Counter) -> None:
        self._channels = deque(_Channel(address) for _ in range(connections))
        self._most_calls = most_calls
        self._calls_refused = calls_refused
        self._health_channel = _Channel(address)  # health checks don't wait for calls
        self._health = health_pb2_grpc.HealthStub(self._health_channel.channel)

    @contextmanager
    def _channel(self) -> Iterator[_Channel]:
        """Take the connection with the fewest calls in flight, in turn among equals."""
        self._channels.rotate()
        chosen = min(self._channels, key=_calls_in_flight)
        if chosen.in_flight >= self._most_calls:
            self._calls_refused.inc()
            raise Problem(429, "more calls are in flight than the recommender takes at a time; try again in a moment")
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
        with self._channel() as channel:
            try:
                response: Message = await channel.calls[method.name](request, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                raise of_rpc(error.code(), error.details() or "", request) from None
        return response

    async def answers(self, method: Method, request: Message, seconds: float) -> AsyncGenerator[Message, None]:
        """The responses of a streaming call; leaving it early cancels the call.

        Raises:
            Problem: the call was refused, or ended with another status than OK.
        """
        with self._channel() as channel:
            call = channel.calls[method.name](request, timeout=seconds)
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise of_rpc(error.code(), error.details() or "", request) from None
            finally:
                call.cancel()

    async def serves(self, seconds: float) -> bool:
        """Whether its health check says SERVING."""
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Close every connection."""
        for channel in (*self._channels, self._health_channel):
            await channel.channel.close()


def _calls_in_flight(channel: _Channel) -> int:
    return channel.in_flight
