"""`--set POLICY.OPTION=VALUE`: what a policy's constructor is told."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.policies.registry import class_of
from shared.process.errors import Unusable

# What `freshet evaluate` can be asked for, as the command line and what runs it both know it.

PROTOCOLS = ("prequential", "temporal", "leave-one-out")
VARIANTS = ("strict", "all-but-last")  # of leave-one-out
NEW_PRODUCTS = ("unlisted", "listed", "placed")
LONG_HISTORY = 50  # events of a user that make the state in leave-one-out; elsewhere as the shop has it


def arguments_of(policy: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments for a policy's class.

    An option is one of these, a field of one (`whole.most`), or a field of the argument `settings`.

    Raises:
        Unusable: it has no such option, or refuses the value.
    """
    constructor = class_of(policy).__init__
    parameters = inspect.signature(constructor).parameters
    known = [name for name, own in parameters.items() if own.kind is inspect.Parameter.KEYWORD_ONLY]
    found: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    try:
        for option, value in options.items():
            name, _, field = option.partition(".")
            if field and dataclasses.is_dataclass(default := found.get(name, _default(parameters, name))):
                found[name] = dataclasses.replace(default, **{field: value})  # type: ignore[type-var]  # no class
            elif name in known and not field:
                found[name] = _checked(constructor, policy, name, value)
            elif "settings" in known and not field:
                fields[option] = value
            else:
                raise Unusable(f"--set {policy}.{option}: there is no such option; {_told(policy, known)}")
        if fields:
            settings = next(kind for kind in _kinds(constructor, "settings") if kind is not type(None))
            if unknown := [name for name in fields if name not in settings.model_fields]:
                there_are = ", ".join(settings.model_fields)
                raise Unusable(f"--set {policy}.{unknown[0]}: there is no such option; there are {there_are}")
            found["settings"] = settings(**fields)
    except ValidationError as error:
        wrong = error.errors()[0]
        option = ".".join(map(str, wrong["loc"]))
        raise Unusable(f"--set {policy}.{option}={wrong['input']}: {wrong['msg']}") from error
    except (TypeError, ValueError) as error:
        raise Unusable(f"--set {policy}: {error}") from error
    return found


def _checked(constructor: Any, policy: str, name: str, value: Any) -> Any:
    try:
        return TypeAdapter(typing.get_type_hints(constructor)[name]).validate_python(value)
    except ValidationError as error:
        raise Unusable(f"--set {policy}.{name}={value}: {error.errors()[0]['msg']}") from error


def _told(policy: str, known: list[str]) -> str:
    return f"there are {', '.join(known)}" if known else f"{policy} has none"


def _default(parameters: Mapping[str, inspect.Parameter], name: str) -> Any:
    return parameters[name].default if name in parameters else None


def _kinds(constructor: Any, name: str) -> tuple[Any, ...]:
    """The types that an argument may be of."""
    hint = typing.get_type_hints(constructor)[name]
    return typing.get_args(hint) or (hint,)
