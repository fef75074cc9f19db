"""confluent-kafka, thinly wrapped: one configuration, a producer that counts deliveries, a reader without a group."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from shared.process.errors import Unavailable
from shared.process.settings import KafkaSettings

log = logging.getLogger("kafka")

# Faust's and Java's partitioner, see `partition_of`; librdkafka's default places the same key elsewhere.
PARTITIONER = "murmur2_random"
_SEED = 0x9747B28C
_M = 0x5BD1E995
_WORD = 0xFFFFFFFF

METADATA_SECONDS = 1.0  # that a new reader waits for a broker at most

_ADVICE = {
    KafkaError._AUTHENTICATION: "check FRESHET_KAFKA_SASL_USERNAME, the password in FRESHET_KAFKA_SASL_PASSWORD_FILE "
    "and FRESHET_KAFKA_SASL_MECHANISM",
    KafkaError._SSL: "check FRESHET_KAFKA_SSL_CA_FILE, and that the broker's certificate names its address",
}


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """What every librdkafka client needs to reach the cluster."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "broker.address.family": "v4",
        "reconnect.backoff.ms": 200,
        "reconnect.backoff.max.ms": 2000,
        "log_level": 2,  # a line per attempt to connect is too many; `_ErrorLog` says that no broker answers
        "error_cb": _ErrorLog(),
    }
    if settings.uses_sasl:
        config["sasl.mechanism"] = settings.sasl_mechanism
        config["sasl.username"] = settings.sasl_username
        config["sasl.password"] = settings.read_password()
    if settings.ssl_ca_file is not None:
        config["ssl.ca.location"] = str(settings.ssl_ca_file)
    return config


def producer_config(settings: KafkaSettings, *, linger_ms: int = 5, queue_messages: int = 20_000) -> dict[str, Any]:
    """An idempotent producer that places keys where Faust and Java place them and holds a bounded queue."""
    return client_config(settings) | {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": PARTITIONER,
        "linger.ms": linger_ms,
        "compression.type": "none",
        "queue.buffering.max.messages": queue_messages,
        "message.max.bytes": 12_000_000,
        # The delivery report decides, not a clock: a message given up by time may have been stored all the same.
        "delivery.timeout.ms": 2_147_483_647,
    }


def consumer_config(settings: KafkaSettings, **more: Any) -> dict[str, Any]:
    """A reader that keeps its own positions: no group membership, no commits, no auto-created topics."""
    return (
        client_config(settings)
        | {
            "group.id": f"{settings.topic_prefix}-reader",  # librdkafka wants one; nothing is committed under it
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 50,
            "fetch.error.backoff.ms": 50,
            "allow.auto.create.topics": False,
        }
        | more
    )


def refusal(error: KafkaError) -> str:
    """How the login, or the broker's certificate, was refused and what to check; empty for any other error."""
    advice = _ADVICE.get(error.code())
    return f"{error.str()}; {advice}" if advice else ""


class CountedProducer:
    """A producer that accounts for every message: sent, acknowledged or failed.

    Back-pressure: `send` blocks, serving delivery reports, while the queue is full.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._producer = Producer(dict(config))
        self.sent = 0
        self.acknowledged = 0
        self.failed = 0
        self.last_error = ""

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        partition: int = -1,
        on_acknowledged: Callable[[Message], None] | None = None,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        """Queue one message; while the queue is full, wait and call `on_wait` every 0.1 s.

        `on_acknowledged` runs inside `poll`, `send` or `flush`.
        """

        report: Callable[[KafkaError | None, Message], None] = self._report
        if on_acknowledged is not None:
            report = functools.partial(self._report, then=on_acknowledged)
        produce = self._producer.produce
        while True:
            try:
                if headers:
                    produce(topic, value, key, partition, report, headers=list(headers))
                else:
                    produce(topic, value, key, partition, report)
                break
            except BufferError:
                self._producer.poll(0.1)
                if on_wait is not None:
                    on_wait()
            except KafkaException as error:
                # A partition that the topic lacks is refused at once when that is known, else by a delivery report.
                refusal = error.args[0]
                if refusal.code() != KafkaError._UNKNOWN_PARTITION:
                    raise
                self.failed += 1
                self.last_error = refusal.str()
                break
        self.sent += 1
        self._producer.poll(0)

    @property
    def in_flight(self) -> int:
        """Messages neither acknowledged nor failed yet."""
        return self.sent - self.acknowledged - self.failed

    def _report(
        self, error: KafkaError | None, message: Message, then: Callable[[Message], None] | None = None
    ) -> None:
        if error is not None:
            self.failed += 1
            self.last_error = error.str()
            return
        self.acknowledged += 1
        if then is not None:
            then(message)

    def poll(self, seconds: float = 0.0) -> None:
        """Serve delivery reports for at most `seconds`."""
        self._producer.poll(seconds)

    def flush(self, seconds: float) -> None:
        """Wait until every message is accounted for.

        Raises:
            Unavailable: some are not after `seconds`, or the broker refused some.
        """
        left = self._producer.flush(seconds)
        if left or self.failed:
            raise Unavailable(
                f"{left} messages not acknowledged after {seconds:g} s, {self.failed} refused {self.last_error}".strip()
            )


class LogReader:
    """Reads all partitions of some topics from given positions, without a group, and knows when it caught up."""

    def __init__(self, settings: KafkaSettings, positions: Mapping[tuple[str, int], int], **config: Any) -> None:
        """Assign what `positions` names: (topic, partition) → next offset, or -1 for the log's beginning."""
        self._consumer = Consumer(consumer_config(settings, **config))
        self._ends: set[tuple[str, int]] = set()
        self._at_end: set[tuple[str, int]] = set()
        self._assigned = set(positions)
        self._know_leaders()
        self._consumer.assign(
            [TopicPartition(t, p, OFFSET_BEGINNING if offset < 0 else offset) for (t, p), offset in positions.items()]
        )

    def _know_leaders(self) -> None:
        """Ask who leads the partitions at once: librdkafka alone waits half a second before it asks."""
        for topic in {topic for topic, _ in self._assigned}:
            try:
                self._consumer.list_topics(topic, timeout=METADATA_SECONDS)
            except KafkaException:  # no broker answers: what is assigned is read once one does
                return

    @property
    def caught_up(self) -> bool:
        """Whether every assigned partition has been read to its end at least once."""
        return self._ends >= self._assigned

    @property
    def at_end(self) -> set[tuple[str, int]]:
        """The partitions whose end was reached and after which nothing has come since."""
        return self._at_end

    def poll(self, seconds: float, most: int = 1000) -> list[Message]:
        """The next messages: waits up to `seconds` for the first, takes what else is already here.

        Raises:
            KafkaException: a position lies outside the log, or the client can't go on.
        """
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        return self._without_ends([first, *self._consumer.consume(most - 1, 0)] if most > 1 else [first])

    def _without_ends(self, messages: Iterable[Message]) -> list[Message]:
        kept = []
        for message in messages:
            place = (str(message.topic()), int(message.partition() or 0))
            error = message.error()
            if error is None:
                kept.append(message)
                self._at_end.discard(place)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ends.add(place)
                self._at_end.add(place)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET or error.fatal():
                raise KafkaException(error)
            else:
                log.warning("reading %s [%s]: %s", *place, error.str())
        return kept

    def pause(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Stop fetching some partitions until `resume`."""
        self._consumer.pause([TopicPartition(t, p) for t, p in partitions])

    def resume(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Fetch paused partitions again."""
        self._consumer.resume([TopicPartition(t, p) for t, p in partitions])

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()


class _ErrorLog:
    """Logs what a client reports; that no broker answers, or that one refuses it, at most every few seconds."""

    def __init__(self, *, every_seconds: float = 5.0) -> None:
        self._every_seconds = every_seconds
        self._logged_at: dict[int, float] = {}  # code of an error → monotonic seconds

    def __call__(self, error: KafkaError) -> None:
        if error.fatal():
            log.error("Kafka client: %s", error.str())
        elif refused := refusal(error):
            if self._is_due(error):
                log.error("%s; trying on", refused)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:
            if self._is_due(error):
                log.warning("no Kafka broker answers (%s); waiting for one", error.str())
        else:
            log.debug("Kafka client: %s", error.str())

    def _is_due(self, error: KafkaError) -> bool:
        now = time.monotonic()
        if now - self._logged_at.get(error.code(), -self._every_seconds) < self._every_seconds:
            return False
        self._logged_at[error.code()] = now
        return True


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a message with this key, 0 to partitions - 1, as Java, Faust and `PARTITIONER` choose it."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """MurmurHash2 (Appleby) with Kafka's seed, 32 bits unsigned."""
    h = _SEED ^ len(data)
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _WORD
        k = (k ^ k >> 24) * _M & _WORD
        h = (h * _M & _WORD) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _WORD
    h = (h ^ h >> 13) * _M & _WORD
    return h ^ h >> 15
