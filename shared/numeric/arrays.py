"""Arrays that grow by doubling, and dictionaries of arrays that share one file under prefixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Value = TypeVar("Value")


def capacity(have: int, rows: int) -> int:
    """How many rows to make room for where `have` fit and `rows` must: at least twice as many, so that growing row by
    row copies each row twice on average.
    """
    return have if rows <= have else max(2 * have, rows)


def grown(array: NDArray[Scalar], rows: int, fill: Any = 0, *, axis: int = 0) -> NDArray[Scalar]:
    """An array with room for `rows` along `axis`: the same one where it has it, else a larger copy, padded with `fill`.

    See `capacity` for how large.
    """
    have = array.shape[axis]
    if rows <= have:
        return array
    shape = (*array.shape[:axis], capacity(have, rows), *array.shape[axis + 1 :])
    larger = np.zeros(shape, array.dtype) if not fill else np.full(shape, fill, array.dtype)
    larger[(*(slice(None),) * axis, slice(0, have))] = array
    return larger


def with_prefix(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """The same values, each under its name behind `prefix`."""
    return {f"{prefix}{name}": value for name, value in values.items()}


def without_prefix(prefix: str, values: Mapping[str, Value]) -> dict[str, Value]:
    """What `with_prefix` was given: the values whose names begin with `prefix`, under the rest of these names."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
