"""The products known, as rows: from the products topic, from states, and from model versions."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray


class Catalogue:
    """product_id ↔ row, append-only, and which rows must not be recommended.

    Any thread may give products rows (a version is loaded beside the event loop); all else belongs to the event loop.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []  # row → product_id
        self._rows: dict[str, int] = {}
        self._lock = threading.Lock()  # two threads must not give two rows to one product
        self._removed: set[int] = set()
        self._unavailable: set[int] = set()
        self._blocked: NDArray[np.int32] | None = None  # both, until one changes

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known(self) -> int:
        """Products that exist: seen, and not removed."""
        return len(self.ids) - len(self._removed)

    def find(self, product_id: str) -> int | None:
        """The product's row, None when it has none."""
        return self._rows.get(product_id)

    def row_of(self, product_id: str) -> int:
        """The product's row; a new one when it has none."""
        row = self._rows.get(product_id)
        if row is not None:
            return row
        with self._lock:
            row = self._rows.get(product_id)
            if row is None:
                row = len(self.ids)
                self.ids.append(product_id)
                self._rows[product_id] = row
        return row

    def upsert(self, product_id: str, *, unavailable: bool) -> None:
        """Know the product, removed before or not."""
        row = self.row_of(product_id)
        self._removed.discard(row)
        if unavailable:
            self._unavailable.add(row)
        else:
            self._unavailable.discard(row)
        self._blocked = None

    def remove(self, product_id: str) -> None:
        """Forget the product until it is upserted anew; a later event alone does not bring it back."""
        row = self.row_of(product_id)  # its events may come, or may have to be read, after its removal
        self._unavailable.discard(row)
        self._removed.add(row)
        self._blocked = None

    def blocked(self) -> NDArray[np.int32]:
        """Rows that must not be recommended to anybody: removed or unavailable."""
        if self._blocked is None:
            self._blocked = np.array(sorted(self._removed | self._unavailable), np.int32)
        return self._blocked
