"""The console's commands against a broker."""

from __future__ import annotations

import argparse
import io

import pytest

from services.console import models, topics
from services.demo import reviews
from services.embedded.broker import free_port
from shared.log.clients import LogReader
from shared.log.topics import Topics
from shared.model.serving import SERVING_POINTER, PublishedVersions
from shared.pb.freshet.v1.events_pb2 import ModelVersion, Product
from shared.process.errors import Unavailable, Unusable
from shared.process.settings import KafkaSettings
from shared.process.terminal import Terminal
from tests.support.processes import kafka_environment
from tests.support.states import review, write
from tests.support.writing import writer


def run(command: object, kafka: KafkaSettings, **arguments: str) -> str:
    stream = io.StringIO()
    assert callable(command)
    assert command(argparse.Namespace(**arguments), Terminal(stream), kafka_environment(kafka)) == 0
    return stream.getvalue()


def announce(kafka: KafkaSettings, *version_ids: str) -> None:
    producer = writer(kafka)
    for n, version_id in enumerate(version_ids, start=1):
        version = ModelVersion(version_id=version_id, applied_events=n * 1000, steps=n, products=9, created_ms=n)
        version.metrics["validation_ndcg_at_10"] = n / 10
        if n > 1:
            shares = {"score_share_mixture": 0.55, "score_share_ce": 0.4, "score_share_q": 0.05}
            version.metrics.update(shares | {"events_share_ce": 0.9, "events_share_q": 0.1})
        producer.send(Topics.of(kafka).models, key=f"version/{version_id}".encode(), value=version.SerializeToString())
    producer.flush(30)


def published(kafka: KafkaSettings) -> PublishedVersions:
    versions = PublishedVersions()
    reader = LogReader(kafka, {(Topics.of(kafka).models, 0): -1})
    while not reader.caught_up:
        for message in reader.poll(0.5):
            versions.apply(message.key(), message.value())
    reader.close()
    return versions


def test_topics_may_be_made_again_and_are_listed(kafka: KafkaSettings) -> None:
    text = run(topics.run, kafka, wait=20.0)
    assert text == run(topics.run, kafka, wait=20.0)
    assert f"{kafka.topic_prefix}.events" in text
    assert "   3 partitions   720 hours" in text
    assert "the newest record of each key" in text


def test_no_broker_is_said_with_what_to_do() -> None:
    away = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=r"start one or set FRESHET_KAFKA_BOOTSTRAP_SERVERS"):
        run(topics.run, away, wait=0.5)


def test_versions_are_listed_newest_first(kafka: KafkaSettings) -> None:
    assert "no model version has been published yet" in run(models.list_versions, kafka)
    announce(kafka, "v1", "v2")
    lines = run(models.list_versions, kafka).splitlines()
    assert [line.split()[0] for line in lines] == ["version", "v2", "v1"]
    assert lines[1].split()[3:7] == ["2,000", "2", "9", "0.2000"]
    assert lines[1].endswith("0.2000  counts 55%, ce 40% (90%), q 5% (10%)")
    assert lines[2].endswith("0.1000  -")


def test_a_version_is_pinned_shown_and_let_go(kafka: KafkaSettings) -> None:
    announce(kafka, "v1", "v2")
    run(models.pin, kafka, version="v1")
    assert published(kafka).pinned == "v1"
    assert [line.split()[0] for line in run(models.list_versions, kafka).splitlines() if "pinned" in line] == ["v1"]
    assert "v1 is no longer pinned" in run(models.unpin, kafka)
    assert published(kafka).pinned == ""
    assert "no version was pinned" in run(models.unpin, kafka)


def test_only_what_was_published_can_be_pinned(kafka: KafkaSettings) -> None:
    announce(kafka, "v1")
    with pytest.raises(Unusable, match="there is no version v9; `freshet models list` shows them"):
        run(models.pin, kafka, version="v9")
    assert SERVING_POINTER == "live/serving"
    assert published(kafka).pinned == ""


def test_people_and_titles_are_read_from_the_log(kafka: KafkaSettings) -> None:
    write(kafka, [review("ann", "p1", 1), review("bob", "p1", 2), review("ann", "p2", 3), review("", "p2", 4)])
    producer = writer(kafka)
    for product in (Product(product_id="p1", title="Capo"), Product(product_id="p2")):
        key = product.product_id.encode()
        producer.send(Topics.of(kafka).products, key=key, value=product.SerializeToString())
    producer.flush(30)
    known = reviews.read_people(kafka)
    assert {name: person.events for name, person in known.items()} == {"ann": 2, "bob": 1}
    assert known["ann"].newest_ms > known["bob"].newest_ms
    assert reviews.read_titles(kafka) == {"p1": "Capo"}
