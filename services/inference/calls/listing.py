"""The catalogue and the users, page by page; a page's token names the last one on it, so that those which come or go
in between move nothing.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.inference.knowledge.catalogue import Catalogue
from shared.process.errors import BadRequest

# Products whose words are compared before other calls get their turn.
AT_ONCE = 500


class Page(NamedTuple):
    """Rows of a page, the last one's id where more follow, and how many there are in all."""

    rows: Sequence[int]
    last: str | None
    total: int


class Listing:
    """The catalogue in the order of its products' ids."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)  # in that order
        self._texts: dict[int, tuple[bytes | None, str]] = {}  # row → the record that a text was made of, and it

    async def page(self, after: str, size: int, query: str, met: NDArray[np.bool_]) -> Page:
        """The first `size` products after an id that are known, meet a filter and have all words of a query.

        Args:
            met: (A,) of all rows, to be changed.
        """
        for word in query.casefold().split():
            await self._keep_those_with(word, met)
        met[[row for row in self._catalogue.removed if row < len(met)]] = False
        self._take_new(len(met))
        found = self._rows[self._rows < len(met)]  # a call beside this one may have taken in more
        found = found[met[found]]
        ids = self._catalogue.ids
        start = bisect_right(found, after, key=ids.__getitem__) if after else 0
        rows = found[start : start + size].tolist()
        return Page(rows, ids[rows[-1]] if start + size < len(found) else None, len(found))

    async def _keep_those_with(self, word: str, met: NDArray[np.bool_]) -> None:
        for n, row in enumerate(np.flatnonzero(met).tolist()):
            met[row] = word in self._text(row)
            if n % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)

    def _text(self, row: int) -> str:
        record = self._catalogue.records[row]
        kept = self._texts.get(row)
        if kept is None or kept[0] is not record:
            product = self._catalogue.product(row)
            text = "\n".join([product.product_id, product.title, product.brand, *product.categories]).casefold()
            kept = self._texts[row] = (record, text)
        return kept[1]

    def _take_new(self, rows: int) -> None:
        known = len(self._rows)
        if rows > known:  # sorting what is in order already, but for its end, takes a look at each
            ids = self._catalogue.ids
            self._rows = np.array(sorted([*self._rows.tolist(), *range(known, rows)], key=ids.__getitem__), np.int64)


def token(last: str | None, asked: bytes) -> str:
    """What the next page is asked for with; empty where nothing follows.

    Args:
        asked: what the pages are of; with another the token is refused.
    """
    if last is None:
        return ""
    return base64.urlsafe_b64encode(_sum(last.encode(), asked) + last.encode()).decode().rstrip("=")


def last_of(page_token: str, asked: bytes) -> str:
    """The last one of the page before; empty for the first page.

    Raises:
        BadRequest: no page of what is asked gave this token.
    """
    if not page_token:
        return ""
    try:
        content = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        if content[4:] and content[:4] == _sum(content[4:], asked):
            return content[4:].decode()
    except ValueError:
        pass
    raise BadRequest("page_token", "no page of this query and filter gave it; leave it empty for the first page")


def _sum(last: bytes, asked: bytes) -> bytes:
    return zlib.crc32(asked + b"\0" + last).to_bytes(4, "big")
