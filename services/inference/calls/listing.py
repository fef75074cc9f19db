"""Pages of the catalogue and of the users.

A page's token names the last entry of the page before, so that entries added or removed in between shift nothing.
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

# Products whose text is searched before other calls get their turn.
AT_ONCE = 500


class Page(NamedTuple):
    """The rows of a page, the id of the last one where more follow, and the total."""

    rows: Sequence[int]
    last: str | None
    total: int


class CatalogueListing:
    """The catalogue in the order of its products' ids."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._rows: NDArray[np.int64] = np.zeros(0, np.int64)  # in the order of their ids
        self._texts: dict[int, tuple[bytes | None, str]] = {}  # row → its record, and the text made of it

    async def page(self, after: str, size: int, query: str, met: NDArray[np.bool_]) -> Page:
        """The first `size` products after an id that exist, match a filter and contain all words of a query.

        Args:
            met: (A,) which products match the filter; changed.
        """
        for word in query.casefold().split():
            await self._keep_those_with(word, met)
        met[[row for row in self._catalogue.removed if row < len(met)]] = False
        self._add_new_rows(len(met))
        matches = self._rows[self._rows < len(met)]  # a concurrent call may have added more
        matches = matches[met[matches]]
        ids = self._catalogue.ids
        start = bisect_right(matches, after, key=ids.__getitem__) if after else 0
        rows = matches[start : start + size].tolist()
        return Page(rows, ids[rows[-1]] if start + size < len(matches) else None, len(matches))

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

    def _add_new_rows(self, rows: int) -> None:
        known = len(self._rows)
        if rows > known:  # sorting is cheap: all but the end is in order already
            ids = self._catalogue.ids
            self._rows = np.array(sorted([*self._rows.tolist(), *range(known, rows)], key=ids.__getitem__), np.int64)


def token(last: str | None, query: bytes) -> str:
    """The token of the next page; empty where none follows.

    Args:
        query: what is listed; the token is refused with another query.
    """
    if last is None:
        return ""
    return base64.urlsafe_b64encode(_sum(last.encode(), query) + last.encode()).decode().rstrip("=")


def last_of(page_token: str, query: bytes) -> str:
    """The last entry of the page before; empty for the first page.

    Raises:
        BadRequest: the token is not one of this query.
    """
    if not page_token:
        return ""
    try:
        content = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        if content[4:] and content[:4] == _sum(content[4:], query):
            return content[4:].decode()
    except ValueError:
        pass
    raise BadRequest("page_token", "not a token of this query and filter; leave it empty for the first page")


def _sum(last: bytes, query: bytes) -> bytes:
    return zlib.crc32(query + b"\0" + last).to_bytes(4, "big")
