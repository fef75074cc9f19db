"""States as features would write them, for tests of what reads them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from shared.log.clients import partition_of
from shared.log.records import DAY_MS
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import KafkaSettings
from tests.support.writing import writer

START_MS = 1_300_000_000_000


def review(user: str, product: str, day: int, *, reward: float = 0.5, rating: float = 4.0) -> pb.StateVector:
    """One user's review of one product, `day` days after the start; a rating of 0: no stars."""
    return pb.StateVector(
        user_id=user,
        product_id=product,
        kind=pb.EVENT_KIND_REVIEW,
        event_time_ms=START_MS + day * DAY_MS,
        rating=rating,
        sentiment=reward,
        reward=reward,
        imputed=() if rating else (pb.IMPUTED_RATING,),
    )


def shoppers(count: int, *, users: int = 60, products: int = 40, seed: int = 3) -> Iterator[pb.StateVector]:
    """`count` reviews in order of time by users who mostly buy the next product on the shelf."""
    rng = random.Random(seed)
    last = [rng.randrange(products) for _ in range(users)]
    for n in range(count):
        user = rng.randrange(users)
        step = 1 if rng.random() < 0.7 else rng.randrange(products)
        last[user] = (last[user] + step) % products
        yield review(f"u{user}", f"p{last[user]}", n // 20, reward=rng.uniform(-1, 1))


def write(
    kafka: KafkaSettings,
    states: Iterable[pb.StateVector],
    *,
    tick_every: int = 100,
    first_offset: int = 0,
    source: str = "test/0",
) -> None:
    """Write states to `freshet.states` as one features worker would for one replay, with ticks.

    `first_offset`: of the events they were made from, in every partition; `source`: empty for live events.
    """
    topic = Topics.of(kafka).states
    producer = writer(kafka)
    offsets = dict.fromkeys(range(kafka.partitions), first_offset)

    def send(state: pb.StateVector, partition: int) -> None:
        stored = pb.StateVector()
        stored.CopyFrom(state)
        stored.source_topic, stored.source_partition = Topics.of(kafka).events, partition
        stored.source_offset = offsets[partition]
        offsets[partition] += 1
        key = state.user_id.encode() or None
        producer.send(topic, key=key, value=stored.SerializeToString(), partition=partition)

    def tick(event_time_ms: int) -> None:
        for partition in range(kafka.partitions):
            send(pb.StateVector(kind=pb.EVENT_KIND_TICK, event_time_ms=event_time_ms, source=source), partition)

    newest = 0
    for sequence, state in enumerate(states, start=1):
        if sequence % tick_every == 0:
            tick(state.event_time_ms)
        state.source, state.sequence = source, sequence if source else 0
        send(state, partition_of(state.user_id.encode(), kafka.partitions))
        newest = state.event_time_ms
    tick(newest + 1)
    producer.flush(30)
