"""Turns a slate and its reasons into the messages of a response. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from services.inference.answer.recommend import PlacedProduct, Viewer
from services.inference.knowledge.catalogue import Catalogue
from services.inference.knowledge.knowledge import Knowledge
from shared.model.explained import NOTHING, Reasons
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, EventKind, Product

PastEvent = tuple[str, EventKind.ValueType, int]  # product_id, kind, event time in ms


def recommended(
    places: Sequence[PlacedProduct],
    wishes: pb.Wishes,
    catalogue: Catalogue,
    reasons: Sequence[Reasons] = (),
    events: Sequence[PastEvent] = (),
) -> list[pb.RecommendedProduct]:
    """The products of a response, with the requested fields of the catalogue.

    Args:
        reasons: of the slate's scores.
        events: of the window; reasons refer to them by index.
    """
    ids = catalogue.ids
    products = [
        pb.RecommendedProduct(
            product_id=ids[placed.row],
            score=placed.score,
            explored=placed.explored,
            propensity=placed.propensity,
        )
        for placed in places
    ]
    add_reasons(products, reasons, events)
    requested = frozenset(wishes.product_fields.paths)
    if requested:
        omitted = [name for name in Product.DESCRIPTOR.fields_by_name if name not in requested]
        for placed, message in zip(places, products, strict=True):
            message.product.CopyFrom(_without(catalogue.product(placed.row), omitted))
    return products


def add_reasons(
    messages: Sequence[pb.RecommendedProduct], reasons: Sequence[Reasons], events: Sequence[PastEvent]
) -> None:
    """Add the reasons to the messages of their products.

    Args:
        events: of the window; reasons refer to them by index.
    """
    for part, *of_products in reasons:
        for message, score, count, places, adds in zip(messages, *of_products, strict=True):
            if count:
                reason = message.reasons.add(part=part, score=score)
                for at, added in zip(places[:count], adds, strict=False):
                    product_id, kind, at_ms = events[at]
                    reason.events.add(product_id=product_id, kind=kind, event_time_ms=at_ms, score=added)
                if part == pb.PART_ITSELF:
                    first = events[places[0]]
                    reason.times = sum(event[:2] == first[:2] for event in events)
            elif abs(score) > NOTHING:
                message.reasons.add(part=part, score=score)


def _without(product: Product, fields: Sequence[str]) -> Product:
    for name in fields:
        product.ClearField(name)  # type: ignore[arg-type]  # all are names of fields
    return product


def past_events(user_id: str, viewer: Viewer, knowledge: Knowledge) -> list[PastEvent]:
    """The events of the viewer's window, oldest first; those of the session have no time."""
    if viewer.window is None:
        return []
    ids, histories, end = knowledge.catalogue.ids, knowledge.histories, int(viewer.window.lengths[0])
    logged = end - viewer.session
    row = histories.row(user_id) if logged else None
    kept = histories.recent(row)[-logged:] if row is not None else []
    events = [(ids[product], cast("EventKind.ValueType", kind), at_ms) for product, kind, at_ms, _ in kept]
    return events + [(ids[row], EVENT_KIND_VIEW, 0) for row in viewer.window.products[0, logged:end].tolist()]
