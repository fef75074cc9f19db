"""One product's metadata as SNAP and its successors publish it → one `Product`.

| | 2014 (Python literals) | 2018 | 2023 | other crawls in SNAP's names |
|---|---|---|---|---|
| product | `asin` | the same | `parent_asin` | `asin` |
| categories | `categories`, the first path | `category`, one path | `categories`, else `main_category` | a string |
| price | a number | "$12.34", a range (its lower end is taken), or "" | a number or null | "$229.00" or null |
| title, brand | `title`, `brand` | the same | `title`, `store` | `title` or null |

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
    name = "parent_asin" if record.get("parent_asin") else "asin"
    return product_of(
        identifier(record, name, "no_product"),
        title=record.get("title"),
        categories=_path(record),
        brand=record.get("brand") or record.get("store"),
        price=record.get("price"),
    )


def product_of(product_id: str, *, title: object, categories: list[object], brand: object, price: object) -> Product:
    """The product that a source tells of; what it tells badly is as good as not told.

    Raises:
        BadEvent: bad_id.
    """
    check_id("product_id", product_id)
    product = Product(
        product_id=product_id,
        title=_line(title),
        categories=list(dict.fromkeys(name for entry in categories if (name := _line(entry))))[:MOST_CATEGORIES],
        brand=_line(brand),
    )
    if (known := _price(price)) is not None:
        product.price = known
    return product


def _line(value: object) -> str:
    """Text as one line, entities resolved; empty when it is none."""
    if not isinstance(value, str):
        return ""
    return " ".join(clean(html.unescape(value)).split())[:MOST_CHARACTERS]


def _path(record: Record) -> list[object]:
    """Categories from the widest to the narrowest."""
    path = record.get("categories") or record.get("category") or record.get("main_category") or []
    if isinstance(path, str):
        path = [path]
    if isinstance(path, list) and path and isinstance(path[0], list):
        path = path[0]
    return path if isinstance(path, list) else []


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
