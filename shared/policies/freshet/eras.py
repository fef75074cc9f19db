"""Popularity as it was when each transition happened, for the encoder to learn beside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Most numbers that all eras together may hold; beyond, every second era goes.
MOST_NUMBERS = 8_000_000


class PopularityEras:
    """Log-popularity as it was when each transition happened, which the cross-entropy head is trained to add to.

    A snapshot every so many transitions, thinned out as the catalogue grows.
    """

    def __init__(self) -> None:
        self._serials: list[int] = []  # ascending
        self._snapshots: list[NDArray[np.float32]] = []  # (A at that time,) each

    def note(self, serial: int, log_popularity: NDArray[np.float32], *, oldest: int) -> None:
        """Keep what holds from transition `serial` on; transitions before `oldest` will not be asked for again."""
        self._serials.append(serial)
        self._snapshots.append(log_popularity)
        while len(self._serials) > 1 and self._serials[1] <= oldest:
            del self._serials[0], self._snapshots[0]
        while len(self._serials) > 2 and len(self._serials) * len(log_popularity) > MOST_NUMBERS:
            del self._serials[1::2], self._snapshots[1::2]

    def of(self, serials: NDArray[np.int64], rows: NDArray[np.int64] | None, products: int) -> NDArray[np.float32]:
        """Log-popularity of products when each transition happened.

        A product that came after the snapshot counts as the least popular one of its time.

        Args:
            serials: (B,)
            rows: (C,) products wanted; None: all.
            products: A

        Returns:
            (B, C)
        """
        eras = np.maximum(np.searchsorted(self._serials, serials, side="right") - 1, 0)
        result = np.empty((len(serials), products if rows is None else len(rows)), np.float32)
        for era in np.unique(eras):
            snapshot = self._snapshots[era]
            values = np.full(products, snapshot.min(initial=0.0), np.float32)
            values[: len(snapshot)] = snapshot
            result[eras == era] = values if rows is None else values[rows]
        return result

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a checkpoint."""
        return {
            "serials": np.array(self._serials, np.int64),
            "lengths": np.array([len(s) for s in self._snapshots], np.int64),
            "values": np.concatenate(self._snapshots or [np.zeros(0, np.float32)]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> PopularityEras:
        """What `to_arrays` gave."""
        eras = cls()
        eras._serials = arrays["serials"].tolist()
        ends = np.cumsum(arrays["lengths"])
        eras._snapshots = [arrays["values"][a:b].copy() for a, b in zip(ends - arrays["lengths"], ends, strict=True)]
        return eras
