"""Model versions: written from what the learner has learned, announced on `freshet.models`, and forgotten in time."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from services.trainer.checkpoint import fixed_settings
from services.trainer.learner import Learner
from services.trainer.settings import TrainerSettings
from shared.errors import BadEvent
from shared.event_features import EVENT_FEATURES
from shared.kafka.clients import CountedProducer
from shared.kafka.ordered import ReaderSnapshot
from shared.model_files import read_manifest, write_version
from shared.models import MANIFEST, Manifest
from shared.pb.freshet.v1.events_pb2 import LogPosition, ModelVersion
from shared.policies.policy import no_golden
from shared.policies.registry import POLICIES

log = logging.getLogger("trainer")

KEPT_NEWEST = 10
KEPT_HOURS = 24


def source_positions(reader: ReaderSnapshot) -> dict[str, int]:
    """Partition of `freshet.events` → next offset not learned: the same however often a state was written."""
    return {partition: marks["source_offset"] + 1 for partition, marks in reader["marks"].items()}


def version_id(applied: int, reader: ReaderSnapshot, settings: TrainerSettings) -> str:
    """The name that follows from where in the log a version stands and what it was learned with."""
    lineage = json.dumps([source_positions(reader), fixed_settings(settings)], sort_keys=True)
    return f"{applied:012d}-{hashlib.sha256(lineage.encode()).hexdigest()[:8]}"


def applied_of(version_id: str) -> int:
    """Events a version has learned from, by its name; 0 for the empty name of none."""
    return int(version_id.partition("-")[0] or 0)


def write(learner: Learner, reader: ReaderSnapshot, settings: TrainerSettings) -> tuple[Manifest, str]:
    """Write what the learner has learned as a version; its manifest and the manifest's SHA-256.

    Raises:
        OSError: the disk is full, say; nothing half written stays behind.
    """
    learned = learner.policy.learned()
    manifest = Manifest(
        version_id=version_id(learner.applied, reader, settings),
        policy=learner.policy.name,
        parent=learner.parent,
        heads=learned.heads,
        popularity_weight=learned.popularity_weight,
        neighbours=learned.neighbours,
        history_length=settings.history_length,
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
        settings.models_dir, manifest, learned.parts, learned.golden or no_golden(settings.history_length)
    )
    return manifest, sha256


def announce(manifest: Manifest, sha256: str, producer: CountedProducer, topic: str) -> None:
    """Tell every reader; a folder is announced only once it is whole."""
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


def expired(versions: Sequence[tuple[str, float]], *, pinned: Collection[str], now: float) -> list[str]:
    """Versions that need not be kept: all but the newest ten, the last of each hour of a day, and what is pinned.

    Args:
        versions: id and Unix time in seconds of each, oldest first.
    """
    kept = {version for version, _ in versions[-KEPT_NEWEST:]} | set(pinned)
    last_of_hour = {int(at // 3600): version for version, at in versions if now - at < KEPT_HOURS * 3600}
    kept |= set(last_of_hour.values())
    return [version for version, _ in versions if version not in kept]


def forget(root: Path, *, pinned: Collection[str], producer: CountedProducer, topic: str) -> None:
    """Remove what `expired` names: first the announcement, then the folder."""
    folders = sorted(path.parent for path in root.glob(f"[!.]*/{MANIFEST}"))
    versions = [(folder.name, (folder / MANIFEST).stat().st_mtime) for folder in folders if _is_ours(folder)]
    for version in expired(versions, pinned=pinned, now=time.time()):
        producer.send(topic, key=f"version/{version}".encode(), value=None)
        shutil.rmtree(root / version)


def _is_ours(folder: Path) -> bool:
    try:
        return read_manifest(folder).policy in POLICIES
    except BadEvent as error:
        log.warning("left alone: %s", error)
        return False
