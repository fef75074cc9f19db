"""Model versions: written from what the learner has learned and announced on `freshet.models`."""

from __future__ import annotations

import hashlib
import json
import time

from services.trainer.checkpoint import fixed_settings
from services.trainer.learner import Learner
from services.trainer.settings import TrainerSettings
from shared.event_features import EVENT_FEATURES
from shared.kafka.clients import CountedProducer
from shared.kafka.ordered import ReaderSnapshot
from shared.model_files import write_version
from shared.models import Manifest
from shared.pb.freshet.v1.events_pb2 import LogPosition, ModelVersion
from shared.policies.policy import no_golden
from shared.state.shop import ShopSettings


def source_positions(reader: ReaderSnapshot) -> dict[str, int]:
    """Partition of `freshet.events` → next offset not learned: the same however often a state was written."""
    return {partition: marks["source_offset"] + 1 for partition, marks in reader["marks"].items()}


def version_id(applied: int, reader: ReaderSnapshot, settings: TrainerSettings, shop: ShopSettings) -> str:
    """The name that follows from where in the log a version stands and what it was learned with."""
    lineage = json.dumps([source_positions(reader), fixed_settings(settings, shop)], sort_keys=True)
    return f"{applied:012d}-{hashlib.sha256(lineage.encode()).hexdigest()[:8]}"


def applied_of(version_id: str) -> int:
    """Events a version has learned from, by its name; 0 for the empty name of none."""
    return int(version_id.partition("-")[0] or 0)


def write(
    learner: Learner, reader: ReaderSnapshot, settings: TrainerSettings, shop: ShopSettings
) -> tuple[Manifest, str]:
    """Write what the learner has learned as a version; its manifest and the manifest's SHA-256.

    Raises:
        OSError: the disk is full, say; nothing half written stays behind.
    """
    learned = learner.policy.learned()
    manifest = Manifest(
        version_id=version_id(learner.applied, reader, settings, shop),
        policy=learner.policy.name,
        parent=learner.parent,
        heads=learned.heads,
        popularity_weight=learned.popularity_weight,
        neighbours=learned.neighbours,
        history_length=shop.history_length,
        event_features=list(EVENT_FEATURES),
        dimension=learned.parts.input.shape[1],
        products=len(learned.parts.products),
        epsilon=learned.epsilon,
        discount=learned.discount,
        metrics=learned.metrics,
        positions=source_positions(reader),
        applied_events=learner.applied,
        steps=learned.steps,
        ordered=reader["ordered"],
    )
    _, sha256 = write_version(
        shop.models_dir, manifest, learned.parts, learned.golden or no_golden(shop.history_length)
    )
    return manifest, sha256


def announce(manifest: Manifest, sha256: str, producer: CountedProducer, topic: str) -> ModelVersion:
    """Tell every reader, and return what they are told; a folder is announced only once it is whole."""
    message = ModelVersion(
        version_id=manifest.version_id,
        policy=manifest.policy,
        manifest_sha256=sha256,
        created_ms=time.time_ns() // 1_000_000,
        positions=[LogPosition(partition=int(p), offset=o) for p, o in sorted(manifest.positions.items())],
        applied_events=manifest.applied_events,
        steps=manifest.steps,
        epsilon=manifest.epsilon,
        ordered=manifest.ordered,
        metrics=manifest.metrics,
        parent=manifest.parent,
        products=manifest.products,
    )
    producer.send(topic, key=f"version/{manifest.version_id}".encode(), value=message.SerializeToString())
    return message
