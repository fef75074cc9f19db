"""JSON Schema of the protos' messages and enums in the gateway's JSON, with their comments. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from services.gateway.recommender import METHODS
from services.gateway.transcoding import FIELD_MASK, INTEGERS, PARTIAL, WIDE
from shared.log.limits import UNPRINTABLE, field_limits, message_limits
from shared.pb.freshet.v1.events_pb2 import Product

# Field numbers in descriptor.proto, which make up the path of a comment.
MESSAGES, ENUMS, SERVICES, FIELDS, VALUES, METHOD_PATH = 4, 5, 6, 2, 2, 2


def comments(files: FileDescriptorSet) -> Mapping[str, str]:
    """Full name of each message, field, enum, value and method → its comment, on one line."""
    return dict(comment for file in files.file for comment in _of_file(file))


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    texts = {
        tuple(place.path): " ".join((place.leading_comments or place.trailing_comments).split())
        for place in file.source_code_info.location
    }
    for m, message in enumerate(file.message_type):
        name = f"{file.package}.{message.name}"
        yield name, texts.get((MESSAGES, m), "")
        for f, field in enumerate(message.field):
            yield f"{name}.{field.name}", texts.get((MESSAGES, m, FIELDS, f), "")
    for e, enum in enumerate(file.enum_type):
        yield f"{file.package}.{enum.name}", texts.get((ENUMS, e), "")
        for v, value in enumerate(enum.value):
            yield f"{file.package}.{enum.name}.{value.name}", texts.get((ENUMS, e, VALUES, v), "")
    for s, service in enumerate(file.service):
        for n, method in enumerate(service.method):
            yield f"{file.package}.{service.name}.{method.name}", texts.get((SERVICES, s, METHOD_PATH, n), "")


Json = dict[str, Any]

PRINTABLE = f"^[^{UNPRINTABLE}]*$"
# JSON Schema's keyword → the option.
_OPTIONS: Mapping[str, Any] = {"minimum": "minimum", "exclusiveMinimum": "above", "maximum": "maximum"}
NOT_FINITE = ["NaN", "Infinity", "-Infinity"]


class Schemas:
    """A component for each message and enum of a request or response."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self._requested = _reachable(method.request.DESCRIPTOR for method in METHODS.values())
        self._returned = _reachable(method.response.DESCRIPTOR for method in METHODS.values())

    def all(self) -> dict[str, Json]:
        """Name → schema."""
        messages = self._requested | self._returned
        enums = {f.enum_type.full_name: f.enum_type for m in messages.values() for f in m.fields if f.enum_type}
        schemas = {m.name: self._message(m) for name, m in messages.items() if name != FIELD_MASK}
        schemas |= {enum.name: self._enum(enum) for enum in enums.values()}
        product = schemas["Product"]
        description = "The requested fields of Product that are known."
        schemas["PartialProduct"] = {"type": "object", "description": description, "properties": product["properties"]}
        return dict(sorted(schemas.items()))

    def parameter(self, message: Any, path: str) -> tuple[Json, str]:
        """Schema and description of a parameter: one field of a request, dotted."""
        *outer, last = path.split(".")
        for name in outer:
            message = message.fields_by_name[name].message_type
        schema = self._properties(message)[last]
        description = schema.pop("description", "")
        return schema, description

    def _message(self, message: Any) -> Json:
        description = self._comments[message.full_name]
        schema: Json = {"type": "object", "description": description, "properties": self._properties(message)}
        if message.full_name not in self._requested:
            required = [f.name for f in message.fields if not f.has_presence]
        else:
            limits = message_limits(message)
            schema["additionalProperties"] = False
            required = [f.name for f in message.fields if _is_required(f)]
            if limits.some_field:
                schema["minProperties"] = 1
            if len(message.oneofs) == 1 and len(message.oneofs[0].fields) == len(message.fields) > 1:
                schema["maxProperties"] = 1
            if limits.max_depth:
                schema["description"] += f" Nests at most {limits.max_depth} levels deep."
            if limits.max_messages:
                schema["description"] += f" Holds at most {limits.max_messages}, including itself."
        return schema | ({"required": required} if required else {})

    def _properties(self, message: Any) -> dict[str, Json]:
        requested = message.full_name in self._requested
        return {field.name: self._property(field, requested) for field in message.fields}

    def _property(self, field: FieldDescriptor, requested: bool) -> Json:
        description = self._comments[field.full_name]
        if not requested:
            return {**self._field(field, {}, requested), "description": description}
        for limit in _other_limits(field):
            description = f"{description.rstrip('.')}. {limit}" if description else limit
        deprecated = {"deprecated": True} if field.GetOptions().deprecated else {}
        return {**self._field(field, _limited(field), requested), "description": description, **deprecated}

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
        if "minimum" in limited and "pattern" in one:  # int64 as a string, to which no minimum applies
            one["pattern"] = one["pattern"].replace("-?", "")
        return {**one, **limited}

    def _enum(self, enum: Any) -> Json:
        values = {value.name: self._comments[f"{enum.full_name}.{value.name}"] for value in enum.values}
        listed = "; ".join(f"{name}: {text}" for name, text in values.items() if text)
        return {
            "type": "string",
            "enum": list(values),
            "description": f"{self._comments[enum.full_name]} {listed}".strip(),
        }


def _is_required(field: FieldDescriptor) -> bool:
    limits = field_limits(field)
    return limits.min_items > 0 if field.is_repeated else limits.required


def _limited(field: FieldDescriptor) -> Json:
    """A field's limits as JSON Schema."""
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


def _other_limits(field: FieldDescriptor) -> Iterator[str]:
    """A field's limits that JSON Schema has no keyword for, in words."""
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
    messages: dict[str, Any] = {}
    left = list(roots)
    while left:
        message = left.pop()
        if message.full_name in messages or message.GetOptions().map_entry:
            continue
        messages[message.full_name] = message
        left += [field.message_type for field in message.fields if field.message_type is not None]
    return messages
