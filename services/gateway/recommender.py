"""The recommender, as the gateway calls it: several connections, the least busy one first."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from freshet.calling import OPTIONS
from services.gateway import metrics
from services.gateway.methods import METHODS, Method
from services.gateway.problems import Problem, of_rpc

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

    def __init__(self, address: str, connections: int, most_calls: int) -> None:
        self._connections = deque(_Connection(address) for _ in range(connections))
        self._most_calls = most_calls
        self._apart = _Connection(address)  # asks for health, however many calls are on their way
        self._health = health_pb2_grpc.HealthStub(self._apart.channel)

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """The one with the fewest calls on their way, in turn among those with equally few."""
        self._connections.rotate()
        chosen = min(self._connections, key=_calls_in_flight)
        if chosen.in_flight >= self._most_calls:
            metrics.CALLS_REFUSED.inc()
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
