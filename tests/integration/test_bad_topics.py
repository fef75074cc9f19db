"""Random bytes and foreign messages on every topic while all services work: nobody ends, and the good go on."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.console.letters import STRAY, DeadLetters
from services.features.core import parse_event
from shared.log.records import REASONS, key_of, parse_product, parse_state
from shared.log.topics import Topics
from shared.model.serving import PublishedVersions
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings
from tests.support import mutations
from tests.support.inference import eventually
from tests.support.inference import running as inference_running
from tests.support.loop import figure, loop
from tests.support.processes import Service
from tests.support.writing import writer

USERS, PRODUCTS = 60, 40
BROKEN_STATES = 5000
START_MS = 1_300_000_000_000

Record = tuple[bytes | None, bytes | None]  # key and value


def shopping(count: int, first: int = 0) -> Iterator[pb.Event]:
    """Live purchases by users who mostly buy the next product on the shelf."""
    rng = random.Random(first)
    for n in range(first, first + count):
        user = rng.randrange(USERS)
        product = f"p{(user + n // USERS + rng.randrange(2)) % PRODUCTS}"
        yield pb.Event(
            kind=pb.EVENT_KIND_PURCHASE, user_id=f"u{user}", product_id=product, event_id=f"e{n}",
            event_time_ms=START_MS + n * 60_000,
        )  # fmt: skip


def foreign(*topics_type: type) -> list[bytes]:
    """A message of each of our types but the topic's own."""
    return [other.SerializeToString() for other in mutations.OTHER_SCHEMAS if type(other) not in topics_type]


def junk(rng: random.Random, topics_type: type) -> list[Record]:
    """What no topic should hold, under keys of all sorts."""
    values = [None, b"", b"\xff" * 3, bytes(200), b"{}", b"\x0a\xff\xff\xff\xff\x0f", *foreign(topics_type)]
    values += [rng.randbytes(rng.randrange(1, 80)) for _ in range(30)]
    keys = [None, b"", b"\xff\xfe", b"u1", b"a\nb", b"k" * 300]
    return [(rng.choice(keys), value) for value in values]


def refused(read: Callable[[bytes | None, bytes | None], object], records: list[Record]) -> list[Record]:
    """Those of the records that `read` refuses."""
    taken = []
    for record in records:
        try:
            read(*record)
        except BadEvent:
            taken.append(record)
    return taken


def poison(kafka: KafkaSettings, rng: random.Random) -> dict[str, list[Record]]:
    """Topic → records that its readers refuse."""
    topics = Topics.of(kafka)
    catalogue = [(f"p{n}".encode(), value) for n, (_, value) in enumerate(junk(rng, pb.Product)) if value is not None]
    catalogue += [(key, pb.Product(product_id="p1").SerializeToString()) for key in (None, b"", b"\xff", b"p2")]
    state = next(message for message in mutations.OTHER_SCHEMAS if isinstance(message, pb.StateVector))
    states = junk(rng, pb.StateVector)
    while len(states) < BROKEN_STATES:
        states += refused(
            lambda _, value: parse_state(value, kafka.partitions), [(b"u1", mutations.mutated(rng, state))]
        )
    models = junk(rng, pb.ModelVersion)
    models += [(key, b"\xff") for key in (b"version/v1", b"version/../v1", b"live/serving", b"live/other")]
    published = PublishedVersions()
    return {
        topics.events: refused(lambda _, value: parse_event(value, time.time_ns() // 1_000_000), junk(rng, pb.Event)),
        topics.states: refused(lambda _, value: parse_state(value, kafka.partitions), states),
        topics.products: refused(parse_product, catalogue),
        topics.models: refused(published.apply, models),
        topics.impressions: junk(rng, pb.Pointer),
        topics.dead_letters: junk(rng, pb.Pointer),
    }


def send(kafka: KafkaSettings, topic: str, records: list[Record]) -> int:
    """Write records; how many the broker took.

    Apache Kafka takes none without a key into a compacted topic, nor what is in one batch with it.
    """
    producer = writer(kafka)
    rng = random.Random(1)
    topics = Topics.of(kafka)
    partitions = kafka.partitions if topic in topics.by_user else 1
    keyless = 0
    for key, value in records:
        producer.send(topic, key=key, value=value, partition=rng.randrange(partitions))
        if topic in (topics.products, topics.models):
            keyless += key is None
            while producer.in_flight:
                producer.poll(1.0)
    if not 0 < producer.failed == keyless:
        producer.flush(30)
    return producer.acknowledged


def send_good(kafka: KafkaSettings, events: Iterator[pb.Event]) -> None:
    producer = writer(kafka)
    for event in events:
        producer.send(Topics.of(kafka).events, key=key_of(event), value=event.SerializeToString())
    producer.flush(30)


def letters(features: Service) -> float:
    figures = features.metrics()
    reasons = ("undecodable", *REASONS)
    return sum(figures.get(f'freshet_features_dead_letters_total{{reason="{reason}"}}', 0.0) for reason in reasons)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_poison_on_every_topic_ends_nobody_and_is_counted_and_the_good_go_on(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    topics, rng = Topics.of(kafka), random.Random(9)
    before, meanwhile = poison(kafka, rng), poison(kafka, rng)
    total = {topic: send(kafka, topic, records) for topic, records in before.items()}
    send_good(kafka, shopping(600))
    settings = {"FRESHET_TRAINER_WARMUP_TRANSITIONS": "64"}
    with loop(kafka, tmp_path, settings) as system, inference_running(kafka, tmp_path) as inference:
        features, trainer = system.start("services.features"), system.start("services.trainer")
        evaluator = system.start("services.evaluator")
        trainer.wait_for(lambda: len(system.versions()) == 1, "version", seconds=90)
        for topic, records in meanwhile.items():
            total[topic] += send(kafka, topic, records)
        good = pb.Product(product_id="p0", title="Capo").SerializeToString()
        send(kafka, topics.products, [(b"p0", good)])
        send_good(kafka, shopping(600, 600))

        features.wait_for(lambda: figure(features, "freshet_features_states_total") == 1200, "states")
        features.wait_for(lambda: letters(features) == total[topics.events], "dead letters")
        for name, service in (("trainer", trainer), ("evaluator", evaluator)):
            applied, unreadable = f"freshet_{name}_applied_events_total", f"freshet_{name}_unreadable_total"
            service.wait_for(lambda s=service, a=applied: figure(s, a) == 1200, "good events")  # type: ignore[misc]
            service.wait_for(
                lambda s=service, u=unreadable: figure(s, u) == total[topics.states],
                "bad states counted",  # type: ignore[misc]
            )

        def counted(name: str, value: float) -> None:
            eventually(lambda: inference.metrics().get(name) == value)

        counted("freshet_inference_applied_total", 1200)
        counted('freshet_inference_unreadable_total{topic="states"}', total[topics.states])
        counted('freshet_inference_unreadable_total{topic="products"}', total[topics.products])
        counted('freshet_inference_model_rejected_total{reason="undecodable"}', total[topics.models])
        counted("freshet_inference_products", PRODUCTS)
        left_out = 'freshet_evaluator_versions_left_out_total{reason="undecodable"}'
        evaluator.wait_for(lambda: figure(evaluator, left_out) == total[topics.models], "bad versions counted")

        trainer.wait_for(lambda: inference.serving() == max(system.versions()), "last version served")
        answer = inference.recommend("u1", 10)
        assert answer.model_version == max(system.versions())
        assert all(math.isfinite(product.score) for product in answer.products)
        for service in (features, trainer, evaluator):
            assert service.stop() == 0, service.log
            assert "Traceback" not in service.log
        assert inference.stop() == 0
        assert "Traceback" not in inference.log
        for reader, topic, words in (
            (features, topics.events, "goes to the dead letters"),
            (trainer, topics.states, f"{topics.states} ["),
            (evaluator, topics.states, f"{topics.states} ["),
            (evaluator, topics.products, f"{topics.products} ["),
            (evaluator, topics.models, f"{topics.models} ["),
            (inference, topics.states, f"{topics.states} ["),
            (inference, topics.products, f"{topics.products} ["),
            (inference, topics.models, f"{topics.models} ["),
        ):
            named = sum(words in line for line in reader.log.splitlines())
            assert 0 < named < total[topic] / 2, "named, but no flood"
    strays = [letter for letter in DeadLetters(kafka).letters() if letter.reason == STRAY]
    assert len(strays) == total[topics.dead_letters]
