"""Writing records as a shop's own program would."""

from __future__ import annotations

from shared.log.clients import CountedProducer, producer_config
from shared.process.settings import KafkaSettings


def writer(kafka: KafkaSettings) -> CountedProducer:
    """A producer that may write at once; an idempotent one waits half a second for the id that the broker gives it."""
    plain = {"enable.idempotence": False, "max.in.flight.requests.per.connection": 1}
    return CountedProducer(producer_config(kafka) | plain)
