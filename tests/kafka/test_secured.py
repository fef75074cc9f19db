"""A broker that demands TLS and a login: every part gets in with the right ones, and with others says what to check."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.sample.shop import write_sample
from shared.log.topics import Topics
from shared.process.settings import KafkaSettings
from tests.kafka.log import read_all
from tests.kafka.secured import STRANGER, secured_cluster, settings_for
from tests.support import apache_kafka
from tests.support.apache_kafka import Cluster
from tests.support.loop import figure, loop

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make certificates")

EVENTS = 600
SERVICES = ("services.features", "services.trainer", "services.inference", "services.evaluator")
APPLIED = {
    "services.features": "freshet_features_states_total",
    "services.trainer": "freshet_trainer_applied_events_total",
    "services.inference": "freshet_inference_applied_total",
    "services.evaluator": "freshet_evaluator_applied_events_total",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def cluster(distribution: Path, folder: Path) -> Iterator[Cluster]:
    with apache_kafka.running(secured_cluster(distribution, folder)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def reviews(folder: Path) -> Path:
    file = folder / "reviews.json.gz"
    write_sample(file, folder / "products.json.gz", users=60, products=40, events=EVENTS, seed=5)
    return file


def a_prefix() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def kafka(cluster: Cluster, folder: Path) -> KafkaSettings:
    """The right settings for TLS and a login."""
    return settings_for(cluster, folder, "SASL_SSL", "SCRAM-SHA-512", prefix=a_prefix())


def test_every_part_works_through_tls_and_a_login(kafka: KafkaSettings, reviews: Path, tmp_path: Path) -> None:
    with loop(kafka, tmp_path) as system:
        services = {name: system.start(name) for name in SERVICES}
        replay = system.start("replay", "run", str(reviews), "--speed", "max")
        replay.wait_for(lambda: replay.process.poll() == 0, "end of the replay")
        for name, service in services.items():
            service.wait_for(lambda s=service, n=name: figure(s, APPLIED[n]) >= EVENTS, "all events")
            assert service.stop() == 0, service.log


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("SSL", "PLAIN"), ("SASL_PLAINTEXT", "PLAIN"), ("SASL_SSL", "PLAIN"), ("SASL_PLAINTEXT", "SCRAM-SHA-256")],
)
def test_both_clients_speak_every_protocol(
    cluster: Cluster, folder: Path, reviews: Path, tmp_path: Path, protocol: str, mechanism: str
) -> None:
    """Replay and the producer of features are one, the consumer of features is the other."""
    kafka = settings_for(cluster, folder, protocol, mechanism, prefix=a_prefix())
    with loop(kafka, tmp_path) as system:
        features = system.start("services.features")
        replay = system.start("replay", "run", str(reviews), "--speed", "max")
        replay.wait_for(lambda: replay.process.poll() == 0, "end of the replay")
        features.wait_for(lambda: figure(features, APPLIED["services.features"]) >= EVENTS, "all states")
        assert features.stop() == 0, features.log
    assert len(read_all(kafka, Topics.of(kafka).states)) >= EVENTS


def test_a_wrong_password_ends_every_part_and_each_says_what_to_check(
    kafka: KafkaSettings, reviews: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("guessed")
    others = kafka.model_copy(update={"sasl_password_file": wrong})
    for output in refused(others, reviews, tmp_path, *SERVICES, "replay"):
        assert "SASL authentication error" in output
        assert "check FRESHET_KAFKA_SASL_USERNAME, the password in FRESHET_KAFKA_SASL_PASSWORD_FILE" in output
        assert "guessed" not in output


def test_a_certificate_that_cannot_be_trusted_ends_it_and_says_what_to_check(
    kafka: KafkaSettings, reviews: Path, tmp_path: Path
) -> None:
    for output in refused(kafka.model_copy(update={"ssl_ca_file": None}), reviews, tmp_path, "services.features"):
        assert "certificate verify failed" in output
        assert "check FRESHET_KAFKA_SSL_CA_FILE" in output
    no_certificate = tmp_path / "ca.pem"
    no_certificate.write_text("no certificate")
    for output in refused(
        kafka.model_copy(update={"ssl_ca_file": no_certificate}), reviews, tmp_path, "services.features"
    ):
        assert "ssl.ca.location" in output


def test_who_may_create_no_topic_is_told_who_should(
    cluster: Cluster, folder: Path, reviews: Path, tmp_path: Path
) -> None:
    kafka = settings_for(cluster, folder, "SASL_SSL", prefix=a_prefix(), user=STRANGER)
    for output in refused(kafka, reviews, tmp_path, "services.features"):
        assert f"{STRANGER} may not create topic" in output
        assert "`freshet topics`" in output


def refused(kafka: KafkaSettings, reviews: Path, folder: Path, *modules: str) -> list[str]:
    """What each of some parts says that are started together and end because of their settings."""
    with loop(kafka, folder) as system:
        parts = [system.start(module, *(("run", str(reviews)) if module == "replay" else ())) for module in modules]
        for part in parts:
            assert part.process.wait(90) == 2, part.log
            assert "Traceback" not in part.log
        return [part.log for part in parts]
