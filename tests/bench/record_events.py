"""`RecordEvents` in batches of 1,000: events per second beside a bare producer of the same bytes on the same broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
from confluent_kafka import Producer

from shared.log.clients import LogReader, producer_config
from shared.log.records import key_of
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1 import events_pb2
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.settings import KafkaSettings
from tests.bench.bare_producer import Record, send
from tests.bench.figures import BenchSettings, Figure
from tests.bench.log import fresh_kafka
from tests.bench.repeats import interleaved
from tests.bench.shop import product_ids, user_ids
from tests.support.inference import Inference, running

BATCH = 1000
CALLERS = 4
# One of the two is enough.
WANTED_RATIO, WANTED_RATE = 0.4, 40_000.0
METHOD = "/freshet.v1.RecommenderService/RecordEvents"
KINDS = (events_pb2.EVENT_KIND_VIEW, events_pb2.EVENT_KIND_CART, events_pb2.EVENT_KIND_PURCHASE)


def run(settings: BenchSettings) -> list[Figure]:
    """One figure. Callers give neither event_id nor time, as a page that shows products does."""
    batches, repeats = (4, 1) if settings.quick else (100, 5)
    requests = _requests(batches)
    events = batches * BATCH
    with fresh_kafka(settings) as kafka, running(kafka, settings.folder) as inference:
        _call(inference, requests[:CALLERS])
        records = _stored(kafka)[:BATCH] * batches
        bare = kafka.model_copy(update={"topic_prefix": "bare"})
        ensure_topics(bare, patience_seconds=20)
        producer = Producer(producer_config(bare, linger_ms=1, queue_messages=50_000))

        def by_record_events() -> float:
            return _rate(events, lambda: _call(inference, requests))

        def by_bare_producer() -> float:
            return _rate(events, lambda: send(records, producer, Topics.of(bare).events))

        spreads = interleaved(
            {"RecordEvents": by_record_events, "bare producer": by_bare_producer}, repeats, say=settings.say
        )
    limit = spreads["bare producer"].median
    size = sum(len(record.value) for record in records) / len(records)
    return [
        Figure(
            "RecordEvents, batches of 1,000",
            spreads["RecordEvents"].median,
            "events/s",
            limit,
            "confluent-kafka, same bytes",
            min(WANTED_RATIO, WANTED_RATE / limit),
            at_least=True,
            note=f"wanted is {WANTED_RATIO} or {WANTED_RATE:,.0f} events/s; {CALLERS} callers, {size:.0f} bytes each; "
            f"{spreads['RecordEvents']} beside {spreads['bare producer']}",
        )
    ]


def _rate(events: int, act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return events / (time.perf_counter() - start)


def _requests(batches: int) -> list[bytes]:
    rng = np.random.default_rng(5)
    users, products = user_ids(10_000), product_ids(10_000)
    return [
        pb.RecordEventsRequest(
            events=[
                events_pb2.Event(kind=KINDS[kind], user_id=users[user], product_id=products[product], price=9.99)
                for kind, user, product in zip(
                    rng.integers(0, len(KINDS), BATCH).tolist(),
                    rng.integers(0, len(users), BATCH).tolist(),
                    rng.integers(0, len(products), BATCH).tolist(),
                    strict=True,
                )
            ]
        ).SerializeToString()
        for _ in range(batches)
    ]


def _call(inference: Inference, requests: Sequence[bytes]) -> None:
    """Send all batches, `CALLERS` at a time.

    Raises:
        RuntimeError: an answer does not name a position for every event.
    """

    def call(requests: Sequence[bytes]) -> list[bytes]:
        with grpc.insecure_channel(inference.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            method = channel.unary_unary(METHOD)  # bytes in, bytes out: the caller's own work is not what is measured
            return [method(request, timeout=60) for request in requests]

    with ThreadPoolExecutor(CALLERS) as callers:
        answers = [*callers.map(call, [requests[n::CALLERS] for n in range(CALLERS)])]
    for answer in (answers[0][0], answers[-1][-1]):
        recorded = pb.RecordEventsResponse.FromString(answer).events
        if len(recorded) != BATCH or not all(event.event_id and event.HasField("position") for event in recorded):
            raise RuntimeError(f"{len(recorded)} of {BATCH} events were recorded")


def _stored(kafka: KafkaSettings) -> list[Record]:
    """What lies in the log now."""
    topic = Topics.of(kafka).events
    reader = LogReader(kafka, {(topic, partition): -1 for partition in range(kafka.partitions)})
    values: list[bytes] = []
    while not reader.caught_up:
        values += [message.value() or b"" for message in reader.poll(0.2, 10_000)]
    reader.close()
    return [Record(key_of(events_pb2.Event.FromString(value)), value) for value in values]
