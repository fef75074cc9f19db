"""Follows `freshet.models`, loads the version to serve outside the event loop, and swaps it in by one assignment."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.inference.knowledge.catalogue import Catalogue
from services.inference.metrics import InferenceMetrics
from shared.log.clients import LogReader
from shared.log.follow import RecordProcessor
from shared.log.topics import Topics
from shared.model.scoring import Scorer, load_scorer
from shared.model.serving import PublishedVersions, identity_of
from shared.pb.freshet.v1.events_pb2 import ModelVersion
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings

log = logging.getLogger("inference")

POLL_SECONDS = 0.1
NO_VERSION = "answers from counts"  # what is kept where a version is refused before any was served
# A missing folder may still appear, on a shared file system for example.
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ServingVersion:
    """A loaded version and its announcement."""

    scorer: Scorer
    announced: ModelVersion


@dataclass(frozen=True, slots=True)
class VersionList:
    """The versions that ListModels returns."""

    versions: tuple[ModelVersion, ...] = ()  # newest first
    pinned: str = ""


class ModelWatcher(threading.Thread):
    """Keeps `serving` and `listing` up to date; each is replaced whole, so whoever reads it once sees one version."""

    def __init__(
        self,
        models_dir: Path,
        catalogue: Catalogue,
        kafka: KafkaSettings,
        loop: asyncio.AbstractEventLoop,
        metrics: InferenceMetrics,
        *,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(name="model-watcher", daemon=True)
        self.serving: ServingVersion | None = None
        self.listing = VersionList()
        self._models_dir = models_dir
        self._catalogue = catalogue
        self._kafka = kafka
        self._loop = loop
        self._metrics = metrics
        self._on_failure = on_failure
        self._published = PublishedVersions()
        self._last: ServingVersion | None = None  # the version before, so that going back needs no loading
        self._unknown_pins: set[str] = set()  # already logged
        self._stopping = threading.Event()
        self._records = RecordProcessor(
            lambda message: self._published.apply(message.key(), message.value()),
            count=lambda _, error: self._metrics.rejected.labels(error.reason).inc(),
            say=log.error,
        )

    async def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self.is_alive():
            await asyncio.to_thread(self.join)

    def run(self) -> None:
        """Watch until stopped."""
        try:
            self._watch()
        except Exception as error:  # noqa: BLE001  # the boundary of a thread: its failure ends the process
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._on_failure, error)

    def _watch(self) -> None:
        reader = LogReader(self._kafka, {(Topics.of(self._kafka).models, 0): -1})
        settled = 0.0  # monotonic seconds of the last choice
        try:
            while not self._stopping.is_set():
                came = self._records.poll(reader, POLL_SECONDS)
                # Before the end is reached for the first time, a version may be long superseded.
                if reader.caught_up and (came or not settled or time.monotonic() - settled > RETRY_SECONDS):
                    self.listing = VersionList(self._published.newest_first(), self._published.pinned)
                    self._choose()
                    settled = time.monotonic()
                if self.serving is not None:
                    self._metrics.model_age.set(max(0.0, time.time() - self.serving.announced.created_ms / 1000))
        finally:
            reader.close()

    def _choose(self) -> None:
        """Serve the first usable version of those wanted; keep the current one where none is usable."""
        pinned = self._published.pinned
        if not self._published.wanted() and pinned and pinned not in self._unknown_pins:
            self._unknown_pins.add(pinned)
            log.error(
                "live/serving names %s, which is not a version; keeping %s",
                pinned,
                self.serving.announced.version_id if self.serving else NO_VERSION,
            )
        chosen = self._published.choose(
            self._loaded,
            self._reject,
            may_use=lambda _: not self._stopping.is_set(),
        )
        if chosen is not None:
            self._swap(chosen)

    def _loaded(self, version: ModelVersion) -> ServingVersion:
        if self._last is not None and identity_of(self._last.announced) == identity_of(version):
            return self._last
        folder = self._models_dir / version.version_id
        scorer = load_scorer(folder, version.manifest_sha256, self._catalogue.row_of, lambda: len(self._catalogue))
        return ServingVersion(scorer, version)

    def _swap(self, chosen: ServingVersion) -> None:
        self._last, self.serving = self.serving, chosen
        self._metrics.swaps.inc()
        self._metrics.model_applied.set(chosen.announced.applied_events)
        log.info("serving %s, learned from %d events", chosen.announced.version_id, chosen.announced.applied_events)

    def _reject(self, version: ModelVersion, error: BadEvent) -> None:
        self._metrics.rejected.labels(error.reason).inc()
        stays = self.serving.announced.version_id if self.serving else NO_VERSION
        log.error("can't serve %s (%s): %s; keeping %s", version.version_id, error.reason, error, stays)
