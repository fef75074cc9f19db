"""What all sending to the log needs: every message is waited for, and a refusal ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shared.errors import Unavailable
from shared.kafka.clients import CountedProducer
from shared.pb.freshet.v1.events_pb2 import Product

NAP_SECONDS = 0.1


def require_none_refused(producer: CountedProducer, way_out: str) -> None:
    """Notice that the broker refused something.

    Args:
        way_out: what to do once the cause is gone.

    Raises:
        Unavailable: it did, for good.
    """
    if producer.failed:
        raise Unavailable(f"the broker refused {producer.failed:,} messages ({producer.last_error}); {way_out}")


def send_products(products: Iterable[Product], producer: CountedProducer, topic: str, tend: Callable[[], None]) -> None:
    """Send products and wait until the broker has all of them, calling `tend` all the time."""
    for product in products:
        producer.send(topic, key=product.product_id.encode(), value=product.SerializeToString(), on_wait=tend)
        tend()
    settle(producer, tend)


def settle(producer: CountedProducer, tend: Callable[[], None]) -> None:
    """Wait until the broker has everything, however long it is away."""
    while producer.in_flight:
        producer.poll(NAP_SECONDS)
        tend()
    tend()
