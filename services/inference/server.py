"""Wires inference: the gRPC server, what it knows, and the threads that follow and write the log."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.inference.calls.admission import COMPUTING, CallInterceptor, LoadShedding, TurnQueue
from services.inference.calls.servicer import Servicer
from services.inference.knowledge.knowledge import Knowledge
from services.inference.knowledge.snapshot import keeper_of
from services.inference.log.follower import Follower
from services.inference.log.model_watcher import ModelWatcher
from services.inference.log.writer import LogWriter
from services.inference.metrics import InferenceMetrics
from services.inference.settings import InferenceSettings
from shared.log.records import masked_kinds_of
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1.recommender_pb2 import DESCRIPTOR
from shared.pb.freshet.v1.recommender_pb2_grpc import (
    RecommenderServiceServicer,
    add_RecommenderServiceServicer_to_server,
)
from shared.process.errors import Unusable
from shared.process.folders import prepare
from shared.process.settings import KafkaSettings
from shared.state.histories import Histories
from shared.state.shop import ShopSettings
from shared.state.tally import Tally

log = logging.getLogger("inference")
SERVICE = DESCRIPTOR.services_by_name["RecommenderService"].full_name
FLUSH_SECONDS = 2.0
# At a stop, how long calls may go on waiting for a position: it may never come, and a retry costs little.
POSITION_SECONDS = 2.0


async def run(
    settings: InferenceSettings,
    shop: ShopSettings,
    kafka: KafkaSettings,
    metrics: InferenceMetrics,
    stop: asyncio.Event,
) -> None:
    """Serve until `stop` is set, then finish the calls in flight.

    Raises:
        Unusable: the port, the topics or the folder of the snapshots can't be used.
        KafkaException: the log can't be followed any longer, because it was replaced, for example.
    """
    if settings.state_dir is not None:
        prepare(settings.state_dir, "FRESHET_INFERENCE_STATE_DIR")
    loop = asyncio.get_running_loop()
    failure: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failure.append(error)
        stop.set()

    knowledge = Knowledge(
        Histories(shop.history_length, masked_kinds_of(shop.masked_kinds)),
        Tally.of(shop),
        kafka.partitions,
        places_new_products=shop.place_new_products,
    )
    writer = LogWriter(kafka, loop)
    watcher = ModelWatcher(shop.models_dir, knowledge.catalogue, kafka, loop, metrics, on_failure=fail)
    turns = TurnQueue(settings.longest_queue_ms / 1000)
    servicer = Servicer(settings, Topics.of(kafka), knowledge, watcher, writer, turns, metrics)
    server = Server(settings, servicer, turns, metrics)
    await server.start()
    log.info("gRPC on %s:%d; waiting for the log", settings.grpc_host, server.port)

    async def ready() -> None:
        # What was read stays; scanning it for garbage would delay calls, by 0.1 s with 100,000 users.
        gc.collect()
        gc.freeze()
        servicer.ready = True
        metrics.ready.set(1)
        await server.serve()
        log.info("ready: %d users, %d products", len(knowledge.histories.users), knowledge.catalogue.known)

    announcing: list[asyncio.Task[None]] = []
    follower = Follower(
        knowledge,
        kafka,
        loop,
        metrics,
        keeper=partial(keeper_of, settings, shop, kafka, metrics),
        # Not earlier: loading a version adds rows, and those of a snapshot must come first.
        on_begun=lambda: None if stop.is_set() else watcher.start(),
        on_ready=lambda: announcing.append(loop.create_task(ready())),
        on_failure=fail,
    )
    writer.start()
    try:
        await _topics(kafka, stop)
        if not stop.is_set():
            writer.open()
            follower.start()
        await stop.wait()
    finally:
        metrics.ready.set(0)
        # The follower goes on meanwhile, since calls in flight may wait for a position.
        giving_up = loop.call_later(min(POSITION_SECONDS, settings.drain_seconds / 2), knowledge.positions.give_up)
        await server.drain(settings.drain_seconds)
        giving_up.cancel()
        await follower.stop()
        await watcher.stop()
        await writer.stop(FLUSH_SECONDS)
    if failure:
        raise failure[0]


async def _topics(kafka: KafkaSettings, stop: asyncio.Event) -> None:
    """Create missing topics, once a broker answers, or until `stop`."""
    stopping = threading.Event()
    created = asyncio.create_task(asyncio.to_thread(ensure_topics, kafka, stop=stopping))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({created, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopping.set()
    stopped.cancel()
    await created


class Server:
    """The gRPC server: service, health and reflection on one port, bound at construction.

    It answers after `start`; health says SERVING from `serve` until `drain`.

    Raises:
        Unusable: the port can't be bound.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        servicer: RecommenderServiceServicer,
        turns: TurnQueue,
        metrics: InferenceMetrics,
    ) -> None:
        self._server: Any = grpc.aio.server(
            interceptors=[
                CallInterceptor(settings.maximum_concurrent_rpcs, LoadShedding(turns, Random(), metrics), metrics)
            ],
            options=[
                (
                    "grpc.so_reuseport",
                    int(settings.share_port),
                ),  # 1: a second process may share the port
                ("grpc.max_receive_message_length", settings.most_request_bytes),
                # Calls of one connection (RFC 9113, 5.1.2). Without the next option, ended ones would count until their
                # memory is freed, and a client that respects the limit would be refused.
                ("grpc.max_concurrent_streams", settings.calls_per_connection),
                ("grpc.http.overload_protection", 0),
                # Unread calls wait unseen inside gRPC; this limits them over all connections. Between the two limits
                # gRPC would refuse some at random.
                ("grpc.server.max_pending_requests", settings.unread_calls),
                ("grpc.server.max_pending_requests_hard_limit", settings.unread_calls),
            ],
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_RecommenderServiceServicer_to_server(servicer, _PartialRegistration(self._server, COMPUTING))
        reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        address = f"{settings.grpc_host}:{settings.grpc_port}"
        try:
            self.port = int(self._server.add_insecure_port(address))
        except RuntimeError as error:
            raise Unusable(
                f"can't listen on {address}: the port is in use or the address is not local; "
                "choose another FRESHET_INFERENCE_GRPC_PORT (0: any free one) or FRESHET_INFERENCE_GRPC_HOST"
            ) from error

    async def start(self) -> None:
        """Begin to answer, with health NOT_SERVING."""
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()

    async def serve(self) -> None:
        """Set health to SERVING, unless the drain has begun."""
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, seconds: float) -> None:
        """Set health to NOT_SERVING, accept no more calls, and give those in flight `seconds` to finish."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(seconds)

    async def _set(self, status: Any) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)


class _PartialRegistration:
    """Registers only some methods at a server.

    Inside gRPC each registered method has a queue of its own, which costs every call some time; the others share one.
    """

    def __init__(self, server: Any, methods: frozenset[str]) -> None:
        self._server = server
        self._methods = methods

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        registered = {method: handler for method, handler in handlers.items() if method in self._methods}
        self._server.add_registered_method_handlers(service, registered)
