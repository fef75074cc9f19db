"""The gateway: HTTP and JSON for every call of the recommender, and the page.

    python -m services.gateway

It serves until SIGTERM or Ctrl-C, then finishes the calls in flight.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading

import uvloop
from prometheus_client import CollectorRegistry

from services.gateway.metrics import GatewayMetrics
from services.gateway.server import run
from services.gateway.settings import GatewaySettings
from shared.process.run import run_service
from shared.process.settings import KafkaSettings


def work(settings: GatewaySettings, _: KafkaSettings, registry: CollectorRegistry, stopping: threading.Event) -> None:
    """Serve until `stopping` is set."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, GatewayMetrics(registry), stopping))


async def _serve(settings: GatewaySettings, metrics: GatewayMetrics, stopping: threading.Event) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if not stopping.is_set():
        await run(settings, metrics, stop)


if __name__ == "__main__":
    sys.exit(run_service("gateway", __doc__, GatewaySettings, work))
