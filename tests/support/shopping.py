"""A whole shop behind a gateway: real broker, features, trainer, inference, evaluator, and a sample of reviews."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replay.sample.shop import write_sample
from shared.log.topics import ensure_topics
from shared.process.settings import KafkaSettings
from tests.support.gateway import Gateway, gateway
from tests.support.inference import eventually
from tests.support.loop import figure, loop

USERS, PRODUCTS, EVENTS = 60, 50, 600
SETTINGS = {"FRESHET_TRAINER_CHECKPOINT_EVENTS": "300", "FRESHET_TRAINER_PUBLISH_EVENTS": "300"}


@dataclass(frozen=True)
class Shop:
    """Where it is, and what it holds as the API tells it."""

    gateway: Gateway
    folder: Path

    @property
    def url(self) -> str:
        return self.gateway.url

    def call(self, method: str, **message: Any) -> Any:
        """The answer of a call that must not fail."""
        answer = self.gateway.ask(f"/v1/{method}", message)
        assert answer.status == 200, answer.body
        return answer.json


@contextmanager
def shop(broker_address: str, folder: Path) -> Iterator[Shop]:
    """One that has learned a sample whole; everything it runs ends with the block."""
    kafka = KafkaSettings(bootstrap_servers=broker_address, topic_prefix=f"t{uuid.uuid4().hex[:10]}", partitions=3)
    ensure_topics(kafka, patience_seconds=20)
    reviews, products = folder / "reviews.json.gz", folder / "products.json.gz"
    write_sample(reviews, products, users=USERS, products=PRODUCTS, events=EVENTS, seed=5)
    with loop(kafka, folder / "system", SETTINGS) as system:
        trainer, inference, evaluator = (
            system.start(f"services.{name}") for name in ("trainer", "inference", "evaluator")
        )
        system.start("services.features")
        system.start("replay", "run", str(reviews), "--metadata", str(products))
        trainer.wait_for(
            lambda: any(int(name[:12]) == EVENTS for name in system.versions()), "the last version", seconds=90
        )
        inference.wait_for(lambda: figure(inference, "freshet_inference_applied_total") == EVENTS, "all events")
        evaluator.wait_for(lambda: figure(evaluator, "freshet_evaluator_applied_events_total") == EVENTS, "all judged")
        address = re.search(r"gRPC on (\S+:[0-9]+)", inference.log)
        assert address is not None
        metrics = f"http://127.0.0.1:{evaluator.metrics_port}/metrics"
        with gateway(address[1], folder, evaluator_metrics=metrics) as http:
            made = Shop(http, folder)
            eventually(lambda: http.ask("/healthz").status == 200)
            eventually(lambda: made.call("list-models")["serving_version"].startswith(f"{EVENTS:012d}"))
            yield made
