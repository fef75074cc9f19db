"""The whole loop as processes on one broker: replay, features, trainer, inference, evaluator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from shared.process.settings import KafkaSettings
from tests.support.processes import Service, kafka_environment, running

# A learner that is small and quick, and publishes often.
SMALL = {
    "FRESHET_TRAINER_HIDDEN": "8",
    "FRESHET_TRAINER_BATCH": "16",
    "FRESHET_TRAINER_CHECKPOINT_EVENTS": "250",
    "FRESHET_TRAINER_PUBLISH_EVENTS": "500",
}


class Loop:
    """The processes of one loop and the folder that holds what they write."""

    def __init__(self, kafka: KafkaSettings, folder: Path, stack: ExitStack, settings: Mapping[str, str]) -> None:
        self.kafka = kafka
        self.folder = folder
        self._stack = stack
        self.environment = {
            **SMALL,
            **kafka_environment(kafka),
            "FRESHET_TRAINER_STATE_DIR": str(folder / "trainer"),
            "FRESHET_REPLAY_STATE_DIR": str(folder / "replay"),
            "FRESHET_SHOP_MODELS_DIR": str(folder / "models"),
            "FRESHET_INFERENCE_GRPC_PORT": "0",
            **settings,
        }

    def start(self, module: str, *arguments: str, name: str = "") -> Service:
        """Start `python -m <module>`; killed with the loop if it still runs."""
        log_file = self.folder / f"{name or module.rpartition('.')[2]}.log"
        return self._stack.enter_context(running(module, self.environment, log_file, *arguments))

    def versions(self) -> dict[str, str]:
        """Version id → hash over all its files."""
        return {
            folder.name: hashlib.sha256(b"".join(f.read_bytes() for f in sorted(folder.iterdir()))).hexdigest()
            for folder in sorted((self.folder / "models").glob("0*"))
        }


@contextmanager
def loop(kafka: KafkaSettings, folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Loop]:
    """A loop with nothing started yet; everything it starts ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield Loop(kafka, folder, stack, settings or {})


def figure(service: Service, name: str) -> float:
    """One metric of a service, 0 while nobody answers."""
    return service.metrics().get(name, 0.0)
