"""The trainer at work: reads states in order, learns, makes checkpoints and publishes versions from them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException

from services.trainer import checkpoint, publish
from services.trainer.checkpoint import Checkpoint, CheckpointWriter
from services.trainer.learner import Learner
from services.trainer.metrics import TrainerMetrics
from services.trainer.publish import Retention
from services.trainer.settings import TrainerSettings
from shared.log.clients import CountedProducer, producer_config
from shared.log.merge import Positioned
from shared.log.ordered import OrderedReader
from shared.log.topics import Topics
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, StateVector
from shared.process import folders
from shared.process.errors import Unusable
from shared.process.settings import KafkaSettings
from shared.state.shop import ShopSettings

log = logging.getLogger("trainer")

POLL_SECONDS = 0.2
# At a stop, what announcements get to be acknowledged: the checkpoint is written, and a container has ten in all.
FLUSH_SECONDS = 4.0
# Learned from in one go, however far off the next checkpoint is: a stop and the gauges wait for no more than this.
MOST_AT_ONCE = 200
# Of a version's figures, those logged when it is published.
LOGGED_METRICS = ("validation_ndcg_at_10", "validation_ndcg_at_10_popularity")


class Trainer:
    """One learner, its place in the log, and the folders it writes.

    Args:
        identity: of the log, as `wait_for_identity` gives it.

    Raises:
        Unusable: the newest checkpoint belongs to another log or to other settings.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        shop: ShopSettings,
        kafka: KafkaSettings,
        identity: str,
        metrics: TrainerMetrics,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._shop = shop
        self._metrics = metrics
        self._stop = stop
        topics = Topics.of(kafka)
        self._models_topic = topics.models
        self._identity = identity
        resumed = checkpoint.newest(settings, shop)
        if resumed is not None:
            _refuse_other_log(resumed, identity, settings)
        self.learner = Learner.restore(settings, shop, resumed.learner) if resumed else Learner(settings, shop)
        self._reader = OrderedReader(
            kafka,
            topics.states,
            snapshot=resumed.reader if resumed else None,
            silence_seconds=settings.silence_seconds,
        )
        self._checkpoints = CheckpointWriter(settings, shop, metrics)
        self._producer = CountedProducer(producer_config(kafka))
        self._retention = Retention(shop.models_dir, kafka, self._producer, metrics)
        self._durable = self.learner.applied if resumed else 0  # applied events of the newest checkpoint
        if resumed is not None:
            log.info("resumed after %d events", self.learner.applied)

    def run(self) -> None:
        """Learn until told to stop, then make a last checkpoint.

        Raises:
            Unusable: the place in the log that the checkpoint names is gone.
        """
        self._publish_if_due()  # the process may have ended between a checkpoint and its version
        try:
            while not self._stop.is_set():
                self._metrics.ready.turn()
                self._learn()
        except KafkaException as error:
            if error.args[0].code() != KafkaError._AUTO_OFFSET_RESET:
                raise
            raise Unusable(_two_ways_out("stands at positions outside this log", self._settings)) from error
        self._make_durable()
        self._producer.flush(FLUSH_SECONDS)
        self._reader.close()
        self._retention.close()

    def _learn(self) -> None:
        every = self._settings.checkpoint_events
        due = every - self.learner.applied % every
        most = min(due, MOST_AT_ONCE)
        items = self._reader.poll(POLL_SECONDS, most=most)
        learned, skipped = False, self.learner.skipped
        if self._settings.pace == "adaptive":
            self._hurry(full=len(items) == most, large=most == min(every, MOST_AT_ONCE))
        for item in items:
            if item.state.kind != EVENT_KIND_TICK:
                self._apply(item.state)
                learned = True
        self._metrics.steps_skipped.inc(self.learner.skipped - skipped)
        self._producer.poll()
        self._show(items)
        if learned and self.learner.applied % every == 0:
            self._make_durable()
            self._publish_if_due()
        self._retention.turn()

    def _hurry(self, *, full: bool, large: bool) -> None:
        """Learn in a hurry from when a large poll came back full, which is when more waits, until one does not."""
        if large or not full:
            self.learner.hurry(behind=full)

    def _apply(self, state: StateVector) -> None:
        start = time.perf_counter()
        late = self.learner.stream.histories.late
        report = self.learner.apply(state)
        self._metrics.applied.inc()
        self._metrics.late.inc(self.learner.stream.histories.late - late)
        if report is None:
            return
        self._metrics.step_seconds.observe(time.perf_counter() - start)
        self._metrics.steps.inc()
        self._metrics.loss.set(report.loss)
        self._metrics.ce_loss.set(report.ce_loss)
        self._metrics.td_loss.set(report.td_loss)
        self._metrics.mean_max_q.set(report.mean_max_q)

    def _make_durable(self) -> None:
        """Write a checkpoint; where that fails, learning goes on and the next boundary tries again."""
        if self.learner.applied == self._durable:
            return
        made = Checkpoint(self.learner.snapshot(), self._reader.snapshot(), self._identity)
        try:
            with self._metrics.checkpoint_seconds.time():
                self._checkpoints.write(made)
        except OSError as error:
            self._metrics.checkpoint_failures.inc()
            log.error(  # noqa: TRY400  # the disk's answer says all
                "no checkpoint in %s: %s. Nothing is published until one succeeds; trying again after %d more events",
                self._settings.state_dir,
                folders.what_is_wrong(error),
                self._settings.checkpoint_events,
            )
            return
        self._durable = self.learner.applied
        self._metrics.checkpoints.inc()

    def _publish_if_due(self) -> None:
        """Publish what the newest checkpoint holds; reads the learner and changes nothing in what it learns."""
        applied = self.learner.applied
        if not applied or applied != self._durable or applied % self._settings.publish_events:
            return
        try:
            with self._metrics.publish_seconds.time():
                manifest, sha256 = publish.write(self.learner, self._reader.snapshot(), self._settings, self._shop)
        except OSError as error:
            self._metrics.publish_failures.inc()
            log.error(  # noqa: TRY400
                "no version in %s: %s. The last one stays in use",
                self._shop.models_dir,
                folders.what_is_wrong(error),
            )
            return
        announced = publish.announce(manifest, sha256, self._producer, self._models_topic)
        self.learner.parent = manifest.version_id
        self._metrics.versions.inc()
        self._metrics.version_time.set_to_current_time()
        log.info(
            "published %s: %s, %d events, %d steps%s, weights %s",
            manifest.version_id,
            manifest.policy,
            manifest.applied_events,
            manifest.steps,
            "".join(f", {name} {value:.4f}" for name, value in manifest.metrics.items() if name in LOGGED_METRICS),
            manifest.heads,
        )
        self._retention.make_due(announced)

    def _show(self, items: Sequence[Positioned]) -> None:
        learner = self.learner
        self._metrics.unpublished.set(learner.applied - publish.applied_of(learner.parent))
        self._metrics.publish_events.set(self._settings.publish_events)
        self._metrics.products.set(len(learner.stream.products))
        self._metrics.users.set(len(learner.stream.histories.users))
        self._metrics.tally.show(learner.stream.tally.bytes, learner.stream.tally.refused)
        gauges = learner.policy.gauges()
        self._metrics.epsilon.set(gauges.epsilon)
        self._metrics.buffer_size.set(gauges.buffer_size)
        for name, weight in gauges.mixture.items():
            self._metrics.mixture.labels(name).set(weight)
        for name, share in gauges.shares.items():
            self._metrics.score.labels(name).set(share)
        for name, share in gauges.weighted.items():
            self._metrics.scored_events.labels(name).set(share)
        self._metrics.reader.show(self._reader, items)


def _refuse_other_log(resumed: Checkpoint, identity: str, settings: TrainerSettings) -> None:
    if resumed.log_identity != identity:
        raise Unusable(_two_ways_out(f"belongs to the log {resumed.log_identity}, this one is {identity}", settings))


def _two_ways_out(problem: str, settings: TrainerSettings) -> str:
    folder = settings.state_dir
    return (
        f"the checkpoint in {folder} {problem}. Either point FRESHET_KAFKA_BOOTSTRAP_SERVERS and "
        "FRESHET_KAFKA_TOPIC_PREFIX at the log it belongs to:\n"
        "  FRESHET_KAFKA_BOOTSTRAP_SERVERS=<host:port> python -m services.trainer\n"
        "or put it aside and learn from the beginning of this log:\n"
        f"  mv {folder} {folder}.old && python -m services.trainer"
    )
