"""Functions compiled to machine code by numba, with what all of them have in common.

Whoever imports this imports numba (0.3 s, 70 MB): only what folds or scores may.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar, cast

import numba

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result", covariant=True)


class CompiledFunction(Protocol[Parameters, Result]):
    """A function's compiled form, called as the function is."""

    @property
    def py_func(self) -> Callable[Parameters, Result]:
        """The function as Python runs it: what a test compares with."""

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result: ...


def compiled(function: Callable[Parameters, Result]) -> CompiledFunction[Parameters, Result]:
    """Compile a function at its first call with arguments of each type, and keep the machine code beside its source.

    It runs without the lock of the interpreter. It may call other compiled functions, and nothing else but numpy and
    what numba knows of the standard library. Sums keep the order they are written in (no `fastmath`), so that they
    repeat bit for bit; what is divided by 0 is infinite or not a number, as in numpy; and no index is checked: one out
    of bounds reads or writes what lies there. A global that it reads is a constant, as it was when it was compiled.
    """
    return cast(
        "CompiledFunction[Parameters, Result]",
        numba.njit(function, cache=True, nogil=True, error_model="numpy", fastmath=False, boundscheck=None),
    )
