"""Snapshots: all that inference learned from `freshet.states`, and where in the log that stands.

A snapshot is a folder that appears whole or not at all: `knowledge.safetensors`, and `manifest.json`, which names the
SHA-256 of the former and its own. What products are is not in it: their topic is read whole at each start.
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
from shared.log.records import DAY_MS, masked_kinds_of
from shared.log.topics import Topics, wait_for_identity
from shared.process.arrays import with_prefix, without_prefix
from shared.process.folders import Digest, pieces, read_folder, what_is_wrong, write_folder
from shared.process.settings import KafkaSettings
from shared.state.histories import EVENT_FEATURES, Histories
from shared.state.known import Trending
from shared.state.shop import ShopSettings

# What the products topic says exists, across restarts: the one thing that compaction can hide from a reader.


class Listed:
    """Which products the topic holds and which it said were removed.

    The topic is read whole at each start. A removal that happened while nobody read may be gone from it by then
    (compaction drops it after `delete.retention.ms`), so what a snapshot lists and the topic holds no more was removed.

    Args:
        before: ids that a snapshot lists.
        removed: ids that it says were removed.
    """

    def __init__(self, before: Iterable[str] = (), removed: Iterable[str] = ()) -> None:
        self.now: set[str] = set()
        self.removed = set(removed)
        self._before = set(before)

    def upsert(self, product_id: str) -> None:
        """The topic holds the product."""
        self.now.add(product_id)
        self.removed.discard(product_id)

    def remove(self, product_id: str) -> None:
        """The topic says that it was removed."""
        self.now.discard(product_id)
        self.removed.add(product_id)

    def vanished(self) -> set[str]:
        """Called once the topic was read to its end: what was removed unseen, given once."""
        gone = self._before - self.now - self.removed
        self._before = set()
        self.removed |= gone
        return gone


SCHEMA_VERSION = 2
KEPT = 2
TENSORS = "knowledge.safetensors"
MANIFEST = "manifest.json"
CONTENT = "content/"  # what names of its arrays begin with
LISTED, REMOVED = 1, 2  # what the products topic said of a product last; 0: nothing

# What reading a snapshot can raise: it is damaged, or another process has replaced it meanwhile.
DAMAGES = (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a snapshot belongs to; it is of use where all of it is the same."""

    states: str  # identities of the topics
    products: str
    partitions: int
    history_length: int
    masked_kinds: tuple[int, ...]
    trending_half_life_days: float
    event_features: tuple[str, ...] = EVENT_FEATURES
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(cls, shop: ShopSettings, partitions: int, *, states: str, products: str) -> Origin:
        """Of what these settings make of these topics."""
        return cls(
            states=states,
            products=products,
            partitions=partitions,
            history_length=shop.history_length,
            masked_kinds=tuple(sorted(masked_kinds_of(shop.masked_kinds))),
            trending_half_life_days=shop.trending_half_life_days,
        )

    def as_json(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found


@dataclass(frozen=True, slots=True)
class ProductFigures:
    """Copies of what is counted by product: answers make these arrays grow, so only the event loop may copy them.

    They are small beside the histories, which nothing but the log changes.
    """

    counts: tuple[NDArray[np.int64], NDArray[np.int64]]  # of the catalogue
    weights: NDArray[np.float64]  # of trending
    base_ms: int  # likewise
    ids: Sequence[str]  # row → product_id; no fewer rows than the others have
    content: Mapping[str, NDArray[Any]]  # what it learned of new products

    @classmethod
    def copy(cls, knowledge: Knowledge) -> ProductFigures:
        """What is known of products now."""
        counts, weights = knowledge.catalogue.counts(), knowledge.trending.to_array()
        ids = list(knowledge.catalogue.ids)  # after those: a version that is being loaded may add products meanwhile
        return cls(counts, weights, knowledge.trending.base_ms, ids, knowledge.catalogue.content.learned(len(ids)))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was known once the records before `positions` had been applied."""

    arrays: Mapping[str, NDArray[Any]]
    positions: Mapping[int, int]  # partition of `freshet.states` → next offset; -1: nothing was read of it
    marks: Mapping[int, MarksSnapshot]
    base_ms: int  # of trending

    @classmethod
    def take(
        cls, knowledge: Knowledge, products: ProductFigures, listed: Listed, positions: Mapping[int, int]
    ) -> Snapshot:
        """Copy what is known; any thread may, while nothing is applied after `products` were copied."""
        arrays = knowledge.histories.to_arrays()
        arrays["users"] = _text(knowledge.histories.users)
        arrays["events"], arrays["first_event_ms"] = products.counts
        arrays["view_reward"] = np.array([knowledge.view_reward])
        arrays["weights"] = products.weights
        said = (LISTED if p in listed.now else REMOVED if p in listed.removed else 0 for p in products.ids)
        arrays["products_said"] = np.fromiter(said, np.uint8, len(products.ids))
        arrays["product_ids"] = _text(products.ids)
        arrays |= with_prefix(CONTENT, products.content)
        return cls(arrays, dict(positions), knowledge.positions.marks(), products.base_ms)

    def restore(self, origin: Origin) -> Restored:
        """Build what was copied."""
        arrays = self.arrays
        products = _lines(arrays["product_ids"], len(arrays["products_said"]))
        said = arrays["products_said"].tolist()
        return Restored(
            Histories.from_arrays(
                _lines(arrays["users"], len(arrays["counts"])), dict(arrays), frozenset(origin.masked_kinds)
            ),
            Trending.from_array(arrays["weights"], self.base_ms, origin.trending_half_life_days * DAY_MS),
            {p: AppliedMarks(own) for p, own in self.marks.items()},
            products,
            Listed(
                before=(p for p, what in zip(products, said, strict=True) if what == LISTED),
                removed=(p for p, what in zip(products, said, strict=True) if what == REMOVED),
            ),
            (arrays["events"], arrays["first_event_ms"]),
            without_prefix(CONTENT, arrays),
            float(arrays["view_reward"][0]),
        )


@dataclass(frozen=True, slots=True)
class Restored:
    """What a snapshot held, ready for use."""

    histories: Histories
    trending: Trending
    marks: Mapping[int, AppliedMarks]
    products: Sequence[str]  # row → product_id
    listed: Listed
    counts: tuple[NDArray[np.int64], NDArray[np.int64]]  # of the catalogue
    content: Mapping[str, NDArray[Any]]  # what it learned of new products
    view_reward: float

    def hand_over(self, knowledge: Knowledge) -> None:
        """Let what knows nothing yet go on from here."""
        for product_id in self.products:
            knowledge.catalogue.row_of(product_id)
        for product_id in self.listed.removed:
            knowledge.catalogue.remove(product_id)
        knowledge.catalogue.resume_counts(*self.counts, self.content)
        knowledge.resume(self.histories, self.trending)
        knowledge.positions.resume(self.marks)
        knowledge.view_reward = self.view_reward


def write(root: Path, snapshot: Snapshot, origin: Origin) -> Path:
    """Write a snapshot beside the others and drop those no longer needed.

    Raises:
        OSError: the disk is full, say; the earlier snapshots are untouched.
    """

    def manifest(digests: Mapping[str, Digest]) -> bytes:
        body = {
            "origin": origin.as_json(),
            "tensors_sha256": digests[TENSORS].sha256,
            "positions": {str(p): offset for p, offset in snapshot.positions.items()},
            "marks": {str(p): marks for p, marks in snapshot.marks.items()},
            "base_ms": snapshot.base_ms,
        }
        return json.dumps({"sha256": _sha256_of(body), "body": body}).encode()

    before = folders(root)
    number = int(before[-1].name.rpartition("-")[2]) + 1 if before else 1
    folder = root / f"snapshot-{number:012d}"
    write_folder(folder, {TENSORS: pieces(snapshot.arrays)}, MANIFEST, manifest)
    for old in folders(root)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def read(folder: Path, origin: Origin) -> Snapshot:
    """Read a snapshot and check it.

    Raises:
        ValueError: it is damaged, or belongs to something else; the message says to what.
        OSError: it can't be read, or is there no longer.
    """
    manifest = json.loads((folder / MANIFEST).read_bytes())
    body = manifest["body"]
    if _sha256_of(body) != manifest["sha256"]:
        raise ValueError(f"{MANIFEST} is not what was written")
    wanted = origin.as_json()
    for name in sorted(body["origin"].keys() | wanted.keys()):
        if body["origin"].get(name) != wanted.get(name):
            raise ValueError(f"{name} was {body['origin'].get(name)}, now it is {wanted.get(name)}")
    content = read_folder(folder, MANIFEST, {TENSORS: Digest(body["tensors_sha256"])})
    return Snapshot(
        load_tensors(content[TENSORS]),
        {int(p): offset for p, offset in body["positions"].items()},
        {int(p): own for p, own in body["marks"].items()},
        body["base_ms"],
    )


def folders(root: Path) -> list[Path]:
    """Every snapshot, oldest first."""
    return sorted(root.glob("snapshot-*")) if root.is_dir() else []


def _text(lines: Sequence[str]) -> NDArray[np.uint8]:
    """Ids, which hold no line breaks, as an array."""
    return np.frombuffer("\n".join(lines).encode(), np.uint8)


def _lines(text: NDArray[np.uint8], count: int) -> list[str]:
    return text.tobytes().decode().split("\n") if count else []


def _sha256_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


# When a snapshot is taken and by whom, and which one a start goes on from.

log = logging.getLogger("inference")

LOCK = ".lock"
# A snapshot is begun no sooner than this many times what the last one took: copying holds up what is applied.
REST = 20.0
# At a stop no last one is taken where the one before took longer: a container has ten seconds in all.
LAST_SECONDS = 2.0


def keeper_of(
    settings: InferenceSettings,
    shop: ShopSettings,
    kafka: KafkaSettings,
    metrics: InferenceMetrics,
    stop: threading.Event,
) -> Keeper | None:
    """The keeper of this log's snapshots, None where none are wanted; waits for a broker, or until `stop` (None)."""
    if settings.state_dir is None:
        return None
    topics = Topics.of(kafka)
    states = wait_for_identity(kafka, topics.states, stop)
    products = wait_for_identity(kafka, topics.products, stop)
    if states is None or products is None:
        return None
    origin = Origin.of(shop, kafka.partitions, states=states, products=products)
    return Keeper(settings.state_dir, origin, settings.snapshot_events, metrics)


class Keeper:
    """Writes snapshots in a thread of its own, one at a time; of several processes on one folder only one does.

    Args:
        root: the folder of the snapshots.
        origin: what they belong to.
        every: states applied between two of them.
        clock: seconds.
    """

    def __init__(
        self,
        root: Path,
        origin: Origin,
        every: int,
        metrics: InferenceMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.origin = origin
        self._metrics = metrics
        self._root = root
        self._every = every
        self._clock = clock
        self._kept = 0  # states applied when the newest snapshot was taken
        self._tried = 0  # likewise, of the last attempt
        self._not_before = 0.0  # clock seconds
        self._took = 0.0  # seconds
        self._lock: int | None = None
        self._writing: threading.Thread | None = None

    def newest(self) -> Snapshot | None:
        """The newest snapshot that is whole and of this log and these settings; one line says why others are not."""
        aside: list[str] = []
        found: Snapshot | None = None
        for folder in reversed(folders(self._root)):
            try:
                found = read(folder, self.origin)
            except DAMAGES as error:
                aside.append(f"{folder.name}: {error}")
            else:
                break
        if aside:
            instead = "going on from the one before" if found else "reading the whole log"
            log.warning("left aside in %s: %s; %s", self._root, "; ".join(aside), instead)
        return found

    def leave_aside(self, reason: str) -> None:
        """Say that the newest snapshot is of no use after all."""
        log.warning("left aside in %s: the newest snapshot: %s; reading the whole log", self._root, reason)

    def take_if_due(self, applied: int, take: Callable[[], Snapshot]) -> None:
        """Take a snapshot and begin to write it, where enough was applied since the last one.

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

    def take_last(self, applied: int, take: Callable[[], Snapshot]) -> None:
        """At a stop: the newest that was applied, so that the next start has nothing to read."""
        if self._writing is not None:
            self._writing.join()
        if applied > self._kept and self._took <= LAST_SECONDS and self._owns():
            self._write(take(), applied, self._clock())

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _is_writing(self) -> bool:
        return self._writing is not None and self._writing.is_alive()

    def _write(self, snapshot: Snapshot, applied: int, start: float) -> None:
        try:
            folder = write(self._root, snapshot, self.origin)
        except OSError as error:
            self._metrics.snapshot_failures.inc()
            log.error(  # noqa: TRY400  # the disk's answer says all
                "no snapshot in %s: %s. The one before stays; trying again after %d more states",
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
        """Whether this process is the one that writes: it holds the folder's lock, which ends with it."""
        if self._lock is None:
            try:
                handle = os.open(self._root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                log.error("no snapshot in %s: %s", self._root, what_is_wrong(error))  # noqa: TRY400
                return False
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                return False
            self._lock = handle
        return True
