"""The trainer: learns from `freshet.states` and publishes model versions.

    python -m services.trainer

It resumes from its newest checkpoint and learns until SIGTERM or Ctrl-C, which end it cleanly.
"""

from __future__ import annotations

import sys
import threading

import torch

from services.trainer.loop import Trainer
from services.trainer.settings import TrainerSettings
from shared.service import run_service
from shared.settings import KafkaSettings
from shared.topics import ensure_topics


def work(settings: TrainerSettings, kafka: KafkaSettings, stop: threading.Event) -> None:
    """Learn until told to stop."""
    torch.set_num_threads(settings.torch_threads)
    torch.use_deterministic_algorithms(mode=True)
    ensure_topics(kafka, stop=stop)
    if not stop.is_set():
        Trainer(settings, kafka, stop).run()


if __name__ == "__main__":
    sys.exit(run_service("trainer", __doc__, TrainerSettings, work))
