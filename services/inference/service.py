"""Inference put together: the server, what it knows, and the threads that follow and write the log."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from functools import partial

from services.inference import metrics
from services.inference.follower import Follower
from services.inference.keeper import keeper_of
from services.inference.knowledge import Knowledge
from services.inference.log_writer import LogWriter
from services.inference.model_watcher import ModelWatcher
from services.inference.server import Server
from services.inference.servicer import Servicer
from services.inference.settings import InferenceSettings
from services.inference.turns import Turns
from shared.folders import prepare
from shared.history import Histories
from shared.kinds import masked_kinds_of
from shared.policies.trending import Trending
from shared.settings import KafkaSettings
from shared.state.shop import ShopSettings
from shared.times import DAY_MS
from shared.topics import Topics, ensure_topics

log = logging.getLogger("inference")

FLUSH_SECONDS = 2.0
# At a stop, what calls get to see the position they wait for: it may never come, and asking again costs little.
POSITION_SECONDS = 2.0


async def run(settings: InferenceSettings, shop: ShopSettings, kafka: KafkaSettings, stop: asyncio.Event) -> None:
    """Answer until `stop` is set, then end what is in flight.

    Raises:
        Unusable: the port, the topics or the folder of the snapshots can't be used.
        KafkaException: the log can't be followed any longer, because it was replaced say.
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
        Trending(shop.trending_half_life_days * DAY_MS),
        kafka.partitions,
        places_new_products=shop.place_new_products,
    )
    writer = LogWriter(kafka, loop)
    watcher = ModelWatcher(shop.models_dir, knowledge.catalogue, kafka, loop, on_failure=fail)
    turns = Turns(settings.longest_queue_ms / 1000)
    servicer = Servicer(settings, Topics.of(kafka), knowledge, watcher, writer, turns)
    server = Server(settings, servicer, turns)
    await server.start()
    log.info("gRPC on %s:%d; waiting for the log", settings.grpc_host, server.port)

    async def ready() -> None:
        # What was read stays: looking through it for garbage would hold up calls, 0.1 s with 100,000 users.
        gc.collect()
        gc.freeze()
        servicer.ready = True
        metrics.READY.set(1)
        await server.serve()
        log.info("ready: %d users, %d products", len(knowledge.histories.users), knowledge.catalogue.known)

    announcing: list[asyncio.Task[None]] = []
    follower = Follower(
        knowledge,
        kafka,
        loop,
        keeper=partial(keeper_of, settings, shop, kafka),
        # Not before: a version gives products rows, and those of a snapshot must be as they were.
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
        metrics.READY.set(0)
        # The followers go on meanwhile: calls in flight may wait for a position.
        giving_up = loop.call_later(min(POSITION_SECONDS, settings.drain_seconds / 2), knowledge.positions.give_up)
        await server.drain(settings.drain_seconds)
        giving_up.cancel()
        await follower.stop()
        await watcher.stop()
        await writer.stop(FLUSH_SECONDS)
    if failure:
        raise failure[0]


async def _topics(kafka: KafkaSettings, stop: asyncio.Event) -> None:
    """Make sure of the topics, waiting for a broker that is away, or until `stop`."""
    told = threading.Event()
    made = asyncio.create_task(asyncio.to_thread(ensure_topics, kafka, stop=told))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({made, stopping}, return_when=asyncio.FIRST_COMPLETED)
    told.set()
    stopping.cancel()
    await made
