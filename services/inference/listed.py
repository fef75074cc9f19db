"""What the products topic says exists, across restarts: the one thing that compaction can hide from a reader."""

from __future__ import annotations

from collections.abc import Iterable


class Listed:
    """Which products the topic holds and which it said were removed.

    The topic is read whole at each start. A removal that happened while nobody read may be gone from it by then
    (compaction drops it after `delete.retention.ms`), so what a snapshot lists and the topic holds no more was removed.

    Args:
        before: ids that a snapshot lists.
        removed: ids that it says were removed.
    """

    def __init__(self, before: Iterable[str] = (), removed: Iterable[str] = ()) -> None:
        self.now: set[str] = set()
        self.removed = set(removed)
        self._before = set(before)

    def upsert(self, product_id: str) -> None:
        """The topic holds the product."""
        self.now.add(product_id)
        self.removed.discard(product_id)

    def remove(self, product_id: str) -> None:
        """The topic says that it was removed."""
        self.now.discard(product_id)
        self.removed.add(product_id)

    def vanished(self) -> set[str]:
        """Called once the topic was read to its end: what was removed unseen, given once."""
        gone = self._before - self.now - self.removed
        self._before = set()
        self.removed |= gone
        return gone
