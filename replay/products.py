"""One product's metadata as SNAP publishes it → one `Product`.

| | 2014 (Python literals) | 2018 | other crawls in SNAP's names |
|---|---|---|---|
| categories | `categories`, a list of paths: the first is taken | `category`, one path | `category`, a string |
| price | `price`, a number | `price`, "$12.34", a range (its lower end is taken), or "" | "$229.00" or null |
| title, brand | `title`, `brand` | the same | `title` or null |

Only a line that names no product is left out; a price or title that can't be understood is as good as none.
"""

from __future__ import annotations

import html
import math
import re

from replay.records import Record, clean, identifier
from shared.events import check_id
from shared.pb.freshet.v1.events_pb2 import Product

# What people see of a product; some files hold whole style sheets in these fields.
MOST_CHARACTERS = 500
MOST_CATEGORIES = 20

_PRICE = re.compile(r"\$?\s*([0-9][0-9,]*(?:\.[0-9]+)?)(?:\s*-\s*\$?\s*[0-9][0-9,.]*)?")


def to_product(record: Record) -> Product:
    """The product.

    Raises:
        BadEvent: no_product or bad_id.
    """
    product_id = identifier(record, "asin", "no_product")
    check_id("asin", product_id)
    product = Product(
        product_id=product_id,
        title=_line(record.get("title")),
        categories=_categories(record),
        brand=_line(record.get("brand")),
    )
    if (price := _price(record.get("price"))) is not None:
        product.price = price
    return product


def _line(value: object) -> str:
    """Text as one line, entities resolved; empty when it is none."""
    if not isinstance(value, str):
        return ""
    return " ".join(clean(html.unescape(value)).split())[:MOST_CHARACTERS]


def _categories(record: Record) -> list[str]:
    """From the widest to the narrowest, each once."""
    path = record.get("categories") or record.get("category") or []
    if isinstance(path, str):
        path = [path]
    if isinstance(path, list) and path and isinstance(path[0], list):
        path = path[0]
    if not isinstance(path, list):
        return []
    return list(dict.fromkeys(name for entry in path if (name := _line(entry))))[:MOST_CATEGORIES]


def _price(value: object) -> float | None:
    if isinstance(value, str):
        found = _PRICE.fullmatch(value.strip())
        return float(found[1].replace(",", "")) if found else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        price = float(value)
    except OverflowError:
        return None
    return price if math.isfinite(price) and price >= 0 else None
