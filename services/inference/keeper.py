"""When a snapshot is taken and by whom, and which one a start goes on from."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from services.inference import metrics
from services.inference.settings import InferenceSettings
from services.inference.snapshot import DAMAGES, Origin, Snapshot, folders, read, write
from shared.folders import what_is_wrong
from shared.settings import KafkaSettings
from shared.state.shop import ShopSettings
from shared.topics import Topics, wait_for_identity

log = logging.getLogger("inference")

LOCK = ".lock"
# A snapshot is begun no sooner than this many times what the last one took: copying holds up what is applied.
REST = 20.0
# At a stop no last one is taken where the one before took longer: a container has ten seconds in all.
LAST_SECONDS = 2.0


def keeper_of(
    settings: InferenceSettings, shop: ShopSettings, kafka: KafkaSettings, stop: threading.Event
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
    return Keeper(settings.state_dir, origin, settings.snapshot_events)


class Keeper:
    """Writes snapshots in a thread of its own, one at a time; of several processes on one folder only one does.

    Args:
        root: the folder of the snapshots.
        origin: what they belong to.
        every: states applied between two of them.
        clock: seconds.
    """

    def __init__(self, root: Path, origin: Origin, every: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.origin = origin
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
            metrics.SNAPSHOT_FAILURES.inc()
            log.error(  # noqa: TRY400  # the disk's answer says all
                "no snapshot in %s: %s. The one before stays; trying again after %d more states",
                self._root,
                what_is_wrong(error),
                self._every,
            )
        else:
            self._kept = applied
            metrics.SNAPSHOTS.inc()
            log.debug("wrote %s", folder)
        self._took = self._clock() - start
        self._not_before = self._clock() + REST * self._took
        metrics.SNAPSHOT_SECONDS.observe(self._took)

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
