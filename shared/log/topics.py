"""The topics, and the one idempotent step that creates them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # exported, but not listed

from shared.log.clients import client_config, refusal
from shared.process.errors import Unavailable, Unusable
from shared.process.settings import KafkaSettings

log = logging.getLogger("topics")

ANSWER_SECONDS = 5.0  # for one answer of a broker; as long as patience lasts, at least half a second

_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of all topics of one installation."""

    events: str
    products: str
    states: str
    impressions: str
    models: str
    dead_letters: str

    @classmethod
    def of(cls, settings: KafkaSettings) -> Topics:
        """The names under the configured prefix."""
        p = settings.topic_prefix
        return cls(
            f"{p}.events", f"{p}.products", f"{p}.states", f"{p}.impressions", f"{p}.models", f"{p}.dead-letters"
        )

    @property
    def by_user(self) -> tuple[str, ...]:
        """The topics keyed by user: these have the same number of partitions."""
        return (self.events, self.states, self.impressions)


def specifications(settings: KafkaSettings) -> list[NewTopic]:
    """What each topic looks like: partitions, retention, compaction."""
    topics = Topics.of(settings)
    by_time = {"retention.ms": str(int(settings.retention_hours * 3_600_000)), "cleanup.policy": "delete"}
    compacted = {"cleanup.policy": "compact"}
    letters = {"retention.ms": str(int(settings.dead_letter_retention_hours * 3_600_000)), "cleanup.policy": "delete"}

    def topic(name: str, partitions: int, config: Mapping[str, str]) -> NewTopic:
        return NewTopic(
            name, num_partitions=partitions, replication_factor=settings.replication_factor, config=dict(config)
        )

    return [
        *(topic(name, settings.partitions, by_time) for name in topics.by_user),
        topic(topics.products, 1, compacted),
        topic(topics.models, 1, compacted),
        topic(topics.dead_letters, 1, letters),
    ]


def ensure_topics(
    settings: KafkaSettings, *, patience_seconds: float = float("inf"), stop: threading.Event | None = None
) -> None:
    """Create the topics that are missing and check the others; wait for a broker that is away, or until `stop`.

    Raises:
        Unusable: a topic keyed by user has another number of partitions than configured, or the broker refuses the
            login, its certificate can't be trusted, or the user may not create topics.
        Unavailable: no broker answered within `patience_seconds`.
    """
    deadline = time.monotonic() + patience_seconds
    pause = 0.1
    stop = stop or threading.Event()
    while True:
        try:
            if _create_missing(settings, min(ANSWER_SECONDS, max(0.5, deadline - time.monotonic()))):
                return
        except KafkaException as error:
            if time.monotonic() + pause > deadline:
                raise Unavailable(
                    f"no Kafka broker answers at {settings.bootstrap_servers} ({error.args[0].str()}); "
                    "start one or set FRESHET_KAFKA_BOOTSTRAP_SERVERS, and FRESHET_KAFKA_SECURITY_PROTOCOL where it "
                    "asks for TLS or a login"
                ) from error
            log.warning(
                "no answer from %s yet (%s); trying again in %.1f s",
                settings.bootstrap_servers,
                error.args[0].str(),
                pause,
            )
        else:
            if time.monotonic() + pause > deadline:
                raise Unavailable(f"{settings.bootstrap_servers} took the new topics and does not show them")
            log.debug("looking again in %.1f s for topics just created", pause)
        if stop.wait(pause):
            return
        pause = min(pause * 2, 5.0)


def _create_missing(settings: KafkaSettings, seconds: float) -> bool:
    """Whether all topics were there, which a broker says within `seconds`; where not, they are to be looked at again.

    A broker learns of a topic a little after the controller has created it. Until then it shows none, and whoever
    creates it meanwhile learns only that it exists, not how many partitions it has.
    """
    admin, refusals = _admin(settings)
    try:
        listed = admin.list_topics(timeout=seconds).topics
    except KafkaException:
        admin.poll(0)
        if refusals:
            raise Unusable(f"Kafka at {settings.bootstrap_servers} can't be used: {refusals[0]}") from None
        raise
    present = {name: topic for name, topic in listed.items() if topic.partitions}
    wanted = specifications(settings)
    for spec in wanted:
        if spec.topic in present:
            partitions = len(present[spec.topic].partitions)
            if partitions != spec.num_partitions:
                raise Unusable(
                    f"topic {spec.topic} has {partitions} partitions, the settings say {spec.num_partitions}: "
                    f"set FRESHET_KAFKA_PARTITIONS={partitions}, or use another FRESHET_KAFKA_TOPIC_PREFIX"
                )
    missing = [spec for spec in wanted if spec.topic not in present]
    if not missing:
        return True
    for name, future in admin.create_topics(missing, operation_timeout=10, request_timeout=10).items():
        try:
            future.result()
            log.info("created topic %s", name)
        except KafkaException as error:
            if error.args[0].code() in _NOT_ALLOWED:
                raise Unusable(
                    f"{settings.sasl_username or 'this client'} may not create topic {name} ({error.args[0].str()}): "
                    "let a user who may create topics run `freshet topics` with the same settings, and allow this one "
                    "to read and write all of them"
                ) from None
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    return False


def _admin(settings: KafkaSettings) -> tuple[AdminClient, list[str]]:
    """A client for topics, and the list to which `poll` adds how it was refused."""
    refusals: list[str] = []

    def note(error: KafkaError) -> None:
        if refused := refusal(error):
            refusals.append(refused)

    try:
        return AdminClient(client_config(settings) | {"error_cb": note}), refusals
    except KafkaException as error:
        raise Unusable(f"Kafka can't be reached with these settings: {error.args[0].str()}") from None


def log_identity(settings: KafkaSettings, topic: str) -> str:
    """The cluster's and the topic's own ids: another log never has the same. Waits up to 5 s.

    Raises:
        Unavailable: no broker answered.
    """
    admin = AdminClient(client_config(settings))
    try:
        cluster = admin.describe_cluster(request_timeout=5).result()
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=5)[topic].result()
    except KafkaException as error:
        raise Unavailable(f"no Kafka broker answers at {settings.bootstrap_servers}: {error.args[0].str()}") from error
    return f"{cluster.cluster_id}/{described.topic_id}"


def wait_for_identity(settings: KafkaSettings, topic: str, stop: threading.Event) -> str | None:
    """Which log this is; a broker that is away is waited for, or until `stop`: then None."""
    while not stop.is_set():
        try:
            return log_identity(settings, topic)
        except Unavailable as error:
            log.warning("%s; trying again", error)
            stop.wait(1.0)
    return None
