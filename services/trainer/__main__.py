"""The trainer: learns from `freshet.states` and publishes model versions.

    python -m services.trainer

It resumes from its newest checkpoint and learns until SIGTERM or Ctrl-C, which end it cleanly.
"""

from __future__ import annotations

import os
import sys
import threading

import torch
from prometheus_client import CollectorRegistry

from services.trainer.loop import Trainer
from services.trainer.metrics import TrainerMetrics
from services.trainer.settings import TrainerSettings
from shared.log.topics import Topics, ensure_topics, wait_for_identity
from shared.policies.freshet.network import device_of
from shared.process import folders
from shared.process.run import run_service
from shared.process.settings import KafkaSettings, load
from shared.state.shop import ShopSettings


def work(settings: TrainerSettings, kafka: KafkaSettings, registry: CollectorRegistry, stop: threading.Event) -> None:
    """Learn until told to stop."""
    shop, metrics = load(ShopSettings), TrainerMetrics(registry)
    device_of(settings.device)  # an absent one is refused before anything is waited for
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it CUDA's products do not repeat
    os.nice(settings.niceness)
    torch.set_num_threads(settings.torch_threads)
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # all of it is written first
    folders.prepare(settings.state_dir, "FRESHET_TRAINER_STATE_DIR")
    folders.prepare(shop.models_dir, "FRESHET_SHOP_MODELS_DIR")
    ensure_topics(kafka, stop=stop)
    identity = wait_for_identity(kafka, Topics.of(kafka).states, stop)
    if identity is not None:
        Trainer(settings, shop, kafka, identity, metrics, stop).run()


if __name__ == "__main__":
    sys.exit(run_service("trainer", __doc__, TrainerSettings, work, also=[ShopSettings]))
