"""Arrays that grow, and dictionaries of arrays under prefixes, by values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shared.numeric.arrays import capacity, grown, with_prefix, without_prefix


@pytest.mark.parametrize(
    ("have", "rows", "room"), [(4, 0, 4), (4, 4, 4), (4, 5, 8), (4, 8, 8), (4, 9, 9), (0, 1, 1), (0, 0, 0)]
)
def test_room_at_least_doubles_and_holds_what_is_asked(have: int, rows: int, room: int) -> None:
    assert capacity(have, rows) == room


def test_an_array_with_room_is_the_same_one() -> None:
    array = np.array([1, 2, 3], np.int32)
    assert grown(array, 3) is array
    assert grown(array, 1) is array


def test_a_larger_copy_keeps_values_and_type_and_is_padded() -> None:
    array = np.array([1, 2, 3], np.int32)
    larger = grown(array, 4)
    assert (larger.tolist(), larger.dtype) == ([1, 2, 3, 0, 0, 0], np.int32)
    assert grown(array, 7, fill=-1).tolist() == [1, 2, 3, -1, -1, -1, -1]
    larger[0] = 9
    assert array.tolist() == [1, 2, 3], "a copy"
    prices = grown(np.array([0.5]), 2, fill=np.nan)
    assert prices[0] == 0.5
    assert np.isnan(prices[1])
    assert grown(np.ones(1, np.bool_), 2).tolist() == [True, False]


def test_rows_keep_their_shape_whichever_axis_grows() -> None:
    array = np.array([[1, 2], [3, 4]], np.uint8)
    assert grown(array, 3).tolist() == [[1, 2], [3, 4], [0, 0], [0, 0]]
    assert grown(array, 3, axis=1).tolist() == [[1, 2, 0, 0], [3, 4, 0, 0]]
    assert grown(array[:, None, :], 3, fill=7, axis=2).tolist() == [[[1, 2, 7, 7]], [[3, 4, 7, 7]]]


def test_growing_row_by_row_copies_seldom() -> None:
    array, copies = np.zeros(1), 0
    for rows in range(1, 1001):
        larger = grown(array, rows)
        copies += larger is not array
        array = larger
    assert (copies, len(array)) == (10, 1024)


def test_dictionaries_share_one_under_prefixes() -> None:
    both = with_prefix("a/", {"x": 1, "a/y": 2}) | with_prefix("ab/", {"x": 3}) | {"a": 4}
    assert both == {"a/x": 1, "a/a/y": 2, "ab/x": 3, "a": 4}
    assert without_prefix("a/", both) == {"x": 1, "a/y": 2}, "the prefix is taken off once"
    assert without_prefix("ab/", both) == {"x": 3}
    assert without_prefix("c/", both) == {}
