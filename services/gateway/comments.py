"""What the protos' comments say of each message, field, enum value and call, and the limits in them. Pure.

A limit is read where a comment states it in one of these forms: `1 to 1000`, `at most 256 bytes`, `at most 100`,
`above 0`, `not negative`, `counted from 0`, `positive`; `0 means …` allows 0, too, and `likewise` repeats the limits of
the field before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

# Field numbers in descriptor.proto: where comments lie.
MESSAGES, ENUMS, SERVICES, FIELDS, VALUES, METHODS = 4, 5, 6, 2, 2, 2

# What check_id of shared.events takes: no control characters, and nothing that ends a line.
ID = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"

Limits = dict[str, Any]  # JSON Schema's words
_RANGE = re.compile(r"([0-9][0-9,]*)(?:, [a-z ]+,)? to ([0-9][0-9,]*)")  # also "0, not at all, to 1"
_BYTES = re.compile(r"at most ([0-9][0-9,]*) bytes", re.IGNORECASE)
_MOST = re.compile(r"at most ([0-9][0-9,]*)(?! bytes)(?![0-9,])", re.IGNORECASE)


def comments(files: FileDescriptorSet) -> Mapping[str, str]:
    """Full name → what is said of it, as one line."""
    return dict(found for file in files.file for found in _of_file(file))


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    said = {
        tuple(place.path): " ".join((place.leading_comments or place.trailing_comments).split())
        for place in file.source_code_info.location
    }
    for m, message in enumerate(file.message_type):
        name = f"{file.package}.{message.name}"
        yield name, said.get((MESSAGES, m), "")
        for f, field in enumerate(message.field):
            yield f"{name}.{field.name}", said.get((MESSAGES, m, FIELDS, f), "")
    for e, enum in enumerate(file.enum_type):
        yield f"{file.package}.{enum.name}", said.get((ENUMS, e), "")
        for v, value in enumerate(enum.value):
            yield f"{file.package}.{enum.name}.{value.name}", said.get((ENUMS, e, VALUES, v), "")
    for s, service in enumerate(file.service):
        for n, method in enumerate(service.method):
            yield f"{file.package}.{service.name}.{method.name}", said.get((SERVICES, s, METHODS, n), "")


def limits(field: FieldDescriptor, said: str, before: Limits) -> Limits:
    """What JSON Schema can say of the limits in a field's comment.

    Args:
        before: those of the field before.
    """
    if said.startswith("likewise"):
        return before
    if field.is_repeated:
        return _of_list(field, said)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return _of_string(field, said)
    if field.message_type is not None or field.enum_type is not None or field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {}
    return _of_number(said)


def _of_list(field: FieldDescriptor, said: str) -> Limits:
    found: Limits = {}
    if given := _RANGE.search(said):
        found = {"minItems": _number(given[1]), "maxItems": _number(given[2])}
    elif given := _MOST.search(said):
        found = {"maxItems": _number(given[1])}
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        items = _of_string(field, said) | ({"minLength": 1} if "none empty" in said else {})
        found |= {"items": items} if items else {}
    return found


def _of_string(field: FieldDescriptor, said: str) -> Limits:
    given = _BYTES.search(said)
    found: Limits = {"maxLength": _number(given[1])} if given else {}  # no more characters than bytes
    if given and re.search("_ids?$", field.name):
        found["pattern"] = ID
    return found


def _of_number(said: str) -> Limits:
    found: Limits = {}
    if given := _RANGE.search(said):
        found = {"minimum": 0 if "0 means" in said else _number(given[1]), "maximum": _number(given[2])}
    elif given := _MOST.search(said):
        found = {"maximum": _number(given[1])}
    lower = said.lower()
    if "above 0" in lower or "positive" in lower:
        found["exclusiveMinimum"] = 0
    elif "not negative" in lower or "counted from 0" in lower:
        found["minimum"] = 0
    return found


def _number(text: str) -> int:
    return int(text.replace(",", ""))
