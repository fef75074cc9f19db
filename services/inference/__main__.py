"""Inference: answers gRPC calls with what has been learned so far.

    python -m services.inference

It serves until SIGTERM or Ctrl-C, then finishes the calls in flight. With FRESHET_INFERENCE_PROCESSES several
processes serve on one port.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading

import uvloop
from prometheus_client import CollectorRegistry
from threadpoolctl import threadpool_limits

from services.inference import processes
from services.inference.metrics import InferenceMetrics
from services.inference.server import run
from services.inference.settings import InferenceSettings
from shared.process.run import run_service
from shared.process.settings import KafkaSettings, load
from shared.state.shop import ShopSettings


def work(
    settings: InferenceSettings, kafka: KafkaSettings, registry: CollectorRegistry, stopping: threading.Event
) -> None:
    """Serve until `stopping` is set."""
    shop = load(ShopSettings)
    if settings.processes > 1:
        processes.run(settings, stopping)
        return
    # A call's matrices are too small to parallelise: BLAS's other threads would only spin on every core.
    with threadpool_limits(1, "blas"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, shop, kafka, InferenceMetrics(registry), stopping))


async def _serve(
    settings: InferenceSettings,
    shop: ShopSettings,
    kafka: KafkaSettings,
    metrics: InferenceMetrics,
    stopping: threading.Event,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if not stopping.is_set():
        await run(settings, shop, kafka, metrics, stop)


if __name__ == "__main__":
    sys.exit(run_service("inference", __doc__, InferenceSettings, work, also=[ShopSettings]))
