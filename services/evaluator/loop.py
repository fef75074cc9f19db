"""The evaluator at work: reads states in order, judges each before it is applied, and follows versions and products."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from confluent_kafka import Message

from services.evaluator.accuracy import BASELINES, Accuracy, EvaluatorMetrics
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.versions import JudgingVersion
from shared.content.new_products import Content
from shared.evaluation.prequential import Prequential
from shared.log.clients import LogReader
from shared.log.follow import RecordProcessor
from shared.log.merge import Positioned
from shared.log.ordered import OrderedReader
from shared.log.records import parse_product
from shared.log.topics import Topics
from shared.model.mixture import DEFAULT
from shared.model.served import COUNTED
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, StateVector
from shared.policies.registry import make
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings
from shared.state.shop import ShopSettings
from shared.state.stream import Stream

log = logging.getLogger("evaluator")

POLL_SECONDS = 0.2
# Judged in one go; another version begins between two goes.
MOST_AT_ONCE = 100
SHOW_SECONDS = 0.5


class Evaluator:
    """Keeps nothing: each start reads all topics from their beginning, as far back as they are kept.

    On such a backlog each version judges from its positions on, as if it had been published then. Versions removed in
    the meantime can't judge; events that only they would have judged count as served without a version. The products
    are those of this moment, since their topic keeps no others.
    """

    def __init__(
        self,
        settings: EvaluatorSettings,
        shop: ShopSettings,
        kafka: KafkaSettings,
        metrics: EvaluatorMetrics,
        stop: threading.Event,
    ) -> None:
        self._metrics = metrics
        self._stop = stop
        topics = Topics.of(kafka)
        stream = Stream(shop, Content() if shop.place_new_products else None)
        self.prequential = Prequential(stream)
        self.known = stream.known
        self._baselines = [make(name, stream, seed=0) for name in BASELINES]
        self.accuracy = Accuracy(settings.recent_events)
        products = self.known.products
        self._judging = JudgingVersion(shop.models_dir, products.row_of, lambda: len(products), metrics)
        self._products = topics.products
        self._followed = LogReader(kafka, {(topics.models, 0): -1, (topics.products, 0): -1})
        self._reader = OrderedReader(kafka, topics.states, silence_seconds=settings.silence_seconds)
        self._applied: dict[int, int] = {}  # partition → next offset not applied
        self._shown = 0.0  # monotonic seconds
        self._records = RecordProcessor(self._apply_record, count=self._count_unreadable, say=log.warning)

    def run(self) -> None:
        """Judge until told to stop.

        Raises:
            KafkaException: the log can't be followed any longer, because it was replaced say.
        """
        while not self._followed.caught_up and not self._stop.is_set():
            self._records.poll(self._followed, POLL_SECONDS)
        while not self._stop.is_set():
            self._metrics.ready.turn()
            self._go_on()
        self._reader.close()
        self._followed.close()

    def _go_on(self) -> None:
        items = self._reader.poll(POLL_SECONDS, most=MOST_AT_ONCE)
        self._records.poll(self._followed, 0.0)
        # Not by the reader's own positions: they are beyond `items` already.
        self._judging.choose(self._applied)
        for item in items:
            if item.state.kind != EVENT_KIND_TICK:
                self._judge(item.state)
        self._applied = self._reader.source_positions
        self._show(items)

    def _apply_record(self, message: Message) -> None:
        """Take up a product or a version; states come through the ordered reader."""
        if message.topic() != self._products:
            self._judging.apply(message.key(), message.value())
            return
        product_id, product = parse_product(message.key(), message.value())
        if product is None:
            self.known.products.remove(product_id)
        else:
            self.known.products.upsert(product)

    def _count_unreadable(self, message: Message, error: BadEvent) -> None:
        if message.topic() == self._products:
            self._metrics.unreadable.inc()
        else:
            self._metrics.left_out.labels(error.reason).inc()

    def _judge(self, state: StateVector) -> None:
        start = time.perf_counter()
        version = self._judging.scorer
        served = COUNTED if version is None else version  # as inference serves
        experts = DEFAULT if served.mixture is None else served.mixture
        judgement = self.prequential.judge(state, [served, *self._baselines], experts)
        by_version = version is not None and judgement.has_history
        if judgement.is_judged:
            self.accuracy.note(judgement, by_version=by_version)
            self._metrics.judge_seconds.observe(time.perf_counter() - start)
        self._metrics.count(judgement.outcome, by_version=by_version)
        seen = self.prequential.apply(state)
        for baseline in self._baselines:
            baseline.learn(seen)

    def _show(self, items: Sequence[Positioned]) -> None:
        self._metrics.reader.show(self._reader, items)
        now = time.monotonic()
        if items and now - self._shown < SHOW_SECONDS:
            return
        self._shown = now
        self._metrics.show(self.accuracy, self.known.products.seen)
        self._metrics.users.set(len(self.known.histories.users))
        self._metrics.tally.show(self.known.tally.bytes, self.known.tally.refused)
        self._metrics.products.set(self.known.products.seen)
        self._metrics.held_back.set(self._judging.held_back)
        for partition, offset in self._applied.items():
            self._metrics.position.labels(str(partition)).set(max(0, offset))
