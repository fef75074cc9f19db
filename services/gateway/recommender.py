"""The recommender, as the gateway calls it: several connections, taken in turn."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from freshet.channel import OPTIONS
from services.gateway import problems
from services.gateway.methods import METHODS, Method

# gRPC gives an attempt to connect no longer than this: a recommender on a busy machine is slow, not away.
CONNECTING = {"grpc.min_reconnect_backoff_ms": 2_000}


class Recommender:
    """Open from the time it is made, in a running event loop, until `close`."""

    def __init__(self, address: str, connections: int) -> None:
        # Channels of a process share connections to one address unless told not to.
        options = [*(dict(OPTIONS) | CONNECTING).items(), ("grpc.use_local_subchannel_pool", 1)]
        self._channels: list[Any] = [grpc.aio.insecure_channel(address, options) for _ in range(connections)]
        self._calls = {method.name: itertools.cycle(self._made(method)) for method in METHODS.values()}
        self._health = health_pb2_grpc.HealthStub(self._channels[0])

    def _made(self, method: Method) -> list[Any]:
        return [
            (channel.unary_stream if method.streams else channel.unary_unary)(
                method.rpc,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            for channel in self._channels
        ]

    async def answer(self, method: Method, request: Message, seconds: float) -> Message:
        """The response of a call; cancelling this cancels the call.

        Raises:
            Problem: the call ended with another status than OK.
        """
        try:
            response: Message = await next(self._calls[method.name])(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise problems.of_rpc(error.code(), error.details() or "", request) from None
        return response

    async def answers(self, method: Method, request: Message, seconds: float) -> AsyncGenerator[Message, None]:
        """The responses of a streaming call; leaving it early cancels the call.

        Raises:
            Problem: the call ended with another status than OK.
        """
        call = next(self._calls[method.name])(request, timeout=seconds)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise problems.of_rpc(error.code(), error.details() or "", request) from None
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
        for channel in self._channels:
            await channel.close()
