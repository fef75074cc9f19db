"""Snapshots: what inference has learned from `freshet.states`, and up to which position of the log.

A snapshot is a folder that appears whole or not at all: `knowledge.safetensors`, and `manifest.json` with the SHA-256
of the former and of itself. Products are not in it, since their topic is read whole at each start. A `Keeper` decides
when to write one, and which one a start continues from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from services.inference.knowledge.knowledge import Knowledge
from services.inference.metrics import InferenceMetrics
from services.inference.settings import InferenceSettings
from shared.log.merge import AppliedMarks, MarksSnapshot
from shared.log.records import masked_kinds_of
from shared.log.topics import Topics, wait_for_identity
from shared.numeric.arrays import with_prefix, without_prefix
from shared.process.folders import Digest, pieces, read_folder, what_is_wrong, write_folder
from shared.process.settings import KafkaSettings
from shared.state.histories import EVENT_FEATURES, Histories
from shared.state.shop import ShopSettings, StreamSettings
from shared.state.tally import MEANING, Tally

log = logging.getLogger("inference")
SCHEMA_VERSION = 4
TENSORS = "knowledge.safetensors"
MANIFEST = "manifest.json"
CONTENT, TALLY = "content/", "tally/"  # prefixes of the names of their arrays
LOCK = ".lock"
LISTED, REMOVED = 1, 2  # the latest record of a product in its topic; 0: none
# What reading a snapshot may raise: it is damaged, or another process has replaced it meanwhile.
DAMAGES = (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError)
KEPT = 2
# The least pause between snapshots, as a multiple of the last one's duration, since copying delays the applying.
REST = 20.0
# No last snapshot is taken at a stop if the one before took longer: a container has ten seconds to stop.
LAST_SECONDS = 2.0


def keeper_of(
    settings: InferenceSettings,
    shop: ShopSettings,
    kafka: KafkaSettings,
    metrics: InferenceMetrics,
    stop: threading.Event,
) -> Keeper | None:
    """The keeper of this log's snapshots, once a broker answers; None without a folder for them, or after `stop`."""
    if settings.state_dir is None:
        return None
    topics = Topics.of(kafka)
    states = wait_for_identity(kafka, topics.states, stop)
    products = wait_for_identity(kafka, topics.products, stop)
    if states is None or products is None:
        return None
    origin = SnapshotOrigin.of(shop, kafka.partitions, states=states, products=products)
    return Keeper(settings.state_dir, origin, settings.snapshot_events, metrics)


class Keeper:
    """Writes snapshots in a thread of its own, one at a time; of several processes with one folder only one writes.

    Args:
        root: the folder of the snapshots.
        origin: of the snapshots.
        every: states applied between two of them.
        clock: seconds.
    """

    def __init__(
        self,
        root: Path,
        origin: SnapshotOrigin,
        every: int,
        metrics: InferenceMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.origin = origin
        self._metrics = metrics
        self._root = root
        self._every = every
        self._clock = clock
        self._kept = 0  # states applied at the newest snapshot
        self._tried = 0  # states applied at the last attempt
        self._not_before = 0.0  # clock seconds
        self._took = 0.0  # seconds
        self._lock: int | None = None
        self._writing: threading.Thread | None = None

    def newest(self) -> KnowledgeSnapshot | None:
        """The newest usable snapshot; logs why newer ones are not."""
        unusable: list[str] = []
        newest: KnowledgeSnapshot | None = None
        for folder in reversed(folders(self._root)):
            try:
                newest = read(folder, self.origin)
            except DAMAGES as error:
                unusable.append(f"{folder.name}: {error}")
            else:
                break
        if unusable:
            instead = "continuing from the one before" if newest else "reading the whole log"
            log.warning("can't use a snapshot in %s: %s; %s", self._root, "; ".join(unusable), instead)
        return newest

    def reject_newest(self, reason: str) -> None:
        """Log that the newest snapshot is not usable after all."""
        log.warning("can't use the newest snapshot in %s: %s; reading the whole log", self._root, reason)

    def take_if_due(self, applied: int, take: Callable[[], KnowledgeSnapshot]) -> None:
        """Take a snapshot and begin to write it if enough states were applied since the last one.

        Args:
            applied: states since the start.
        """
        if applied - self._tried < self._every or self._clock() < self._not_before or self._is_writing():
            return
        self._tried = applied
        if self._owns():
            start = self._clock()
            self._writing = threading.Thread(
                target=self._write, args=(take(), applied, start), name="snapshot", daemon=True
            )
            self._writing.start()

    def take_last(self, applied: int, take: Callable[[], KnowledgeSnapshot]) -> None:
        """Take a last snapshot at a stop, so that the next start has nothing to read."""
        if self._writing is not None:
            self._writing.join()
        if applied > self._kept and self._took <= LAST_SECONDS and self._owns():
            self._write(take(), applied, self._clock())

    def close(self) -> None:
        """Release the lock, so that another process may write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _is_writing(self) -> bool:
        return self._writing is not None and self._writing.is_alive()

    def _write(self, snapshot: KnowledgeSnapshot, applied: int, start: float) -> None:
        try:
            folder = write(self._root, snapshot, self.origin)
        except OSError as error:
            self._metrics.snapshot_failures.inc()
            log.error(  # noqa: TRY400  # the disk's error says it all
                "can't write a snapshot in %s: %s; the one before stays; next attempt after %d more states",
                self._root,
                what_is_wrong(error),
                self._every,
            )
        else:
            self._kept = applied
            self._metrics.snapshots.inc()
            log.debug("wrote %s", folder)
        self._took = self._clock() - start
        self._not_before = self._clock() + REST * self._took
        self._metrics.snapshot_seconds.observe(self._took)

    def _owns(self) -> bool:
        """Whether this process writes: it holds the folder's lock, which ends with the process."""
        if self._lock is None:
            try:
                handle = os.open(self._root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                log.error("can't write snapshots in %s: %s", self._root, what_is_wrong(error))  # noqa: TRY400
                return False
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                return False
            self._lock = handle
        return True


def write(root: Path, snapshot: KnowledgeSnapshot, origin: SnapshotOrigin) -> Path:
    """Write a snapshot beside the others and remove those no longer needed.

    Raises:
        OSError: the disk is full, for example; earlier snapshots are untouched.
    """

    def manifest(digests: Mapping[str, Digest]) -> bytes:
        body = {
            "origin": origin.as_json(),
            "tensors_sha256": digests[TENSORS].sha256,
            "positions": {str(p): offset for p, offset in snapshot.positions.items()},
            "marks": {str(p): marks for p, marks in snapshot.marks.items()},
        }
        return json.dumps({"sha256": _sha256_of(body), "body": body}).encode()

    before = folders(root)
    number = int(before[-1].name.rpartition("-")[2]) + 1 if before else 1
    folder = root / f"snapshot-{number:012d}"
    write_folder(folder, {TENSORS: pieces(snapshot.arrays)}, MANIFEST, manifest)
    for old in folders(root)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def read(folder: Path, origin: SnapshotOrigin) -> KnowledgeSnapshot:
    """Read a snapshot and check it.

    Raises:
        ValueError: it is damaged, or of another origin; the message says which.
        OSError: it can't be read, or no longer exists.
    """
    manifest = json.loads((folder / MANIFEST).read_bytes())
    body = manifest["body"]
    if _sha256_of(body) != manifest["sha256"]:
        raise ValueError(f"{MANIFEST} is damaged")
    wanted = origin.as_json()
    for name in sorted(body["origin"].keys() | wanted.keys()):
        if body["origin"].get(name) != wanted.get(name):
            raise ValueError(f"{name} was {body['origin'].get(name)}, now it is {wanted.get(name)}")
    content = read_folder(folder, MANIFEST, {TENSORS: Digest(body["tensors_sha256"])})
    return KnowledgeSnapshot(
        load_tensors(content[TENSORS]),
        {int(p): offset for p, offset in body["positions"].items()},
        {int(p): marks for p, marks in body["marks"].items()},
    )


def folders(root: Path) -> list[Path]:
    """Every snapshot, oldest first."""
    return sorted(root.glob("snapshot-*")) if root.is_dir() else []


@dataclass(frozen=True, slots=True)
class SnapshotOrigin:
    """What a snapshot belongs to: it is usable only where all of this is equal."""

    states: str  # identities of the topics
    products: str
    partitions: int
    history_length: int
    masked_kinds: tuple[int, ...]
    trending_half_life_days: float
    tally_megabytes: int
    tally: str = MEANING
    event_features: tuple[str, ...] = EVENT_FEATURES
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(cls, shop: ShopSettings, partitions: int, *, states: str, products: str) -> SnapshotOrigin:
        """The origin of these settings and topics."""
        return cls(
            states=states,
            products=products,
            partitions=partitions,
            history_length=shop.history_length,
            masked_kinds=tuple(sorted(masked_kinds_of(shop.masked_kinds))),
            trending_half_life_days=shop.trending_half_life_days,
            tally_megabytes=shop.tally_megabytes,
        )

    def as_json(self) -> dict[str, Any]:
        """The form in the manifest."""
        fields: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return fields


@dataclass(frozen=True, slots=True)
class KnowledgeSnapshot:
    """What was known after the records before `positions` were applied."""

    arrays: Mapping[str, NDArray[Any]]
    positions: Mapping[int, int]  # partition of `freshet.states` → next offset; -1: nothing was read
    marks: Mapping[int, MarksSnapshot]

    @classmethod
    def take(
        cls, knowledge: Knowledge, products: ProductFigures, listed: ListedProducts, positions: Mapping[int, int]
    ) -> KnowledgeSnapshot:
        """Copy what is known, in any thread, provided that nothing is applied once `products` are copied."""
        arrays = knowledge.histories.to_arrays()
        arrays["users"] = _text(knowledge.histories.users)
        arrays["events"], arrays["first_event_ms"] = products.counts
        arrays["view_reward"] = np.array([knowledge.view_reward])
        arrays |= with_prefix(TALLY, knowledge.tally.to_arrays(len(products.ids)))
        records = (LISTED if p in listed.now else REMOVED if p in listed.removed else 0 for p in products.ids)
        arrays["products_said"] = np.fromiter(records, np.uint8, len(products.ids))
        arrays["product_ids"] = _text(products.ids)
        arrays |= with_prefix(CONTENT, products.content)
        return cls(arrays, dict(positions), knowledge.positions.marks())

    def restore(self, origin: SnapshotOrigin) -> RestoredKnowledge:
        """Rebuild what was copied."""
        arrays = self.arrays
        products = _lines(arrays["product_ids"], len(arrays["products_said"]))
        records = arrays["products_said"].tolist()
        tally = Tally.of(
            StreamSettings(
                trending_half_life_days=origin.trending_half_life_days, tally_megabytes=origin.tally_megabytes
            )
        )
        tally.resume(without_prefix(TALLY, arrays))
        return RestoredKnowledge(
            Histories.from_arrays(
                _lines(arrays["users"], len(arrays["counts"])), dict(arrays), frozenset(origin.masked_kinds)
            ),
            tally,
            {p: AppliedMarks(marks) for p, marks in self.marks.items()},
            products,
            ListedProducts(
                before=(p for p, record in zip(products, records, strict=True) if record == LISTED),
                removed=(p for p, record in zip(products, records, strict=True) if record == REMOVED),
            ),
            (arrays["events"], arrays["first_event_ms"]),
            without_prefix(CONTENT, arrays),
            float(arrays["view_reward"][0]),
        )


@dataclass(frozen=True, slots=True)
class ProductFigures:
    """Copies of the figures of products: answers make these arrays grow, so only the event loop may copy them.

    They are small compared with the histories, which only the log changes.
    """

    counts: tuple[NDArray[np.int64], NDArray[np.int64]]  # of the catalogue
    ids: Sequence[str]  # row → product_id; at least as many rows as the others
    content: Mapping[str, NDArray[Any]]  # what it has learned of new products

    @classmethod
    def copy(cls, knowledge: Knowledge) -> ProductFigures:
        """Copy the current figures."""
        counts = knowledge.catalogue.counts()
        ids = list(knowledge.catalogue.ids)  # last: loading a version may add products meanwhile
        return cls(counts, ids, knowledge.catalogue.content.learned(len(ids)))


@dataclass(frozen=True, slots=True)
class RestoredKnowledge:
    """What a snapshot held, rebuilt."""

    histories: Histories
    tally: Tally
    marks: Mapping[int, AppliedMarks]
    products: Sequence[str]  # row → product_id
    listed: ListedProducts
    counts: tuple[NDArray[np.int64], NDArray[np.int64]]  # of the catalogue
    content: Mapping[str, NDArray[Any]]  # what it has learned of new products
    view_reward: float

    def hand_over(self, knowledge: Knowledge) -> None:
        """Restore it into an empty `Knowledge`."""
        for product_id in self.products:
            knowledge.catalogue.row_of(product_id)
        for product_id in self.listed.removed:
            knowledge.catalogue.remove(product_id)
        knowledge.catalogue.resume_counts(*self.counts, self.content)
        knowledge.resume(self.histories, self.tally)
        knowledge.positions.resume(self.marks)
        knowledge.view_reward = self.view_reward


class ListedProducts:
    """Which products the products topic lists and which it has removed, across restarts.

    The topic is read whole at each start. A removal that happened while nobody read may be gone by then (compaction
    drops it after `delete.retention.ms`), so a product that a snapshot lists and the topic does not was removed.

    Args:
        before: ids that a snapshot lists.
        removed: ids that it marks as removed.
    """

    def __init__(self, before: Iterable[str] = (), removed: Iterable[str] = ()) -> None:
        self.now: set[str] = set()
        self.removed = set(removed)
        self._before = set(before)

    def upsert(self, product_id: str) -> None:
        """The topic lists the product."""
        self.now.add(product_id)
        self.removed.discard(product_id)

    def remove(self, product_id: str) -> None:
        """The topic removes the product."""
        self.now.discard(product_id)
        self.removed.add(product_id)

    def vanished(self) -> set[str]:
        """The products removed unseen; called once the topic is read to its end."""
        gone = self._before - self.now - self.removed
        self._before = set()
        self.removed |= gone
        return gone


def _text(lines: Sequence[str]) -> NDArray[np.uint8]:
    """Ids, which hold no line breaks, as an array."""
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


def _lines(text: NDArray[np.uint8], count: int) -> list[str]:
    return text.tobytes().decode().split("\n") if count else []


def _sha256_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
