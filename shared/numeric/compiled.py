"""Functions compiled to machine code by numba: the options they have in common, their types, where the code is kept.

Whoever imports this imports numba (0.2 s, 70 MB): only what folds or scores may. `python -m shared.numeric.compiled`
compiles all that this installation can run, so that no service has to; `make install` and the images do so.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Annotated, Any, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar, cast, get_args, get_type_hints

import numba
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, InTreeCacheLocator
from numba.core.cgutils import get_or_insert_function, int32_t, ir, voidptr_t
from numba.core.dispatcher import Dispatcher
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]  # the folder that holds `shared`
OURS = ("shared", "services")
MARK = re.compile(r"^@compiled$", re.MULTILINE)
log = logging.getLogger("compiled")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result", covariant=True)
Scalar = TypeVar("Scalar", bound=np.generic)


class Form(NamedTuple):
    """What a compiled function must know of an array beside its numbers' type. All are in C order, without gaps."""

    dimensions: int
    writable: bool = True


# What parameters are annotated with, as in `Matrix[np.float32]`. The latter two are only read, and take both kinds.
Vector: TypeAlias = Annotated[NDArray[Scalar], Form(1)]
Matrix: TypeAlias = Annotated[NDArray[Scalar], Form(2)]
ReadOnlyVector: TypeAlias = Annotated[NDArray[Scalar], Form(1, writable=False)]
ReadOnlyMatrix: TypeAlias = Annotated[NDArray[Scalar], Form(2, writable=False)]


class CompiledFunction(Protocol[Parameters, Result]):
    """A function's compiled form, called as the function is."""

    @property
    def py_func(self) -> Callable[Parameters, Result]:
        """The function as Python runs it: what a test compares with."""

    @property
    def unchecked(self) -> Callable[Parameters, Result]:
        """The compiled form without a look at the types, which takes longer than all else where a tuple holds arrays:
        for callers whose arrays can be of no other type. Where an annotation leaves a type open, there is none.
        """

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result: ...


def compiled(function: Callable[Parameters, Result]) -> CompiledFunction[Parameters, Result]:
    """Compile a function for the types of its annotations, or load it from where it is kept.

    It takes exactly these types: other arrays raise a TypeError. Where an annotation leaves a type open, as `NDArray`
    does with the dimensions, each call with new types compiles anew; that is for what only compiled functions call.

    It runs without the interpreter's lock. It may call other compiled functions, and nothing else but numpy and what
    numba knows of Python. Sums keep the order in which they are written (no `fastmath`), so that they repeat bit for
    bit; what is divided by 0 is infinite or not a number, as in numpy; and no index is checked: one out of bounds reads
    or writes what lies there. A global that it reads is a constant.
    """
    dispatcher = numba.njit(function, nogil=True, error_model="numpy", fastmath=False, boundscheck=False)
    dispatcher._cache = _CacheBesideSource(function)  # as `cache=True` sets numba's own
    types = _parameter_types(cast("FunctionType", function))
    if types is not None:
        dispatcher.unchecked = dispatcher.compile(types)
        dispatcher.disable_compile()
    return cast("CompiledFunction[Parameters, Result]", dispatcher)


def prefetch(array: NDArray[Any], n: int) -> None:
    """Let the processor fetch what lies at number `n` of an array, in C order, while it goes on; a hint, in what is
    compiled alone. Whoever is to read many places that are far apart waits for all of them together, not for each.
    """


@overload(prefetch)
def _compiled_prefetch(array, n):  # type: ignore[no-untyped-def]  # noqa: ARG001  # numba compares names and annotations
    return lambda array, n: _prefetch(array, n)


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(_: Any, array: Any, n: Any) -> Any:  # noqa: ARG001  # numba gives its type
    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        numbers = context.make_array(signature.args[0])(context, builder, values[0]).data
        place = builder.bitcast(builder.gep(numbers, [values[1]]), voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [voidptr_t, int32_t, int32_t, int32_t])
        hint = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(hint, [place, int32_t(0), int32_t(3), int32_t(1)])  # to read it, more than once, and no code
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.intp), code


def _parameter_types(function: Callable[..., Any]) -> tuple[Any, ...] | None:
    """numba's types of the parameters; None where one is open."""
    hints = get_type_hints(function, include_extras=True)
    types = [_numba_type(hints.get(name)) for name in inspect.signature(function).parameters]
    return None if None in types else tuple(types)


def _numba_type(hint: Any) -> Any:
    """numba's type for an annotation: of a number, an array with a form, or a named tuple of such; None if open."""
    if hint in (bool, int, float) or (isinstance(hint, type) and issubclass(hint, np.generic)):
        return numba.from_dtype(np.dtype(hint))
    form = next((form for form in getattr(hint, "__metadata__", ()) if isinstance(form, Form)), None)
    if form is not None:
        numbers = numba.from_dtype(np.dtype(get_args(get_args(hint.__origin__)[1])[0]))
        return numba.types.Array(numbers, form.dimensions, "C", readonly=not form.writable)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = get_type_hints(hint, include_extras=True)
        fields = [_numba_type(hints.get(name)) for name in hint._fields]
        return None if None in fields else numba.types.BaseTuple.from_types(fields, hint)
    return None


class _BesideSource(InTreeCacheLocator):  # type: ignore[misc]  # numba has no types
    """Where a function's machine code is kept: in `__pycache__` beside its source, or in $NUMBA_CACHE_DIR.

    numba's own locator takes a folder only if it can be written to.
    """

    def __init__(self, function: FunctionType, file: str) -> None:
        super().__init__(function, file)
        if config.CACHE_DIR:
            self._cache_path = str(Path(config.CACHE_DIR, self.get_suitable_cache_subpath(file)))

    @classmethod
    def from_function(cls, function: FunctionType, file: str) -> _BesideSource:
        return cls(function, file)

    def get_disambiguator(self) -> str:
        return ""  # numba's is the line, and each move of a function would leave its old code behind

    def ensure_cache_path(self) -> None:
        Path(self._cache_path).mkdir(parents=True, exist_ok=True)


class _PlaceBesideSource(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_BesideSource,)


class _CacheBesideSource(FunctionCache):  # type: ignore[misc]
    """Machine code is good for as long as nothing has changed that it was made of.

    numba's own cache looks at the function's file alone, not at the constants and functions that it uses from others.
    Where machine code can't be kept, the function works all the same, and is compiled at each start.
    """

    _impl_class = _PlaceBesideSource

    def load_overload(self, signature: Any, target: Any) -> Any:
        # Not before: a function may call one that is defined below it. The version is compared before anything is
        # unpickled, so that what names a type that has gone since is stale and no error.
        stamp = made_of(self._py_func)
        self._cache_file._source_stamp, self._cache_file._version = stamp, f"{numba.__version__} {stamp}"
        return super().load_overload(signature, target)

    def save_overload(self, signature: Any, result: Any) -> None:
        try:
            super().save_overload(signature, result)
        except OSError as error:
            _warn_not_kept(str(self.cache_path), error.strerror)


@cache  # once per folder
def _warn_not_kept(folder: str, why: str | None) -> None:
    log.warning(
        "functions are compiled anew at each start, since %s can't keep them: %s; see NUMBA_CACHE_DIR and "
        "NUMBA_CPU_NAME in docs/deployment.md",
        folder,
        why,
    )


def made_of(function: FunctionType) -> str:
    """A hash of all that a function's machine code is made of: how it is compiled, the files that it and the functions
    it calls stand in, and the constants that they read.
    """
    parts = {f"{config.BOUNDSCHECK} {_hash(__file__)}", *_parts(function, set())}
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _parts(function: FunctionType, seen: set[FunctionType]) -> Iterator[str]:
    if function in seen:
        return
    seen.add(function)
    yield _hash(function.__code__.co_filename)
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        if isinstance(value, Dispatcher):
            yield from _parts(value.py_func, seen)
        elif isinstance(value, np.ndarray):
            yield f"{name} {value.dtype} {value.shape} {value.tobytes().hex()}"
        elif isinstance(value, bool | int | float | str | bytes | tuple | np.generic):
            yield f"{name} {value!r}"
        elif value is not None:  # a module that holds constants, or a type
            module = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", ""))
            file = getattr(module, "__file__", None)
            if module is not None and file and _package(module.__name__) in {"shared", _package(function.__module__)}:
                yield f"{name} {_hash(file)}"


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _package(module: str) -> str:
    return module.partition(".")[0]


@cache
def _hash(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def modules() -> list[str]:
    """The modules with compiled functions."""
    paths = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if MARK.search(path.read_text())]


def compile_all() -> int:
    """Import each module with compiled functions, print how many had to be compiled; the exit status."""
    began = time.perf_counter()
    functions: dict[int, Any] = {}
    for name in modules():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if _package(str(error.name)) in OURS:
                raise
            print(f"{name}: left out, since {error.name} is not installed")
            continue
        functions |= {id(value): value for value in vars(module).values() if isinstance(value, Dispatcher)}
    new = sum(sum(function.stats.cache_misses.values()) for function in functions.values())
    kept = sum(sum(function.stats.cache_hits.values()) for function in functions.values())
    print(f"compiled functions: {new} new, {kept} kept from before, {time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    from shared.numeric import compiled as this  # the module that those with compiled functions import

    sys.exit(this.compile_all())
