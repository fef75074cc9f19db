"""The gRPC server: our service, health and reflection on one port."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.inference.refusals import Boundary
from services.inference.settings import InferenceSettings
from services.inference.shedding import COMPUTING, Shedding
from services.inference.turns import Turns
from shared.errors import Unusable
from shared.pb.freshet.v1.recommender_pb2 import DESCRIPTOR
from shared.pb.freshet.v1.recommender_pb2_grpc import (
    RecommenderServiceServicer,
    add_RecommenderServiceServicer_to_server,
)

SERVICE = DESCRIPTOR.services_by_name["RecommenderService"].full_name


class _Registering:
    """A server with which only some methods are registered.

    A registered method has a queue of its own inside gRPC, and each costs every call some time; all others share one.
    """

    def __init__(self, server: Any, methods: frozenset[str]) -> None:
        self._server = server
        self._methods = methods

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        registered = {method: handler for method, handler in handlers.items() if method in self._methods}
        self._server.add_registered_method_handlers(service, registered)


class Server:
    """Bound to its port when made; answers from `start` on; health says SERVING from `serve` on until `drain`.

    Raises:
        Unusable: the port can't be bound.
    """

    def __init__(self, settings: InferenceSettings, servicer: RecommenderServiceServicer, turns: Turns) -> None:
        self._server: Any = grpc.aio.server(
            interceptors=[Boundary(settings.maximum_concurrent_rpcs, Shedding(turns, Random()))],
            options=[
                ("grpc.so_reuseport", int(settings.share_port)),  # 1 lets a second process share the port silently
                ("grpc.max_receive_message_length", settings.most_request_bytes),
                # One connection's share (RFC 9113, 5.1.2). Those that have ended do not count until their memory is
                # free, or a client that keeps to the bound would be refused, too.
                ("grpc.max_concurrent_streams", settings.calls_per_connection),
                ("grpc.http.overload_protection", 0),
                # What is not taken in waits unseen inside gRPC: this bounds it, of all connections together. Between
                # the two it would refuse some by chance.
                ("grpc.server.max_pending_requests", settings.unread_calls),
                ("grpc.server.max_pending_requests_hard_limit", settings.unread_calls),
            ],
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_RecommenderServiceServicer_to_server(servicer, _Registering(self._server, COMPUTING))
        reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        address = f"{settings.grpc_host}:{settings.grpc_port}"
        try:
            self.port = int(self._server.add_insecure_port(address))
        except RuntimeError as error:
            raise Unusable(
                f"can't listen on {address}: the port is taken or the address is not this machine's; "
                "choose another FRESHET_INFERENCE_GRPC_PORT (0: any free one) or FRESHET_INFERENCE_GRPC_HOST"
            ) from error

    async def start(self) -> None:
        """Begin to answer; health says NOT_SERVING."""
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()

    async def serve(self) -> None:
        """Say SERVING, unless the drain has begun."""
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, seconds: float) -> None:
        """Say NOT_SERVING, take no more calls, and give those in flight `seconds` to end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(seconds)

    async def _set(self, status: Any) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)
