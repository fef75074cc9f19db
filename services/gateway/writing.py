"""A response message as JSON: protobuf's own JSON with the proto's names, and with what is empty or 0. Pure.

It is json_format.MessageToDict with preserving_proto_field_name and always_print_fields_with_no_presence, and faster
since each kind's fields are looked up once. One thing differs: a product beside a recommendation
has the fields that were asked for, so what is not set there is left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.gateway.values import WIDE
from shared.pb.freshet.v1.recommender_pb2 import RecommendedProduct

PARTIAL = RecommendedProduct.DESCRIPTOR.fields_by_name["product"].full_name

_Write = Callable[[Any], Any]
_AS_IT_IS = (
    FieldDescriptor.CPPTYPE_BOOL,
    FieldDescriptor.CPPTYPE_STRING,
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_UINT32,
)


def to_json(message: Message) -> bytes:
    """The message on one line."""
    return json.dumps(to_dict(message), ensure_ascii=False, separators=(",", ":")).encode()


def to_dict(message: Message) -> dict[str, Any]:
    """The message as what json takes."""
    shown: dict[str, Any] = {}
    for name, repeated, presence, write in _fields(message.DESCRIPTOR):
        if repeated:
            shown[name] = [write(value) for value in getattr(message, name)]
        elif not presence or message.HasField(name):
            shown[name] = write(getattr(message, name))
    return shown


def _partial(message: Message) -> dict[str, Any]:
    """Of a message, the fields that are set."""
    writers = {name: (repeated, write) for name, repeated, _, write in _fields(message.DESCRIPTOR)}
    shown = {}
    for field, value in message.ListFields():
        repeated, write = writers[field.name]
        shown[field.name] = [write(one) for one in value] if repeated else write(value)
    return shown


@cache
def _fields(kind: Any) -> list[tuple[str, bool, bool, _Write]]:
    """Of each field: name, whether it is a list, whether it can be absent, and what writes one value."""
    return [
        (field.name, field.is_repeated and not _is_map(field), field.has_presence, _writer(field))
        for field in kind.fields
    ]


def _writer(field: Any) -> _Write:
    if _is_map(field):
        write = _writer(field.message_type.fields_by_name["value"])
        return lambda found: {str(key): write(value) for key, value in found.items()}
    if field.message_type is not None:
        return _partial if field.full_name == PARTIAL else to_dict
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    if field.cpp_type in WIDE:
        return str
    return _same if field.cpp_type in _AS_IT_IS else _number


def _same(value: Any) -> Any:
    return value


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
