"""Reading what lies in `freshet.products`."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from shared.errors import BadEvent
from shared.events import check_id
from shared.pb.freshet.v1.events_pb2 import Product


def parse_product(key: bytes | None, value: bytes | None) -> tuple[str, Product | None]:
    """A record's product_id and its product; None where the product is removed.

    Raises:
        BadEvent: the key names no product, or the value is not the key's product.
    """
    try:
        product_id = (key or b"").decode()
    except UnicodeDecodeError:
        raise BadEvent("bad_id", f"key: not UTF-8, got {key!r:.80}") from None
    check_id("key", product_id)
    if value is None:
        return product_id, None
    try:
        product = Product.FromString(value)
    except DecodeError as error:
        raise BadEvent("undecodable", f"not a Product: {error}") from error
    if product.product_id != product_id:  # compaction goes by the key
        raise BadEvent("bad_id", f"product_id: as the key, {product_id!r}, got {product.product_id[:80]!r}")
    return product_id, product
