"""The reviews that benchmarks send: Musical Instruments where this machine has them, else the generated sample."""

from __future__ import annotations

from replay.order.ordered_copy import OrderedCopy, Selection
from replay.sample.shop import DEFAULT_EVENTS, DEFAULT_PRODUCTS, DEFAULT_SEED, DEFAULT_USERS, write_sample
from shared.pb.freshet.v1.events_pb2 import Event
from tests.bench.figures import BenchSettings
from tests.support.snap import ordered

REAL = "amazon-2014/Musical_Instruments_5.json.gz"


def ordered_reviews(settings: BenchSettings) -> tuple[OrderedCopy, str]:
    """Their ordered copy, and what they are, for a note."""
    if settings.data is not None and (settings.data / REAL).exists():
        return ordered(settings.data / REAL, settings.folder / "replay"), "Musical Instruments 2014"
    reviews, products = settings.folder / "reviews.json.gz", settings.folder / "products.json.gz"
    write_sample(
        reviews,
        products,
        users=DEFAULT_USERS,
        products=DEFAULT_PRODUCTS,
        events=DEFAULT_EVENTS,
        seed=DEFAULT_SEED,
    )
    return ordered(reviews, settings.folder / "replay"), "the generated sample"


def events(copy: OrderedCopy) -> list[Event]:
    """All of a copy, in order."""
    everything = Selection()
    return [ordered.event for ordered in copy.events(everything, copy.extent(everything))]
