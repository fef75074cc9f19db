"""The Faust app: how it reaches Kafka, and what it leaves out of what Faust does by itself."""

from __future__ import annotations

import logging
import ssl

import aiokafka
import faust
from faust.app import BootStrategy
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from yarl import URL

from services.features.settings import FeaturesSettings
from shared.process.settings import KafkaSettings

REQUEST_SECONDS = 30.0  # an answer not here by then is not coming
COMMIT_SECONDS = 1.0  # what was acknowledged since is described again after a kill
FETCH_WAIT_MS = 20  # Faust's own 1,500 delay events by up to as much on brokers that sleep through a fetch's wait

_LIBRARIES = ("faust", "mode", "aiokafka")
QUIET_SECONDS = 5.0  # between two lines of one of the libraries' loggers
MOST_LINE = 500


class _ConsumerOnly(BootStrategy):
    """No producer of Faust's: aiokafka's can't be idempotent on brokers that dropped version 0 of InitProducerId."""

    enable_kafka_producer = False


class _PromptThread(AIOKafkaConsumerThread):
    logger = logging.getLogger("faust.transport")

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # read when it starts; Faust has no setting for it
        return consumer


class _PromptConsumer(Consumer):
    logger = logging.getLogger("faust.transport")

    def _new_consumer_thread(self) -> _PromptThread:
        return _PromptThread(self, loop=self.loop, beacon=self.beacon)


class _PromptTransport(Transport):
    Consumer = _PromptConsumer


class FeaturesApp(faust.App):
    """Reads events as a member of a consumer group; keeps nothing on disk, creates no topic, serves no HTTP.

    Told to stop, or at a rebalance, Faust reads no further, waits until what it has read is acknowledged, commits that,
    and only then cancels the agent or gives its partitions away (its setting `stream_wait_empty`).
    """

    BootStrategy = _ConsumerOnly
    logger = logging.getLogger("faust.app")

    def __init__(self, settings: FeaturesSettings, kafka: KafkaSettings) -> None:
        brokers = [URL(f"kafka://{address.strip()}") for address in kafka.bootstrap_servers.split(",")]
        super().__init__(
            f"{kafka.topic_prefix}-features",
            broker=brokers,
            broker_credentials=_credentials(kafka),
            broker_session_timeout=settings.session_seconds,
            broker_heartbeat_interval=settings.session_seconds / 3,
            broker_request_timeout=REQUEST_SECONDS,
            broker_commit_interval=COMMIT_SECONDS,
            consumer_auto_offset_reset="earliest",
            stream_buffer_maxsize=settings.batch,
            stream_wait_empty=True,
            store="memory://",
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )

    def _new_transport(self) -> _PromptTransport:
        return _PromptTransport(self.conf.broker_consumer, self)

    async def on_first_start(self) -> None:
        """Create none of the folders that Faust keeps tables in."""


def quiet_libraries(level: str) -> None:
    """Leave out what Faust and aiokafka say at every start and rebalance, and while a broker is away at every attempt.

    Nothing is left out at DEBUG.
    """
    if level == "DEBUG":
        return
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_OnceInAWhile())


class _OnceInAWhile(logging.Filter):
    """Lets through one line in a while of each of the libraries' loggers, cut where it lists every message."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in _LIBRARIES:
            return True
        if record.created - self._last.get(record.name, 0.0) < QUIET_SECONDS and record.levelno < logging.CRITICAL:
            return False
        self._last[record.name] = record.created
        record.msg, record.args = record.getMessage()[:MOST_LINE], None
        return True


def _credentials(kafka: KafkaSettings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    encrypted = kafka.security_protocol.endswith("SSL")
    ca_file = None if kafka.ssl_ca_file is None else str(kafka.ssl_ca_file)
    context = ssl.create_default_context(cafile=ca_file) if encrypted else None
    if not kafka.uses_sasl:
        return None if context is None else faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=kafka.sasl_username,
        password=kafka.read_password(),
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )
