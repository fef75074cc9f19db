"""From places to the messages of an answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.catalogue import Catalogue
from services.inference.reasons import PastEvent, tell
from services.inference.recommend import Placed
from services.inference.wishes import PRODUCT_FIELDS
from shared.explained import Reasons
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import Product


def recommended(
    places: Sequence[Placed],
    wishes: pb.Wishes,
    catalogue: Catalogue,
    reasons: Sequence[Reasons] = (),
    events: Sequence[PastEvent] = (),
) -> list[pb.RecommendedProduct]:
    """The products of an answer, with those fields of the catalogue that were asked for.

    Args:
        reasons: of the places' scores.
        events: past ones that these name by their places.
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
    tell(products, reasons, events)
    asked = frozenset(wishes.product_fields.paths)
    if asked:
        unasked = [name for name in PRODUCT_FIELDS if name not in asked]
        for placed, message in zip(places, products, strict=True):
            message.product.CopyFrom(_without(catalogue.product(placed.row), unasked))
    return products


def _without(product: Product, fields: Sequence[str]) -> Product:
    for name in fields:
        product.ClearField(name)  # type: ignore[arg-type]  # names of fields they all are
    return product
