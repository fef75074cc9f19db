"""Which model version judges: the one that would be served, held back until it can't have learned the next event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from services.evaluator.accuracy import EvaluatorMetrics
from shared.model.scoring import Scorer, load_scorer
from shared.model.serving import PublishedVersions
from shared.pb.freshet.v1.events_pb2 import ModelVersion
from shared.process.errors import BadEvent

log = logging.getLogger("evaluator")


class JudgingVersion:
    """Follows `freshet.models` and chooses as inference does, among the versions whose positions were reached.

    Args:
        row_of, products: as in `shared.model.scoring.Scorer`.
    """

    def __init__(
        self,
        models_dir: Path,
        row_of: Callable[[str], int],
        products: Callable[[], int],
        metrics: EvaluatorMetrics,
    ) -> None:
        self.scorer: Scorer | None = None  # of the version that judges
        self._metrics = metrics
        self._models_dir = models_dir
        self._row_of = row_of
        self._products = products
        self._published = PublishedVersions()

    @property
    def held_back(self) -> int:
        """Wanted versions whose positions were not reached yet."""
        return self._published.held_back

    def apply(self, key: bytes | None, value: bytes | None) -> None:
        """Take up one record of `freshet.models`.

        Raises:
            BadEvent: it can't be understood.
        """
        self._published.apply(key, value)

    def choose(self, positions: Mapping[int, int]) -> None:
        """Let the first wanted version judge that can; where none can, the one that judges goes on.

        Args:
            positions: partition of `freshet.events` → next offset not applied.
        """
        scorer = self._published.choose(
            self._load,
            self._leave_out,
            may_use=lambda version: reached(positions, {p.partition: p.offset for p in version.positions}),
        )
        version = self._published.in_use
        if scorer is not None and version is not None:
            self.scorer = scorer
            self._metrics.swaps.inc()
            self._metrics.model_applied.set(version.applied_events)
            log.info("judging with %s, learned from %d events", version.version_id, version.applied_events)

    def _load(self, version: ModelVersion) -> Scorer:
        folder = self._models_dir / version.version_id
        scorer = load_scorer(folder, version.manifest_sha256, self._row_of, self._products)
        manifest = scorer.manifest
        if manifest.positions != {str(p.partition): p.offset for p in version.positions}:
            raise BadEvent("positions", f"{version.version_id} was announced at other positions than its manifest says")
        return scorer

    def _leave_out(self, version: ModelVersion, error: BadEvent) -> None:
        self._metrics.left_out.labels(error.reason).inc()
        log.error("%s does not judge (%s): %s", version.version_id, error.reason, error)


def reached(positions: Mapping[int, int], learned: Mapping[int, int]) -> bool:
    """Whether everything before the `learned` positions was applied; both are partition → next offset."""
    return all(positions.get(partition, 0) >= offset for partition, offset in learned.items())
