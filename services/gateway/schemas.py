"""JSON Schema of the protos' messages and enums, as the gateway reads and writes them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from services.gateway.recommender import METHODS
from services.gateway.transcoding import FIELD_MASK, INTEGERS, PARTIAL, WIDE
from shared.log.limits import UNPRINTABLE, field_limits, message_limits
from shared.pb.freshet.v1.events_pb2 import Product

# What the protos' comments say of each message, field, enum value and call. Pure.

# Field numbers in descriptor.proto: where comments lie.
MESSAGES, ENUMS, SERVICES, FIELDS, VALUES, METHOD_PATH = 4, 5, 6, 2, 2, 2


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
            yield f"{file.package}.{service.name}.{method.name}", said.get((SERVICES, s, METHOD_PATH, n), "")


Json = dict[str, Any]

PRINTABLE = f"^[^{UNPRINTABLE}]*$"
# JSON Schema's word → the option.
_OPTIONS: Mapping[str, Any] = {"minimum": "minimum", "exclusiveMinimum": "above", "maximum": "maximum"}
NOT_FINITE = ["NaN", "Infinity", "-Infinity"]


class Schemas:
    """A component for each message and enum that some call takes or gives."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self._requested = _reachable(method.request.DESCRIPTOR for method in METHODS.values())
        self._given = _reachable(method.response.DESCRIPTOR for method in METHODS.values())

    def all(self) -> dict[str, Json]:
        """Name → schema."""
        messages = self._requested | self._given
        enums = {f.enum_type.full_name: f.enum_type for m in messages.values() for f in m.fields if f.enum_type}
        found = {m.name: self._message(m) for name, m in messages.items() if name != FIELD_MASK}
        found |= {enum.name: self._enum(enum) for enum in enums.values()}
        whole = found["Product"]
        about = "The fields of Product that were asked for and that are known."
        found["PartialProduct"] = {"type": "object", "description": about, "properties": whole["properties"]}
        return dict(sorted(found.items()))

    def parameter(self, message: Any, path: str) -> tuple[Json, str]:
        """Schema and description of one field of a request, dotted, as a parameter."""
        *outer, last = path.split(".")
        for name in outer:
            message = message.fields_by_name[name].message_type
        schema = self._properties(message)[last]
        described = schema.pop("description", "")
        return schema, described

    def _message(self, message: Any) -> Json:
        described = self._comments[message.full_name]
        found: Json = {"type": "object", "description": described, "properties": self._properties(message)}
        if message.full_name not in self._requested:
            required = [f.name for f in message.fields if not f.has_presence]
        else:
            limits = message_limits(message)
            found["additionalProperties"] = False
            required = [f.name for f in message.fields if _is_required(f)]
            if limits.some_field:
                found["minProperties"] = 1
            if len(message.oneofs) == 1 and len(message.oneofs[0].fields) == len(message.fields) > 1:
                found["maxProperties"] = 1
            if limits.max_depth:
                found["description"] += f" It nests at most {limits.max_depth} deep."
            if limits.max_messages:
                found["description"] += f" At most {limits.max_messages} lie in one, itself counted."
        return found | ({"required": required} if required else {})

    def _properties(self, message: Any) -> dict[str, Json]:
        requested = message.full_name in self._requested
        return {field.name: self._described(field, requested) for field in message.fields}

    def _described(self, field: FieldDescriptor, requested: bool) -> Json:
        described = self._comments[field.full_name]
        if not requested:
            return {**self._field(field, {}, requested), "description": described}
        for said in _beyond_schemas(field):
            described = f"{described.rstrip('.')}. {said}" if described else said
        deprecated = {"deprecated": True} if field.GetOptions().deprecated else {}
        return {**self._field(field, _limited(field), requested), "description": described, **deprecated}

    def _field(self, field: FieldDescriptor, limited: Json, requested: bool) -> Json:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": _scalar(kind.fields_by_name["value"], requested)}
        if kind is not None:
            name = "PartialProduct" if field.full_name == PARTIAL else kind.name
            one = _mask() if kind.full_name == FIELD_MASK else {"$ref": f"#/components/schemas/{name}"}
        elif field.enum_type is not None:
            one = {"$ref": f"#/components/schemas/{field.enum_type.name}"}
        else:
            one = _scalar(field, requested)
        if field.is_repeated:
            return {"type": "array", **limited, "items": {**one, **limited.get("items", {})}}
        if "minimum" in limited and "pattern" in one:  # int64 as a string, which no minimum binds
            one["pattern"] = one["pattern"].replace("-?", "")
        return {**one, **limited}

    def _enum(self, enum: Any) -> Json:
        values = {value.name: self._comments[f"{enum.full_name}.{value.name}"] for value in enum.values}
        listed = "; ".join(f"{name}: {said}" for name, said in values.items() if said)
        return {
            "type": "string",
            "enum": list(values),
            "description": f"{self._comments[enum.full_name]} {listed}".strip(),
        }


def _is_required(field: FieldDescriptor) -> bool:
    limits = field_limits(field)
    return limits.min_items > 0 if field.is_repeated else limits.required


def _limited(field: FieldDescriptor) -> Json:
    """What JSON Schema can say of a field's limits."""
    limits = field_limits(field)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        limited: Json = {"minLength": 1} if limits.required else {}
        if limits.max_bytes:
            limited["maxLength"] = limits.max_bytes  # no more characters than bytes
        if limits.printable:
            limited["pattern"] = PRINTABLE
    else:
        limited = {
            word: int(number) if number.is_integer() else number
            for word, option in _OPTIONS.items()
            if limits.HasField(option)
            for number in (getattr(limits, option),)
        }
        if limits.zero_means:
            limited |= {"minimum": 0, "default": limits.zero_means}
    if not field.is_repeated:
        return limited
    items = {"items": limited} if limited else {}
    sizes = {"minItems": limits.min_items, "maxItems": limits.max_items}
    return {**{word: size for word, size in sizes.items() if size}, **items}


def _beyond_schemas(field: FieldDescriptor) -> Iterator[str]:
    """What JSON Schema can't say of a field's limits."""
    limits = field_limits(field)
    if limits.max_bytes:
        yield f"At most {limits.max_bytes} bytes{' each' if field.is_repeated else ''}."
    if limits.zero_means:
        yield f"0 means {limits.zero_means}."


def _scalar(field: FieldDescriptor, requested: bool) -> Json:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return {"type": "string"}
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"type": "boolean"}
    if field.cpp_type not in INTEGERS:
        number = {"type": "number", "format": "double"}
        return number if requested else {"anyOf": [number, {"enum": NOT_FINITE}]}
    least, most = INTEGERS[field.cpp_type]
    name = f"{'u' if least == 0 else ''}int{64 if field.cpp_type in WIDE else 32}"
    if field.cpp_type not in WIDE:
        return {"type": "integer", "format": name, "minimum": least, "maximum": most}
    pattern = f"^{'' if least == 0 else '-?'}[0-9]{{1,18}}$"
    if not requested:
        return {"type": "string", "format": name, "pattern": pattern.replace("18", "20")}
    return {"type": ["string", "integer"], "format": name, "pattern": pattern, "minimum": least, "maximum": most}


def _mask() -> Json:
    one = "|".join(field.name for field in Product.DESCRIPTOR.fields)
    return {"type": "string", "pattern": f"^(({one})(,({one}))*)?$"}


def _reachable(roots: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left = list(roots)
    while left:
        message = left.pop()
        if message.full_name in found or message.GetOptions().map_entry:
            continue
        found[message.full_name] = message
        left += [field.message_type for field in message.fields if field.message_type is not None]
    return found
