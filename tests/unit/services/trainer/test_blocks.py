"""Arrays in blocks: what comes back is what was packed, and nothing is packed twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.trainer.blocks import BLOCK, MOST_PACKS, Blocks, Placed, pack, unpack

DTYPES = ("<f4", "<f8", "<i8", "|u1", "<f2")


def unpacked(placed: Placed, packs: dict[int, Blocks]) -> dict[str, NDArray[Any]]:
    forms = {name: (array.dtype.str, array.shape) for name, array in placed.arrays.items()}
    return unpack(forms, np.concatenate([*placed.places.values()]), {n: packs[n] for n in placed.packs})


def same(arrays: dict[str, NDArray[Any]], others: dict[str, NDArray[Any]]) -> bool:
    return list(arrays) == list(others) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(arrays.values(), others.values(), strict=True)
    )


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"),
            st.tuples(st.sampled_from(DTYPES), st.integers(0, 3 * BLOCK), st.integers(1, 3)),
            min_size=1,
        ),
        min_size=1,
        max_size=2 * MOST_PACKS,
    ),
    st.integers(0, 2**32 - 1),
)
def test_what_comes_back_is_what_was_packed_whatever_changed(
    turns: list[dict[str, tuple[str, int, int]]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    placed: Placed | None = None
    packs: dict[int, Blocks] = {}
    for number, forms in enumerate(turns):
        arrays: dict[str, NDArray[Any]] = {"always": np.arange(5000.0), "one": np.array(number, np.float32)}
        for name, (dtype, rows, columns) in forms.items():
            array = rng.integers(0, 2, (rows, columns)).astype(dtype)
            if placed is not None and name in placed.arrays and rng.random() < 0.7:  # a few changes, or it grows
                array = placed.arrays[name].copy()
                array.reshape(-1)[rng.integers(0, max(1, array.size), 2 if array.size else 0)] = 1
                if rng.random() < 0.5:
                    array = np.concatenate([array, array])
            arrays[name] = array
        placed, new = pack(arrays, number, placed)
        packs[number] = np.concatenate(new)
        assert len(placed.packs) <= MOST_PACKS
        assert same(unpacked(placed, packs), arrays)


def test_only_what_changed_is_packed() -> None:
    arrays = {"large": np.zeros((40, BLOCK), np.uint8), "small": np.zeros(3, np.int64)}
    first, new = pack(arrays, 1, None)
    assert sum(map(len, new)) == 41
    arrays = {name: array.copy() for name, array in arrays.items()}
    arrays["large"][7, 5] = arrays["large"][9, 4095] = 1
    second, new = pack(arrays, 2, first)
    assert [block.any() for block in np.concatenate(new)] == [True, True]
    assert (first.packs, second.packs) == ({1}, {1, 2})
    third, new = pack(dict(arrays), 3, second)
    assert sum(map(len, new)) == 0
    assert third.packs == {1, 2}


def test_what_lies_in_the_oldest_of_too_many_packs_is_packed_again() -> None:
    array, placed, written = np.zeros((40, BLOCK), np.uint8), None, []
    for turn in range(MOST_PACKS + 3):  # each changes another block
        array = array.copy()
        array[turn] = 1
        placed, new = pack({"a": array}, turn, placed)
        written.append(sum(map(len, new)))
        assert len(placed.packs) == min(turn + 1, MOST_PACKS)
    first_again = 40 - (MOST_PACKS - 1)
    assert written == [40, *[1] * (MOST_PACKS - 1), first_again, 2, 2]


def test_places_that_are_not_those_of_the_arrays_are_refused() -> None:
    placed, new = pack({"a": np.arange(3)}, 1, None)
    places, packs = placed.places["a"], {1: np.concatenate(new)}
    for forms in ({"a": ("<i8", (3,)), "b": ("<i8", (3,))}, {"a": ("|O", (3,))}):
        with pytest.raises(ValueError, match="1 blocks are not those of arrays of"):
            unpack(forms, places, packs)
    with pytest.raises(IndexError):
        unpack({"a": ("<i8", (3,))}, places + np.array([0, 1]), packs)
