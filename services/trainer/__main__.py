"""The trainer: learns from `freshet.states` and publishes model versions.

    python -m services.trainer

It resumes from its newest checkpoint and learns until SIGTERM or Ctrl-C, which end it cleanly.
"""

from __future__ import annotations

import os
import sys
import threading

import torch

from services.trainer import folders
from services.trainer.loop import Trainer, wait_for_identity
from services.trainer.settings import TrainerSettings
from shared.service import run_service
from shared.settings import KafkaSettings
from shared.topics import Topics, ensure_topics


def work(settings: TrainerSettings, kafka: KafkaSettings, stop: threading.Event) -> None:
    """Learn until told to stop."""
    os.nice(settings.niceness)
    torch.set_num_threads(settings.torch_threads)
    torch.use_deterministic_algorithms(mode=True)
    folders.prepare(settings)
    ensure_topics(kafka, stop=stop)
    identity = wait_for_identity(kafka, Topics.of(kafka).states, stop)
    if identity is not None:
        Trainer(settings, kafka, identity, stop).run()


if __name__ == "__main__":
    sys.exit(run_service("trainer", __doc__, TrainerSettings, work))
