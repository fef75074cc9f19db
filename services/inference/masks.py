"""The masks of filters asked for lately: a shop asks the same few again and again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.inference.catalogue import Catalogue
from services.inference.filters import Facts, Mask, mask_of
from shared.pb.freshet.v1 import recommender_pb2 as pb

MOST_BYTES = 64 * 2**20
KEPT_BYTES = 5  # of each product and filter


@dataclass(frozen=True, slots=True)
class _Kept:
    mask: Mask
    bars: NDArray[np.float32]
    changes: int  # of the catalogue's attributes, when it was made
    births: int
    from_ms: int

    def holds(self, catalogue: Catalogue, rows: int, now_ms: int) -> bool:
        if self.changes != catalogue.attributes.changes or len(self.mask.met) != rows:
            return False
        return not self.mask.aged or (self.births == catalogue.births and self.from_ms <= now_ms < self.mask.until_ms)


class Masks:
    """Keeps what `mask_of` gave for as long as it is right: no attribute changed, no age passed a limit."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def met(self, condition: pb.Filter, rows: int, now_ms: int) -> NDArray[np.bool_]:
        """Which of the first `rows` products meet a valid filter, (A,); not to be changed.

        Args:
            now_ms: to when ages count.
        """
        return self._of(condition, rows, now_ms).mask.met

    def bars(self, condition: pb.Filter, rows: int, now_ms: int) -> NDArray[np.float32]:
        """The same as what scores are added to: 0 for those that meet it, minus infinity for the others."""
        return self._of(condition, rows, now_ms).bars

    def _of(self, condition: pb.Filter, rows: int, now_ms: int) -> _Kept:
        key = condition.SerializeToString(deterministic=True)
        kept = self._kept.get(key)
        if kept is None or not kept.holds(self._catalogue, rows, now_ms):
            attributes = self._catalogue.attributes
            attributes.grow_to(rows)
            mask = mask_of(condition, Facts(attributes, self._catalogue.born_ms(rows), now_ms))
            bars = np.where(mask.met, np.float32(0.0), np.float32(-np.inf))
            kept = self._kept[key] = _Kept(mask, bars, attributes.changes, self._catalogue.births, now_ms)
        self._kept.move_to_end(key)
        while len(self._kept) > max(8, MOST_BYTES // max(1, KEPT_BYTES * rows)):
            self._kept.popitem(last=False)
        return kept
