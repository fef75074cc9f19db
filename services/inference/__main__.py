"""Inference: answers gRPC calls with whatever has been learned so far.

    python -m services.inference

It answers until SIGTERM or Ctrl-C; then the calls in flight are finished.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

import uvloop
from confluent_kafka import KafkaException

from services.inference.service import run
from services.inference.settings import InferenceSettings
from shared.errors import Unusable
from shared.settings import KafkaSettings, describe, load
from shared.telemetry import setup_logging, start_metrics

log = logging.getLogger("inference")


def main() -> int:
    """Run the service; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m services.inference",
        description=__doc__,
        epilog=describe(InferenceSettings, KafkaSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings, kafka = load(InferenceSettings), load(KafkaSettings)
        setup_logging(settings)
        start_metrics("inference", settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_told(settings, kafka))
    except Unusable as error:
        print(f"inference: {error}", file=sys.stderr)
        return 2
    except KafkaException as error:
        log.error("the log can't be followed any longer (%s); start again to read it anew", error.args[0].str())  # noqa: TRY400
        return 1
    log.info("stopped")
    return 0


async def _until_told(settings: InferenceSettings, kafka: KafkaSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, kafka, stop)


if __name__ == "__main__":
    sys.exit(main())
