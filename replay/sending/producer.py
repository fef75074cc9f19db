"""Sends messages to the log and waits for every acknowledgement; the first refusal ends the replay.

`Sender` sends a dataset: its products, then its events with ticks, at its pace. `send_products` sends products alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator

from replay.metrics import ReplayMetrics
from replay.sending.progress import ReplayPosition, ReplayProgress, ReplayTask, SentEvent
from replay.sending.script import Cue, Pacer
from replay.settings import ReplaySettings
from shared.log.clients import CountedProducer
from shared.log.records import AHEAD_MS, FUTURE_TIME
from shared.log.topics import Topics
from shared.pb.freshet.v1.events_pb2 import Product
from shared.process.errors import Unavailable
from shared.process.settings import KafkaSettings
from shared.process.terminal import Stopped, Watch

log = logging.getLogger("replay")
NAP_SECONDS = 0.1
_MEASURE_SECONDS = 0.2
_UNTENDED = 32  # messages sent between two calls of `_tend` without a pace: about a millisecond's worth


class Sender:
    """Sends a task from a position on, and saves the position beside the ordered copy, also when it is stopped."""

    def __init__(
        self,
        task: ReplayTask,
        position: ReplayPosition,
        producer: CountedProducer,
        settings: ReplaySettings,
        kafka: KafkaSettings,
        watch: Watch,
        metrics: ReplayMetrics,
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._metrics = metrics
        self._wall_ms = wall_ms
        self._task = task
        self._position = position
        self._settings = settings
        self._watch = watch
        self._clock = clock
        self._topics = Topics.of(kafka)
        self._partitions = kafka.partitions
        self._producer = producer
        self._pacer = Pacer(clock, producer.poll)
        self.progress = ReplayProgress(task, position, metrics, clock)
        self._due: float | None = None  # of the message that is being sent
        # Before the first event only a resumed replay needs it, and only for ticks after all events that are accepted.
        self._newest_ms = task.copy.newest_ms(task.selection, wall_ms() + AHEAD_MS - position.moved_ms)
        self._newest_ms += position.moved_ms if self._newest_ms else 0
        self._refused = 0  # events sent though they lay too far ahead of the clock
        self._saved = self._measured = clock()

    def run(self) -> None:
        """Send everything and wait until the broker has it.

        Raises:
            Stopped: by the watch; messages in flight got `drain_seconds` to be acknowledged.
            Unavailable: the broker refused a message for good.
        """
        try:
            self._send_products()
            self.progress.start()
            for number, (loop, cue) in enumerate(self._cues()):
                self._pacer.wait(cue.due, self._tend)
                self._send(loop, cue)
                if cue.due is not None or number % _UNTENDED == 0:
                    self._tend()
            settle(self._producer, self._tend)
        except Stopped:
            self._drain()
            raise
        finally:
            self._save()
            self._measure()
        if self.progress.before == self.progress.total:
            log.info("everything was sent before: nothing is left to send")
            return
        log.info(
            "done: %s events sent and acknowledged in %.1f s (%s messages with ticks and products); none failed",
            f"{self.progress.acknowledged_now:,}",
            self.progress.seconds,
            f"{self._producer.acknowledged:,}",
        )
        if self._refused:
            log.warning(
                "%s of them lay more than a day ahead of the clock and go to the dead letters (%s)",
                f"{self._refused:,}",
                FUTURE_TIME,
            )

    def _send_products(self) -> None:
        if self._position.products_sent:
            return
        send_products(self._task.copy.products(), self._producer, self._topics.products, self._tend)
        if self._producer.acknowledged:
            log.info("%s products sent", f"{self._producer.acknowledged:,}")
        self._position = self._position.model_copy(update={"products_sent": True})
        self._save()

    def _cues(self) -> Iterator[tuple[int, Cue]]:
        """The messages of all loops from the position on, each with its loop."""
        task, after = self._task, self._position.sequence
        place = task.copy.count_up_to(task.selection, after)
        for loop in range(self._position.loop, task.loops):
            self._metrics.loop.set(loop)
            events = task.copy.events(task.selection, task.script.extent, after)
            for cue in task.script.loop(loop, events, place):
                yield loop, cue
            after = place = 0

    def _send(self, loop: int, cue: Cue) -> None:
        """Queue a message; while the queue is full, wait.

        Features refuses what lies more than a day ahead of its record, ticks too. So a tick that looks ahead to such an
        event says how far the events before it have come: the last of them would wait for ever otherwise.
        """
        send, topic, wait = self._producer.send, self._topics.events, self._wait_for_room
        self._due = cue.due
        if cue.key is None:
            if cue.event_time_ms > self._wall_ms() + AHEAD_MS:
                if not self._newest_ms:
                    return
                cue = cue.tick_at(self._newest_ms + 1)
            for partition in range(self._partitions):
                send(topic, key=None, value=cue.value, partition=partition, on_wait=wait)
            return
        acknowledged = self.progress.sent(SentEvent(loop, cue)).acknowledge
        send(topic, key=cue.key, value=cue.value, on_acknowledged=acknowledged, on_wait=wait)
        if cue.event_time_ms < self._wall_ms() + AHEAD_MS:  # its record is no older than this
            self._newest_ms = cue.event_time_ms
        else:
            self._refused += 1

    def _wait_for_room(self) -> None:
        self._pacer.look(self._due)
        self._tend()

    def _tend(self) -> None:
        """Called all the time: notices failures, saves the position, shows progress, and stops when asked to."""
        require_none_refused(
            self._producer,
            "the position covers what it accepted before: once the cause is gone, go on with --resume",
        )
        now = self._clock()
        if now - self._saved >= self._settings.save_seconds:
            self._save()
        if now - self._measured >= _MEASURE_SECONDS:
            self._measure()
        self._watch.look(lambda: self.progress.line(self._pacer.behind_seconds))

    def _drain(self) -> None:
        """Give messages in flight some time to be acknowledged."""
        deadline = self._clock() + self._settings.drain_seconds
        while self._producer.in_flight and not self._producer.failed and self._clock() < deadline:
            self._producer.poll(NAP_SECONDS)

    def _save(self) -> None:
        self._saved = self._clock()
        if (newest := self.progress.newest) is not None:
            self._position = self._position.model_copy(update={"loop": newest.loop, "sequence": newest.cue.sequence})
        try:
            self._position.save(self._task.copy.folder)
        except OSError as error:
            log.warning(
                "the position can't be saved in %s (%s): the earlier one stays, so a resumed replay would send some "
                "events again; each still counts once",
                self._task.copy.folder,
                error.strerror,
            )

    def _measure(self) -> None:
        self._measured = self._clock()
        self.progress.measure(self._pacer.behind_seconds, self._producer.in_flight)


def send_products(products: Iterable[Product], producer: CountedProducer, topic: str, tend: Callable[[], None]) -> None:
    """Send products and wait until the broker has all of them, calling `tend` meanwhile."""
    for product in products:
        producer.send(topic, key=product.product_id.encode(), value=product.SerializeToString(), on_wait=tend)
        tend()
    settle(producer, tend)


def settle(producer: CountedProducer, tend: Callable[[], None]) -> None:
    """Wait until the broker has everything, however long it is away."""
    while producer.in_flight:
        producer.poll(NAP_SECONDS)
        tend()
    tend()


def require_none_refused(producer: CountedProducer, way_out: str) -> None:
    """Check that the broker refused nothing.

    Args:
        way_out: what to do once the cause is gone.

    Raises:
        Unavailable: it refused a message for good.
    """
    if producer.failed:
        raise Unavailable(f"the broker refused {producer.failed:,} messages ({producer.last_error}); {way_out}")
