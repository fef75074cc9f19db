"""Model versions: written from what the learner has learned, announced on `freshet.models`, removed when too many."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from services.trainer.checkpoint import fixed_settings
from services.trainer.learner import Learner
from services.trainer.metrics import TrainerMetrics
from services.trainer.settings import TrainerSettings
from shared.log.clients import CountedProducer, LogReader
from shared.log.follow import RecordProcessor
from shared.log.ordered import ReaderSnapshot
from shared.log.topics import Topics
from shared.model.files import read_manifest, write_version
from shared.model.format import MANIFEST, Manifest
from shared.model.serving import PublishedVersions
from shared.pb.freshet.v1.events_pb2 import LogPosition, ModelVersion
from shared.policies.contract import no_golden
from shared.policies.registry import POLICIES
from shared.process.errors import BadEvent
from shared.process.folders import what_is_wrong
from shared.process.settings import KafkaSettings
from shared.state.histories import EVENT_FEATURES
from shared.state.shop import ShopSettings

log = logging.getLogger("trainer")

KEPT_NEWEST = 10  # versions
KEPT_HOURS = 24  # of which the last version of each is kept
REMOVED = ".removed"  # what a folder's name ends with once it need only be deleted


def write(
    learner: Learner, reader: ReaderSnapshot, settings: TrainerSettings, shop: ShopSettings
) -> tuple[Manifest, str]:
    """Write what the learner has learned as a version; its manifest and the manifest's SHA-256.

    Raises:
        OSError: the disk is full, say; nothing half written stays behind.
    """
    learned = learner.policy.learned()
    manifest = Manifest(
        version_id=version_id(learner.applied, reader, settings, shop, learned.skipped),
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
        deterministic=not learned.skipped,
    )
    _, sha256 = write_version(
        shop.models_dir,
        manifest,
        learned.parts,
        learned.golden or no_golden(shop.history_length),
        learned.golden_candidates,
    )
    return manifest, sha256


def announce(manifest: Manifest, sha256: str, producer: CountedProducer, topic: str) -> ModelVersion:
    """Announce a version, whose folder is whole by now, to every reader; the announcement."""
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


def version_id(
    applied: int, reader: ReaderSnapshot, settings: TrainerSettings, shop: ShopSettings, skipped: int = 0
) -> str:
    """The name of a version: it follows from its positions in the log, the settings and the steps that were skipped."""
    skips = [skipped] if skipped else []
    lineage = json.dumps([source_positions(reader), fixed_settings(settings, shop), *skips], sort_keys=True)
    return f"{applied:012d}-{hashlib.sha256(lineage.encode()).hexdigest()[:8]}"


def applied_of(version_id: str) -> int:
    """Events a version has learned from, by its name; 0 for the empty name of none."""
    return int(version_id.partition("-")[0] or 0)


def source_positions(reader: ReaderSnapshot) -> dict[str, int]:
    """Partition of `freshet.events` → next offset not learned: the same however often a state was written."""
    return {partition: marks["source_offset"] + 1 for partition, marks in reader["marks"].items()}


class Retention:
    """Removes versions after each publication, once its announcement has been read back from the models topic.

    Whatever was pinned before it is known by then, and so is the order of all announcements.

    Args:
        root: the folder of the model versions.
    """

    def __init__(self, root: Path, kafka: KafkaSettings, producer: CountedProducer, metrics: TrainerMetrics) -> None:
        self._root = root
        self._metrics = metrics
        self._topic = Topics.of(kafka).models
        self._producer = producer
        self._reader = LogReader(kafka, {(self._topic, 0): -1})
        self._published = PublishedVersions()
        self._awaited: ModelVersion | None = None  # after which versions are due to be removed
        self._records = RecordProcessor(lambda m: self._published.apply(m.key(), m.value()), say=log.warning)

    def make_due(self, announced: ModelVersion) -> None:
        """A version was published and announced so: remove others as soon as it is known which."""
        self._awaited = announced

    def turn(self) -> None:
        """Read on in the models topic, and remove what need not be kept."""
        self._records.poll(self._reader, 0.0)
        if self._awaited is not None and self._awaited in self._published.newest_first():
            self._awaited = None
            self._remove()

    def close(self) -> None:
        """Read the topic no longer."""
        self._reader.close()

    def _remove(self) -> None:
        """Remove what `expired` names: first the announcement, then the folder. What fails is tried again next time."""
        for folder in self._root.glob(f".*{REMOVED}"):
            self._try(shutil.rmtree, folder)
        for version in expired(self._oldest_first(), pinned=self._published.pointed_at, now=time.time()):
            self._producer.send(self._topic, key=f"version/{version}".encode(), value=None)
            self._try(_remove_whole, self._root / version)

    def _try(self, remove: Callable[[Path], object], folder: Path) -> None:
        try:
            remove(folder)
        except OSError as error:
            self._metrics.removal_failures.inc()
            log.error(  # noqa: TRY400  # the disk's answer says all
                "can't remove %s: %s. Trying again after the next version", folder, what_is_wrong(error)
            )

    def _oldest_first(self) -> list[tuple[str, float]]:
        """Id and Unix time in seconds of each version, in the order in which they were published.

        That is the order of their announcements: a name begins with the number of events a version has learned from,
        which begins anew with each lineage. Before them come those that nobody announced, as after the log was lost.
        """
        announced = {version.version_id: version.created_ms / 1000 for version in self._published.newest_first()[::-1]}
        places = {version_id: place for place, version_id in enumerate(announced, start=1)}
        versions = []
        for folder in self._root.glob("[!.]*"):
            if (folder / MANIFEST).exists() and (known := _written_and_learned(folder)) is not None:
                written, learned = known
                at = announced.get(folder.name, written)
                versions.append((places.get(folder.name, 0), at, learned, folder.name))
        return [(version_id, at) for _, at, _, version_id in sorted(versions)]


def expired(versions: Sequence[tuple[str, float]], *, pinned: Collection[str], now: float) -> list[str]:
    """Versions that need not be kept: all but the newest ten, the last of each hour of a day, and what is pinned.

    Args:
        versions: id and Unix time in seconds of each, oldest first.
    """
    kept = {version for version, _ in versions[-KEPT_NEWEST:]} | set(pinned)
    last_of_hour = {int(at // 3600): version for version, at in versions if now - at < KEPT_HOURS * 3600}
    kept |= set(last_of_hour.values())
    return [version for version, _ in versions if version not in kept]


def _remove_whole(folder: Path) -> None:
    """Remove a folder that others may be reading: it is gone at once, or stays as it was.

    Raises:
        OSError: it can't be removed, or only under another name, which `REMOVED` ends.
    """
    aside = folder.with_name(f".{folder.name}{REMOVED}")
    folder.rename(aside)
    shutil.rmtree(aside)


def _written_and_learned(folder: Path) -> tuple[float, int] | None:
    """When a version was written, Unix time in seconds, and the events it has learned from; None: leave it alone."""
    try:
        manifest = read_manifest(folder)
        written = (folder / MANIFEST).stat().st_mtime
    except (BadEvent, OSError) as error:
        log.warning("left alone: %s", error)
        return None
    return (written, manifest.applied_events) if manifest.policy in POLICIES else None
