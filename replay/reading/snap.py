"""A review as SNAP and its successors publish it → an `Event`; a line of their metadata → a `Product`.

Reviews:

| | 2014 | 2018 | 2023 | finefoods.txt, movies.txt |
|---|---|---|---|---|
| user | `reviewerID` | the same | `user_id` | `review/userId`, "unknown" where nobody is |
| product | `asin` | the same | `parent_asin`, else `asin` | `product/productId` |
| stars | `overall` | the same | `rating` | `review/score` |
| time | `unixReviewTime`, seconds | the same | `timestamp`, milliseconds | `review/time`, seconds |
| votes | `helpful` [helpful, all] | `vote`, "1,234", all helpful | `helpful_vote` | `review/helpfulness`, "1/2" |
| text | `summary`, `reviewText` | the same | `title`, `text` | `review/summary`, `review/text` |

Other crawls that use SNAP's names have nulls in any field. An event has no place for the rest (`verified`, `style`,
`images`, names of people). HTML entities are resolved, and `<br />` becomes a line break.

Metadata, of which only a line that names no product is left out; a price or title that makes no sense is ignored:

| | 2014 (Python literals) | 2018 | 2023 | other crawls with SNAP's names |
|---|---|---|---|---|
| product | `asin` | the same | `parent_asin` | `asin` |
| categories | `categories`, the first path | `category`, one path | `categories`, else `main_category` | a string |
| price | a number | "$12.34", a range (the lower end counts), or "" | a number or null | "$229.00" or null |
| title, brand | `title`, `brand` | the same | `title`, `store` | `title` or null |
| also bought | `related`: `also_bought`, `bought_together` | `also_buy` | `bought_together` | none |
| also viewed | `related`: `also_viewed`, `buy_after_viewing` | `also_view` | none | none |
"""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass
from typing import NamedTuple

from replay.reading.records import Record, as_number, clean, identifier, number
from shared.log.records import END_MS, check_event, check_id
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_RATING, EVENT_KIND_REVIEW, Event, Product
from shared.process.errors import BadEvent

# Limits of what people see of a product; some files hold whole style sheets in these fields.
MOST_CHARACTERS = 500
MOST_CATEGORIES = 20
_MOST_VOTES = 2**53  # a larger number was no count
_NOBODY = "unknown"  # the user of a block that names none
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_PRICE = re.compile(r"\$?\s*([0-9][0-9,]*(?:\.[0-9]+)?)(?:\s*-\s*\$?\s*[0-9][0-9,.]*)?")
_BOUGHT = ("also_bought", "bought_together", "also_buy")
_VIEWED = ("also_viewed", "buy_after_viewing", "also_view")


@dataclass(frozen=True, slots=True)
class Edition:
    """The names of the fields in one edition."""

    user: str
    products: tuple[str, ...]  # the first that is not empty names the product
    rating: str
    time: str
    time_unit_ms: int
    texts: tuple[str, ...]  # title, body
    votes: str  # helpful votes alone
    helpful_of_all: str = ""  # helpful votes and all votes


SNAP = Edition("reviewerID", ("asin",), "overall", "unixReviewTime", 1000, ("summary", "reviewText"), "vote", "helpful")
SNAP_2023 = Edition(
    "user_id", ("parent_asin", "asin"), "rating", "timestamp", 1, ("title", "text"), "helpful_vote"
)  # fmt: skip
BLOCKS = Edition(
    "review/userId", ("product/productId",), "review/score", "review/time", 1000,
    ("review/summary", "review/text"), "", "review/helpfulness",
)  # fmt: skip


def to_event(record: Record, edition: Edition = SNAP) -> Event:
    """The event, without the source and sequence that its place in the order will give it.

    Raises:
        BadEvent: no user, product or time, or a field is not what it should be.
    """
    user_id = identifier(record, edition.user, "no_user")
    if user_id == _NOBODY:
        raise BadEvent("no_user", f"{edition.user}: {_NOBODY}")
    product_id = identifier(record, _product_field(record, edition), "no_product")
    time_ms = _time_ms(record, edition)
    text = _text(record, edition)
    rating = number(record, edition.rating, "bad_rating")
    if rating is None and not text:
        raise BadEvent("nothing_said", f"{', '.join((edition.rating, *edition.texts))}: neither stars nor a text")
    event = Event(
        kind=EVENT_KIND_REVIEW if text else EVENT_KIND_RATING,
        user_id=user_id,
        product_id=product_id,
        event_time_ms=time_ms,
        text=text,
    )
    if rating is not None:
        event.rating = rating
    _set_votes(event, record, edition)
    return checked(event)


def checked(event: Event) -> Event:
    """The event itself, if it is valid once its place in the order has given it source and sequence.

    Raises:
        BadEvent: it is not.
    """
    event.source, event.sequence = "unordered", 1
    check_event(event)
    event.source, event.sequence = "", 0
    return event


def _product_field(record: Record, edition: Edition) -> str:
    """The first field of a product's id that is not empty."""
    for name in edition.products:
        if record.get(name):
            return name
    return edition.products[-1]


def _time_ms(record: Record, edition: Edition) -> int:
    time = number(record, edition.time, "bad_time")
    if time is None:
        raise BadEvent("no_time", f"{edition.time}: missing")
    time_ms = time * edition.time_unit_ms
    if not 0 < time_ms < END_MS:
        unit = "seconds" if edition.time_unit_ms == 1000 else "milliseconds"
        raise BadEvent("bad_time", f"{edition.time}: {unit} since 1970, above 0 and before 2200, got {time:g}")
    return int(time_ms)


def _text(record: Record, edition: Edition) -> str:
    """Title and body, separated by a line break."""
    parts = []
    for name in edition.texts:
        value = record.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise BadEvent("bad_text", f"{name}: must be a string, got a {type(value).__name__}")
        if part := readable(value):
            parts.append(part)
    return "\n".join(parts)


def readable(value: str) -> str:
    """A text as people read it: entities resolved, `<br />` as line breaks, no half characters."""
    if "&" in value:
        value = html.unescape(value)
    if "<" in value:
        value = _BREAK.sub("\n", value)
    return clean(value).strip()


def _set_votes(event: Event, record: Record, edition: Edition) -> None:
    name = edition.helpful_of_all
    both = record.get(name) if name else None
    if both is not None:
        if isinstance(both, str):
            both = both.split("/")
        if not isinstance(both, list | tuple) or len(both) != 2:
            raise BadEvent("bad_votes", f"{name}: must be helpful votes and all votes")
        event.helpful_votes = votes(both[0], name)
        event.total_votes = votes(both[1], name)
    elif (alone := record.get(edition.votes)) not in (None, ""):
        event.helpful_votes = votes(alone, edition.votes)


def votes(value: object, name: str) -> int:
    """A count of votes.

    Raises:
        BadEvent: bad_votes.
    """
    count = as_number(value, name, "bad_votes")
    if not 0 <= count <= _MOST_VOTES or count != int(count):
        raise BadEvent("bad_votes", f"{name}: must be a count, got {count:g}")
    return int(count)


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
    """A product; a title, category, brand or price that makes no sense is left out.

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
    """A text as one line, entities resolved; empty if it is no text."""
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
        match = _PRICE.fullmatch(value.strip())
        return float(match[1].replace(",", "")) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        price = float(value)
    except OverflowError:
        return None
    return price if math.isfinite(price) and price >= 0 else None


class RelatedProducts(NamedTuple):
    """The products that a line of metadata lists beside its own: ids, each once, in the order of the line."""

    also_bought: tuple[str, ...]
    also_viewed: tuple[str, ...]


def related_of(record: Record) -> RelatedProducts:
    """The related products of a line; anything but a list of ids is ignored."""
    nested = record.get("related")
    sources = (record, nested) if isinstance(nested, dict) else (record,)
    return RelatedProducts(_ids(sources, _BOUGHT), _ids(sources, _VIEWED))


def _ids(sources: tuple[Record, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    ids: dict[str, None] = {}
    for source in sources:
        for name in names:
            value = source.get(name)
            if isinstance(value, list):
                ids.update((entry, None) for entry in value if isinstance(entry, str) and entry)
    return tuple(ids)
