"""Inference: answers gRPC calls with whatever has been learned so far.

    python -m services.inference

It answers until SIGTERM or Ctrl-C; then the calls in flight are finished. With FRESHET_INFERENCE_PROCESSES several
processes answer on the one port.
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


def work(settings: InferenceSettings, kafka: KafkaSettings, registry: CollectorRegistry, told: threading.Event) -> None:
    """Answer until told to stop."""
    shop = load(ShopSettings)
    if settings.processes > 1:
        processes.run(settings, told)
        return
    # One call's sums are too small to share out: BLAS's other threads would spin for the next one on every core.
    with threadpool_limits(1, "blas"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(settings, shop, kafka, InferenceMetrics(registry), told))


async def _until_told(
    settings: InferenceSettings,
    shop: ShopSettings,
    kafka: KafkaSettings,
    metrics: InferenceMetrics,
    told: threading.Event,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if not told.is_set():
        await run(settings, shop, kafka, metrics, stop)


if __name__ == "__main__":
    sys.exit(run_service("inference", __doc__, InferenceSettings, work, also=[ShopSettings]))
