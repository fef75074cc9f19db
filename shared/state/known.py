"""What is known of users and products: the one place where a state is applied to histories, tally and products.

The trainer knows it through `Stream`, inference and the evaluator follow the products topic beside it. Pure: no clock,
no log.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from shared.content.new_products import Content
from shared.pb.freshet.v1.events_pb2 import Product, StateVector
from shared.state.histories import Histories, disappoints
from shared.state.tally import Tally

# What is known of a row's product, as bits.
_HAD_EVENT, _LISTED, _HIDDEN = 1, 2, 4


class Known:
    """All users and products as the events applied so far made them.

    Attributes:
        histories: of the users.
        tally: popularity, pairs and newest users of the rows that an event gave a place; `shares` and `share` know all
            rows.
        products: those that have a row.
    """

    def __init__(self, histories: Histories, tally: Tally, products: KnownProducts) -> None:
        self.histories = histories
        self.tally = tally
        self.products = products
        self._shares: NDArray[np.float32] | None = None  # (A,) of popularity, until an event changes it

    def apply(self, state: StateVector) -> int:
        """Apply one event, which is no tick; its product's row. A guest's event is in no history."""
        product = self.products.row_of(state.product_id)
        histories = self.histories
        user = histories.row_of(state.user_id) if state.user_id else -1
        disappointed = disappoints(state)
        if disappointed:
            self.tally.grow_to(product + 1)
        else:
            self.tally.fold(state, product, histories, user)
        self.tally.rate(product, state.reward)
        if user >= 0:
            histories.apply(state, product, disappointed=disappointed)
        self.products.count(product, state.event_time_ms)
        self._shares = None
        return product

    def apply_to_history(self, state: StateVector, product: int) -> None:
        """Apply an event to its user's history and mask alone, where what else is known must stay as it is."""
        if state.user_id:
            self.histories.apply(state, product)

    def shares(self) -> NDArray[np.float32]:
        """Every product's smoothed share of the decayed count, (A,), one for each row; not to be changed."""
        products = len(self.products)
        if self._shares is None or len(self._shares) != products:
            self.tally.grow_to(products)
            self._shares = self.tally.shares()
        return self._shares

    def share(self, product: int) -> float:
        """One product's smoothed share of the decayed count, beside every product that has a row."""
        self.tally.grow_to(len(self.products))
        return self.tally.share(product)

    def resume(self, histories: Histories, tally: Tally) -> None:
        """Go on from what was known once, in the rows of products that are as they were."""
        self.histories, self.tally, self._shares = histories, tally, None


class KnownProducts:
    """product_id ↔ row, append-only, and what events and the shop's listings say of each product.

    Any thread may give products rows; all else belongs to the thread that applies.

    Attributes:
        ids: row → product_id.
        rows: product_id → row; `row_of` alone adds to it.
        content: what the listings say products are, and how many events these have, up to a bound; None: nobody asks.
        seen: products with an event, or listed.
    """

    def __init__(self, content: Content | None = None) -> None:
        self.ids: list[str] = []
        self.rows: dict[str, int] = {}
        self.content = content
        self.seen = 0
        self._bits = bytearray()  # by row
        self._left_out: dict[int, None] = {}  # rows that `not_recommended` gives
        self._not_recommended: NDArray[np.int32] | None = None  # the same as an array, until they change
        self._hidden_rows: NDArray[np.int32] | None = None  # until they change
        self._lock = threading.Lock()  # two threads must not give two rows to one product

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, product_id: str) -> int | None:
        """The product's row, None when it has none."""
        return self.rows.get(product_id)

    def row_of(self, product_id: str) -> int:
        """The product's row; a new one when it has none, which alone does not make it known."""
        row = self.rows.get(product_id)
        if row is not None:
            return row
        with self._lock:
            row = self.rows.get(product_id)
            if row is None:
                row = len(self.ids)
                self._left_out[row] = None
                self._not_recommended = None
                self._bits.append(0)
                self._add_row(product_id)
                self.ids.append(product_id)  # last: a thread that sees the id finds the rest
                self.rows[product_id] = row
        return row

    def had_event(self, row: int) -> bool:
        """Whether an event of the product was applied."""
        return bool(self._bits[row] & _HAD_EVENT)

    def is_seen(self, row: int) -> bool:
        """Whether the product had an event or is listed."""
        return bool(self._bits[row] & (_HAD_EVENT | _LISTED))

    def events_seen(self) -> NDArray[np.uint8]:
        """Of each row, 1 where an event of its product was applied, else 0, (A,)."""
        return np.frombuffer(bytes(self._bits), np.uint8) & np.uint8(_HAD_EVENT)

    def not_recommended(self) -> NDArray[np.int32]:
        """Rows of products that are hidden, or neither had an event nor are listed, each once; not to be changed."""
        if self._not_recommended is None:
            self._not_recommended = np.array([*self._left_out], np.int32)
        return self._not_recommended

    def hidden_rows(self) -> NDArray[np.int32]:
        """Rows of products that are removed or unavailable, each once, ascending; not to be changed."""
        if self._hidden_rows is None:
            bits = np.frombuffer(bytes(self._bits), np.uint8)
            self._hidden_rows = np.flatnonzero(bits & np.uint8(_HIDDEN)).astype(np.int32)
        return self._hidden_rows

    def upsert(self, product: Product) -> None:
        """Know a product from now on, removed before or not; one that is unavailable is hidden."""
        row = self.row_of(product.product_id)
        self._set(row, _LISTED)
        self._describe(row, product, hidden=product.unavailable)

    def remove(self, product_id: str) -> None:
        """Hide the product until it is upserted anew; a later event alone does not bring it back."""
        # Its events may come, or may have to be read, after its removal.
        self._describe(self.row_of(product_id), Product(), hidden=True)

    def count(self, row: int, event_time_ms: int) -> None:  # noqa: ARG002  # some keep the earliest
        """An event of the product was applied."""
        if not self._bits[row] & _HAD_EVENT:
            self._set(row, _HAD_EVENT)
        if self.content is not None:
            self.content.count(row)

    def resume(self, events_seen: NDArray[np.integer]) -> None:
        """Take back which of the first rows' products had events: those that are not 0."""
        for row in np.flatnonzero(events_seen).tolist():
            self._set(row, _HAD_EVENT)

    def _add_row(self, product_id: str) -> None:
        """Make room for what else is known of one product more; the lock is held."""

    def _describe(self, row: int, product: Product, *, hidden: bool) -> None:
        """Take what the shop says of a row's product; nothing, where it was removed."""
        bits = self._bits[row]
        if hidden:
            self._bits[row] = bits | _HIDDEN
            self._left_out[row] = None
        else:
            self._bits[row] = bits & ~_HIDDEN
            self._left_out.pop(row, None)
        self._not_recommended = self._hidden_rows = None
        if self.content is not None:
            self.content.put(row, product)

    def _set(self, row: int, bit: int) -> None:
        bits = self._bits[row]
        self._bits[row] = bits | bit
        if not bits & (_HAD_EVENT | _LISTED):
            self.seen += 1
            if not bits & _HIDDEN:
                self._left_out.pop(row, None)
                self._not_recommended = None
