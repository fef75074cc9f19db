"""The gateway: HTTP and JSON beside gRPC, for every call of the recommender, and the page.

    python -m services.gateway

It answers until SIGTERM or Ctrl-C; then the calls in flight are finished.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading

import uvloop
from prometheus_client import CollectorRegistry

from services.gateway.recommender import GatewayMetrics
from services.gateway.server import run
from services.gateway.settings import GatewaySettings
from shared.process.run import run_service
from shared.process.settings import KafkaSettings


def work(settings: GatewaySettings, _: KafkaSettings, registry: CollectorRegistry, told: threading.Event) -> None:
    """Answer until told to stop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(settings, GatewayMetrics(registry), told))


async def _until_told(settings: GatewaySettings, metrics: GatewayMetrics, told: threading.Event) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if not told.is_set():
        await run(settings, metrics, stop)


if __name__ == "__main__":
    sys.exit(run_service("gateway", __doc__, GatewaySettings, work))
