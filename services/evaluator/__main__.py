"""The evaluator: judges, live, what is served beside simple baselines, each event before it is learned.

    python -m services.evaluator

It reads the log from its beginning and judges until SIGTERM or Ctrl-C; the figures are its metrics.
"""

from __future__ import annotations

import os
import sys
import threading

from prometheus_client import CollectorRegistry
from threadpoolctl import threadpool_limits

from services.evaluator.accuracy import EvaluatorMetrics
from services.evaluator.loop import Evaluator
from services.evaluator.settings import EvaluatorSettings
from shared.log.topics import ensure_topics
from shared.process.run import run_service
from shared.process.settings import KafkaSettings, load
from shared.state.shop import ShopSettings


def work(settings: EvaluatorSettings, kafka: KafkaSettings, registry: CollectorRegistry, stop: threading.Event) -> None:
    """Judge until told to stop."""
    shop, metrics = load(ShopSettings), EvaluatorMetrics(registry)
    os.nice(settings.niceness)
    ensure_topics(kafka, stop=stop)
    if not stop.is_set():
        with threadpool_limits(1, "blas"):  # others would spin for the next event's few sums on every core
            Evaluator(settings, shop, kafka, metrics, stop).run()


if __name__ == "__main__":
    sys.exit(run_service("evaluator", __doc__, EvaluatorSettings, work, also=[ShopSettings]))
