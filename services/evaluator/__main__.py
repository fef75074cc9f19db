"""The evaluator: judges, live, what is served beside trending, each event before it is learned.

    python -m services.evaluator

It reads the log from its beginning and judges until SIGTERM or Ctrl-C; the figures are its metrics.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

from confluent_kafka import KafkaException

from services.evaluator.loop import Evaluator
from services.evaluator.settings import EvaluatorSettings
from shared.errors import Unusable
from shared.settings import KafkaSettings, describe, load
from shared.telemetry import setup_logging, start_metrics
from shared.topics import ensure_topics

log = logging.getLogger("evaluator")


def main() -> int:
    """Run the service; its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m services.evaluator",
        description=__doc__,
        epilog=describe(EvaluatorSettings, KafkaSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings, kafka = load(EvaluatorSettings), load(KafkaSettings)
        setup_logging(settings)
        start_metrics("evaluator", settings)
        ensure_topics(kafka, stop=stop)
        if not stop.is_set():
            Evaluator(settings, kafka, stop).run()
    except Unusable as error:
        print(f"evaluator: {error}", file=sys.stderr)
        return 2
    except KafkaException as error:
        log.error("the log can't be followed any longer (%s); start again to read it anew", error.args[0].str())  # noqa: TRY400
        return 1
    log.info("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
