"""Features: describes each event of `freshet.events` as a state vector in `freshet.states`.

    python -m services.features

It works until SIGTERM or Ctrl-C; then what is in flight is finished. Start several to share the partitions.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from services.features.app import FeaturesApp, quiet_libraries
from services.features.settings import FeaturesSettings
from services.features.stream import FeaturesMetrics, add_agent, end_process
from shared.log.clients import CountedProducer, producer_config
from shared.log.topics import Topics, ensure_topics
from shared.process.run import run_service
from shared.process.settings import KafkaSettings

log = logging.getLogger("features")

STOP_SECONDS = 8.0
TURN_SECONDS = 1.0


def work(
    settings: FeaturesSettings, kafka: KafkaSettings, registry: CollectorRegistry, stop_requested: threading.Event
) -> None:
    """Describe events until told to stop."""
    metrics = FeaturesMetrics(registry)
    quiet_libraries(settings.log_level)
    ensure_topics(kafka, stop=stop_requested)
    if not stop_requested.is_set():
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # of Faust's consumer thread, too
        asyncio.run(_work(settings, kafka, metrics, stop_requested))


async def _work(
    settings: FeaturesSettings, kafka: KafkaSettings, metrics: FeaturesMetrics, stop_requested: threading.Event
) -> None:
    """Describe events until told to stop; ends the process with status 1 if Faust can't go on."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if stop_requested.is_set():
        return
    app = FeaturesApp(settings, kafka)
    add_agent(app, settings, Topics.of(kafka), CountedProducer(producer_config(kafka)), metrics)

    joined = asyncio.Event()

    async def show(_: Any, assigned: set[Any], **__: Any) -> None:
        joined.set()  # without a partition, too: then it stands by
        metrics.partitions.set(len(assigned))
        log.info("reading %d of %d partitions", len(assigned), kafka.partitions)

    app.on_partitions_assigned.connect(show, weak=False)  # type: ignore[arg-type]  # Faust's own examples look so
    turning = asyncio.create_task(_turn(joined, metrics))
    working = asyncio.create_task(_run(app))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    turning.cancel()
    if not stop.is_set():
        log.critical(
            "Faust can't go on (%r); the events since the last commit will be described again", app.crash_reason
        )
        end_process(1)
    stopped = asyncio.create_task(app.stop())  # Faust swallows a cancellation, so the wait ends, not the task
    await asyncio.wait({stopped}, timeout=STOP_SECONDS)
    if not stopped.done():
        log.warning("not acknowledged within %g s; the next worker describes these events again", STOP_SECONDS)
        end_process(0)
    await stopped


async def _turn(joined: asyncio.Event, metrics: FeaturesMetrics) -> None:
    """Say that this worker is of the group and that the event loop turns."""
    await joined.wait()
    while True:
        metrics.ready.turn()
        await asyncio.sleep(TURN_SECONDS)


async def _run(app: FeaturesApp) -> None:
    await app.start()
    await app.wait_until_stopped()


if __name__ == "__main__":
    sys.exit(run_service("features", __doc__, FeaturesSettings, work))
