"""One value of a request, from JSON or from a URL. Pure; every refusal names the field."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from shared.errors import BadRequest

INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
SHOWN = 80  # characters of what is wrong that a message repeats
WIDE = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)


def parsed(text: str, field: FieldDescriptor) -> Any:
    """What the text would be in JSON; the text itself where it is none."""
    if field.cpp_type in (
        FieldDescriptor.CPPTYPE_STRING,
        FieldDescriptor.CPPTYPE_ENUM,
        FieldDescriptor.CPPTYPE_MESSAGE,
    ):
        return text
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    if re.fullmatch(r"-?[0-9]{1,20}", text):
        return int(text)
    if re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", text):
        return float(text)
    return text


def scalar(value: Any, field: FieldDescriptor, at: str) -> Any:
    """What a field that is no message is set to.

    Raises:
        BadRequest: it is of another type, or out of its range.
    """
    if field.enum_type is not None:
        names = field.enum_type.values_by_name
        if isinstance(value, str) and value in names:
            return names[value].number
        raise BadRequest(at, f"one of {', '.join(names)}, got {shown(value)}")
    if field.cpp_type in INTEGERS:
        return _integer(value, field, at)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if isinstance(value, bool):
            return value
        raise BadRequest(at, f"true or false, got {shown(value)}")
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _text(value, at)
    if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
        return float(value)
    raise BadRequest(at, f"a finite number, got {shown(value)}")


def _integer(value: Any, field: FieldDescriptor, at: str) -> int:
    least, most = INTEGERS[field.cpp_type]
    if field.cpp_type in WIDE and isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise BadRequest(at, f"a whole number, {least} to {most}, got {shown(value)}")


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(at, f"a string, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(at, "holds half of a surrogate pair, which is no character") from None
    return value


def mask(value: Any, at: str) -> list[str]:
    """The paths of a FieldMask; protobuf's JSON has them as one string with commas, and none as the empty string."""
    text = _text(value, at)
    paths = text.split(",") if text else []
    for path in paths:
        if not re.fullmatch(r"[a-z][A-Za-z0-9_.]*", path):
            raise BadRequest(at, f"names of fields with commas between them, as title,price; got {shown(value)}")
    return [re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", path) for path in paths]  # listedMs, too


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def shown(value: Any) -> str:
    """A value in a message, short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
