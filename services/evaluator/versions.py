"""Which model version judges: the one that would be served, held back until it can't have learned what it is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from services.evaluator import metrics
from shared.errors import BadEvent
from shared.first_few import FirstFew
from shared.pb.freshet.v1.events_pb2 import ModelVersion
from shared.published import Published, identity_of
from shared.scoring import Scorer, load_scorer

log = logging.getLogger("evaluator")


class Versions:
    """Follows `freshet.models` and chooses as inference does, among the versions whose positions were reached.

    Args:
        row_of, products: as in `shared.scoring.Scorer`.
    """

    def __init__(self, models_dir: Path, row_of: Callable[[str], int], products: Callable[[], int]) -> None:
        self.judging: Scorer | None = None
        self.held_back = 0  # wanted versions whose positions were not reached yet
        self._models_dir = models_dir
        self._row_of = row_of
        self._products = products
        self._published = Published()
        self._lines = FirstFew(log.warning)
        self._announced: ModelVersion | None = None  # of the one that judges
        self._left_out: set[tuple[str, str]] = set()  # version_id, hash of the manifest
        self._missed: set[tuple[str, str]] = set()

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take up one record of `freshet.models`; one that can't be understood is counted and left out."""
        try:
            self._published.apply(key, value)
        except BadEvent as error:
            metrics.LEFT_OUT.labels(error.reason).inc()
            self._lines.add(error.reason, f"a record of the models topic left out: {error}")

    def choose(self, positions: Mapping[int, int]) -> None:
        """Let the first wanted version judge that can; where none can, the one that judges goes on.

        Args:
            positions: partition of `freshet.events` → next offset not applied.
        """
        self._lines.due()
        self.held_back = 0
        for version in self._published.wanted():
            if self._is_settled_by(version):
                return
            if identity_of(version) in self._left_out:
                continue
            if not reached(positions, {p.partition: p.offset for p in version.positions}):
                self.held_back += 1
                continue
            try:
                self._judge_by(version)
            except BadEvent as error:
                self._leave_out(version, error)
            else:
                return

    def _is_settled_by(self, version: ModelVersion) -> bool:
        """Whether to look no further: it judges, or it is older than the one that does and nothing pins it."""
        if self._announced is None:
            return False
        if identity_of(version) == identity_of(self._announced):
            return True
        return not self._published.pinned and version.created_ms < self._announced.created_ms

    def _judge_by(self, version: ModelVersion) -> None:
        folder = self._models_dir / version.version_id
        scorer = load_scorer(folder, version.manifest_sha256, self._row_of, self._products)
        manifest = scorer.manifest
        if manifest.positions != {str(p.partition): p.offset for p in version.positions}:
            raise BadEvent("positions", f"{version.version_id} was announced at other positions than its manifest says")
        self.judging, self._announced = scorer, version
        metrics.SWAPS.inc()
        metrics.MODEL_APPLIED.set(version.applied_events)
        log.info("judging with %s, learned from %d events", version.version_id, version.applied_events)

    def _leave_out(self, version: ModelVersion, error: BadEvent) -> None:
        identity = identity_of(version)
        if error.reason == "missing":  # it may still appear, on a shared file system say
            if identity in self._missed:
                return
            self._missed.add(identity)
        else:
            self._left_out.add(identity)
        metrics.LEFT_OUT.labels(error.reason).inc()
        log.error("%s does not judge (%s): %s", version.version_id, error.reason, error)


def reached(positions: Mapping[int, int], learned: Mapping[int, int]) -> bool:
    """Whether everything before the `learned` positions was applied; both are partition → next offset."""
    return all(positions.get(partition, 0) >= offset for partition, offset in learned.items())
