"""Arrays in blocks, of which each checkpoint writes those that changed since the one before. Pure.

Blocks lie in packs, one for each checkpoint, which never change once written: a checkpoint consists of its own pack and
of the earlier ones that hold the rest.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.uint8]  # (N, BLOCK)

BLOCK = 4096  # bytes
# A checkpoint consists of so many packs at most: what lies in older ones is written again. So of blocks that nothing
# refers to any more the disk holds no more than so many checkpoints wrote.
MOST_PACKS = 16


class Placed(NamedTuple):
    """Arrays, and where their blocks lie."""

    arrays: dict[str, NDArray[Any]]
    places: dict[str, NDArray[np.int64]]  # array → (n, 2) of each block: its pack, and its number there

    @property
    def packs(self) -> set[int]:
        """The packs that hold them."""
        return {int(pack) for places in self.places.values() for pack in np.unique(places[:, 0])}


def pack(arrays: dict[str, NDArray[Any]], number: int, before: Placed | None) -> tuple[Placed, list[Blocks]]:
    """Place arrays, and the blocks of the new pack, in order: those that differ from what lies in earlier ones.

    Args:
        arrays: not to be changed any more.
        number: of the new pack.
        before: what the earlier packs hold; None: there are none to refer to.
    """
    usable = sorted(before.packs)[-(MOST_PACKS - 1) :] if before else []
    places: dict[str, NDArray[np.int64]] = {}
    new: list[Blocks] = []
    count = 0
    for name, array in arrays.items():
        content = _bytes(array)
        places[name] = of_array = np.full((_count(len(content)), 2), number, np.int64)
        changed = np.ones(len(of_array), np.bool_)
        if before is not None and name in before.arrays:
            same = _same(content, _bytes(before.arrays[name]))
            earlier = before.places[name][: len(same)]
            same &= np.isin(earlier[:, 0], usable)
            of_array[: len(same)][same] = earlier[same]
            changed[: len(same)] = ~same
        added = _chosen(content, changed)
        of_array[changed, 1] = np.arange(count, count + len(added))
        new.append(added)
        count += len(added)
    return Placed(arrays, places), new


def unpack(
    forms: Mapping[str, tuple[str, Collection[int]]], places: NDArray[np.int64], packs: Mapping[int, Blocks]
) -> dict[str, NDArray[Any]]:
    """The arrays that packs hold.

    Args:
        forms: array → its type and shape, in the order of the places.
        places: (N, 2) of all their blocks.

    Raises:
        ValueError: the places are not those of such arrays.
        IndexError: there is no such block.
    """
    types = {name: np.dtype(kind) for name, (kind, _) in forms.items()}
    sizes = {name: types[name].itemsize * math.prod(shape) for name, (_, shape) in forms.items()}
    strange = [name for name, dtype in types.items() if dtype.kind not in "biuf"]
    if strange or sum(map(_count, sizes.values())) != len(places):
        raise ValueError(f"{len(places)} blocks are not those of arrays of {dict(forms)}")
    blocks: Blocks = np.empty((len(places), BLOCK), np.uint8)
    for number, content in packs.items():
        here = places[:, 0] == number
        blocks[here] = content[places[here, 1]]
    arrays, begin = {}, 0
    for name, (_, shape) in forms.items():
        end = begin + _count(sizes[name])
        content = blocks[begin:end].reshape(-1)[: sizes[name]]
        arrays[name] = content.view(types[name]).reshape([*shape]).copy()
        begin = end
    return arrays


def _count(size: int) -> int:
    return -(-size // BLOCK)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """An array's bytes, (n,); shares memory with it where it can."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _same(content: NDArray[np.uint8], earlier: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which blocks are as they were, of those that both have, (n,)."""
    size = min(len(content), len(earlier))
    whole = size - size % BLOCK
    words, before = (of[:whole].view(np.uint64).reshape(-1, BLOCK // 8) for of in (content, earlier))
    same: NDArray[np.bool_] = (words == before).all(axis=1)
    if whole < size and len(content) == len(earlier):
        same = np.append(same, (content[whole:] == earlier[whole:]).all())
    return same


def _chosen(content: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> Blocks:
    """Some blocks; the last is filled up with zeros."""
    whole = len(content) // BLOCK
    blocks: Blocks = content[: whole * BLOCK].reshape(-1, BLOCK)[chosen[:whole]]
    if len(chosen) > whole and chosen[-1]:
        last = np.zeros((1, BLOCK), np.uint8)
        last[0, : len(content) - whole * BLOCK] = content[whole * BLOCK :]
        blocks = np.concatenate([blocks, last])
    return blocks
