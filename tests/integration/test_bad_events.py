"""100,000 broken messages through a features process: no good one is lost, each bad one is set aside once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message

from services.features.core import SourceRecord, describe, parse_event
from services.features.sentiment import Sentiment
from services.features.settings import FeaturesSettings
from shared.log.clients import CountedProducer, LogReader, producer_config
from shared.log.records import REASONS, key_of
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent
from shared.process.settings import KafkaSettings, load
from tests.support.mutations import mutated
from tests.support.processes import kafka_environment, running

MUTATED = 100_000
GOOD = 10_000
START_MS = 1_300_000_000_000

Place = tuple[int, int]  # partition and offset in events


def good(n: int) -> pb.Event:
    """Event `n`, with every field in use by one or another."""
    event = pb.Event(
        kind=pb.EVENT_KIND_REVIEW if n % 2 else pb.EVENT_KIND_PURCHASE,
        user_id=f"u{n % 500}" if n % 10 else "",  # some are guests'
        product_id=f"p{n % 50}",
        event_time_ms=START_MS + n,
        event_id=f"e{n}",
        rating=1.0 + n % 5,
        helpful_votes=n % 9,
        price=float(n % 90),
        quantity=1.0,
        request_id="r" * (n % 3),
    )
    if n % 2:
        event.text = "I love this, great sound" if n % 3 else "awful, it broke\nnever again 💔"
    if n % 4 == 0:
        event.source, event.sequence = "set/0", n + 1
    return event


def messages() -> Iterator[tuple[bytes | None, bytes | None]]:
    """Keys and values: after every ten broken ones a good one."""
    rng = random.Random(4)
    for n in range(GOOD):
        for _ in range(MUTATED // GOOD):
            value = mutated(rng, good(rng.randrange(10**6)))
            yield rng.choice((None, b"", b"\xff\xfe", rng.randbytes(8), f"u{n % 500}".encode())), value
        event = good(n)
        yield key_of(event), event.SerializeToString()


def read(kafka: KafkaSettings, topic: str, partitions: int) -> Iterator[Message]:
    reader = LogReader(kafka, {(topic, p): -1 for p in range(partitions)})
    while not reader.caught_up:
        yield from reader.poll(0.5)
    reader.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_100_000_broken_messages_no_good_one_is_lost_and_each_bad_one_is_set_aside_once(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    topics = Topics.of(kafka)
    producer = CountedProducer(producer_config(kafka))
    for key, value in messages():
        producer.send(topics.events, key=key, value=value)
    producer.flush(60)

    with running("services.features", kafka_environment(kafka), tmp_path / "log") as worker:

        def done() -> bool:
            figures = worker.metrics()
            counted = sum(figures.get(f'freshet_features_dead_letters_total{{reason="{r}"}}', 0.0) for r in REASONS)
            counted += figures.get('freshet_features_dead_letters_total{reason="undecodable"}', 0.0)
            return counted + figures.get("freshet_features_states_total", 0.0) == MUTATED + GOOD

        worker.wait_for(done, "end of all messages", seconds=400)
        figures = worker.metrics()
        assert worker.stop() == 0

    settings, sentiment = load(FeaturesSettings, {}), Sentiment()
    states: dict[Place, bytes] = {}
    letters: dict[Place, tuple[bytes | None, bytes | None, str]] = {}
    reasons: Counter[str] = Counter()
    for record in read(kafka, topics.events, kafka.partitions):
        place = (record.partition() or 0, record.offset() or 0)
        try:
            event = parse_event(record.value(), record.timestamp()[1])
        except BadEvent as error:
            letters[place] = (record.key(), record.value(), error.reason)
            reasons[error.reason] += 1
        else:
            origin = SourceRecord(topics.events, *place, record.timestamp()[1])
            states[place] = describe(event, origin, settings, sentiment).SerializeToString()
    assert len(states) + len(letters) == MUTATED + GOOD
    assert len(states) > 2 * GOOD, "many a broken message is still an event"
    assert set(reasons) == {"undecodable", *REASONS}, "every reason occurs"

    for record in read(kafka, topics.states, kafka.partitions):
        state = pb.StateVector.FromString(record.value() or b"")
        assert record.partition() == state.source_partition
        expected = states.pop((state.source_partition, state.source_offset))  # once each
        assert pb.StateVector.FromString(expected) == state
    assert not states
    for record in read(kafka, topics.dead_letters, 1):
        headers = {name: value.decode() for name, value in record.headers() or []}
        assert headers["topic"] == topics.events
        key, value, reason = letters.pop((int(headers["partition"]), int(headers["offset"])))  # once each
        assert (record.key(), record.value(), headers["reason"]) == (key, value, reason)
        assert headers["message"]
    assert not letters
    for reason, count in reasons.items():
        assert figures[f'freshet_features_dead_letters_total{{reason="{reason}"}}'] == count
