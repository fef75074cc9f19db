"""The trainer: learns from `freshet.states` and publishes model versions.

    python -m services.trainer

It resumes from its newest checkpoint and learns until SIGTERM or Ctrl-C, which end it cleanly.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

import torch

from services.trainer.loop import Trainer
from services.trainer.settings import TrainerSettings
from shared.errors import Unusable
from shared.settings import KafkaSettings, describe, load
from shared.telemetry import setup_logging, start_metrics
from shared.topics import ensure_topics


def main() -> int:
    """Run the service; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m services.trainer",
        description=__doc__,
        epilog=describe(TrainerSettings, KafkaSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings, kafka = load(TrainerSettings), load(KafkaSettings)
        setup_logging(settings)
        torch.set_num_threads(settings.torch_threads)
        torch.use_deterministic_algorithms(mode=True)
        start_metrics("trainer", settings)
        ensure_topics(kafka, stop=stop)
        if not stop.is_set():
            Trainer(settings, kafka, stop).run()
    except Unusable as error:
        print(f"trainer: {error}", file=sys.stderr)
        return 2
    logging.getLogger("trainer").info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
