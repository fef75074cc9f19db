"""Transcodes between JSON and the proto's messages: requests from JSON or a URL's parameters, responses to JSON. Pure.

Requests use the proto's field names; those of protobuf's JSON (userId) are accepted too. Parsing is stricter than
protobuf's where leniency would hide a mistake: a number is not a string (int64 may be either), an enum's value is a
name, null is refused. Every error names the field, which json_format's do not.

Responses are json_format.MessageToDict with preserving_proto_field_name and always_print_fields_with_no_presence, but
faster, since the fields of each message type are looked up once. One thing differs: the product of a recommendation
holds only the fields that are set, since those are what the request selected.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NoReturn, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from shared.pb.freshet.v1.recommender_pb2 import RecommendedProduct
from shared.process.errors import BadRequest

MessageT = TypeVar("MessageT", bound=Message)
_Write = Callable[[Any], Any]
FIELD_MASK = "google.protobuf.FieldMask"
PARTIAL = RecommendedProduct.DESCRIPTOR.fields_by_name["product"].full_name
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
WIDE = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_UNCHANGED = (
    FieldDescriptor.CPPTYPE_BOOL,
    FieldDescriptor.CPPTYPE_STRING,
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_UINT32,
)
MOST_DEEP = 100  # levels of nesting, as protobuf itself allows
SHOWN = 80  # characters of a wrong value that an error repeats


def from_json(content: bytes, kind: type[MessageT]) -> MessageT:
    """Parse a message of this type.

    Raises:
        BadRequest: the content is not JSON, or not of such a message.
    """
    try:
        value = json.loads(content.decode(), parse_constant=_no_constant, object_pairs_hook=_each_once)
    except UnicodeDecodeError as error:
        raise BadRequest("", f"the body must be JSON in UTF-8: byte {error.start + 1} is not") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadRequest("", f"the body must be JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise BadRequest("", f"the body nests deeper than {MOST_DEEP}") from None
    except ValueError:  # a number with thousands of digits
        raise BadRequest("", "the body must be JSON, with numbers that a double holds") from None
    message = kind()
    _fill(message, value, "", 0)
    return message


def _no_constant(name: str) -> NoReturn:
    raise BadRequest("", f"the body must be JSON, which has no {name}")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise BadRequest("", f"the body gives {shown(name)} twice")
        members[name] = value
    return members


def fill(message: Message, given: Sequence[tuple[str, str]], fields: Mapping[str, str]) -> None:
    """Set fields of a message from a URL's parameters.

    Args:
        fields: parameter → field of the message, dotted.

    Raises:
        BadRequest: a parameter is unknown, wrong or given twice.
    """
    for place, (name, text) in enumerate(given):
        if name not in fields:
            _unknown(name, list(fields), "parameter")
        if name in (earlier for earlier, _ in given[:place]):
            raise BadRequest(name, "given twice")
        *outer, last = fields[name].split(".")
        inner: Any = message
        for part in outer:
            inner = getattr(inner, part)
        field = inner.DESCRIPTOR.fields_by_name[last]
        _set(inner, field, parsed(text, field), name, len(outer))


def _fill(message: Message, value: Any, at: str, depth: int) -> None:
    kind = message.DESCRIPTOR
    if kind.full_name == FIELD_MASK:
        message.paths.extend(mask(value, at))  # type: ignore[attr-defined]
        return
    if not isinstance(value, dict):
        raise BadRequest(at, f"{'' if at else 'the body must be '}an object, got {shown(value)}")
    if depth > MOST_DEEP:
        raise BadRequest(at, f"nests deeper than {MOST_DEEP}")
    seen: set[str] = set()
    for name, inner in value.items():
        field = _field(message, name)
        where = f"{at}.{name}" if at else name
        if field is None:
            _unknown(where, [f.name for f in kind.fields], "field")
        if field.name in seen:
            raise BadRequest(where, "given twice")
        seen.add(field.name)
        if field.containing_oneof is not None and (other := message.WhichOneof(field.containing_oneof.name)):
            raise BadRequest(where, f"only one of {', '.join(f.name for f in field.containing_oneof.fields)} may be "
                             f"given, and {other} is")  # fmt: skip
        if not field.is_repeated:
            _set(message, field, inner, where, depth)
            continue
        if not isinstance(inner, list):
            raise BadRequest(where, f"a list, got {shown(inner)}")
        into = getattr(message, field.name)
        for n, item in enumerate(inner):
            if field.message_type is not None:
                _fill(into.add(), item, f"{where}[{n}]", depth + 1)
            else:
                into.append(scalar(item, field, f"{where}[{n}]"))


def _field(message: Message, name: str) -> Any:
    kind = message.DESCRIPTOR
    if not name.isascii():  # a half of a surrogate pair can't be looked up
        return None
    return kind.fields_by_name.get(name) or kind.fields_by_camelcase_name.get(name)


def _unknown(name: str, known: list[str], what: str) -> NoReturn:
    name = name[:SHOWN]
    last = name.rpartition(".")[2]
    near = difflib.get_close_matches(last, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}" if known else "there are none"
    raise BadRequest(name, f"no such {what}; {hint}")


def _set(message: Message, field: FieldDescriptor, value: Any, at: str, depth: int) -> None:
    if field.message_type is None:
        setattr(message, field.name, scalar(value, field, at))
        return
    inner = getattr(message, field.name)
    inner.SetInParent()
    _fill(inner, value, at, depth + 1)


def parsed(text: str, field: FieldDescriptor) -> Any:
    """The value of a text as in JSON, or the text itself where it has none."""
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
    """The value of a field that is not a message.

    Raises:
        BadRequest: it has another type, or is out of range.
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
        raise BadRequest(at, "holds half of a surrogate pair, which is not a character") from None
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def mask(value: Any, at: str) -> list[str]:
    """The paths of a FieldMask, which in protobuf's JSON is one string with commas."""
    text = _text(value, at)
    paths = text.split(",") if text else []
    for path in paths:
        if not re.fullmatch(r"[a-z][A-Za-z0-9_.]*", path):
            raise BadRequest(at, f"names of fields separated by commas, such as title,price; got {shown(value)}")
    return [re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", path) for path in paths]  # listedMs, too


def shown(value: Any) -> str:
    """A value as an error shows it, shortened."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def to_json(message: Message) -> bytes:
    """The message as one line of JSON."""
    return json.dumps(to_dict(message), ensure_ascii=False, separators=(",", ":")).encode()


def to_dict(message: Message) -> dict[str, Any]:
    """The message as a dict that json encodes."""
    values: dict[str, Any] = {}
    for name, repeated, presence, write in _fields(message.DESCRIPTOR):
        if repeated:
            values[name] = [write(value) for value in getattr(message, name)]
        elif not presence or message.HasField(name):
            values[name] = write(getattr(message, name))
    return values


def _partial(message: Message) -> dict[str, Any]:
    """The set fields of a message."""
    writers = {name: (repeated, write) for name, repeated, _, write in _fields(message.DESCRIPTOR)}
    values = {}
    for field, value in message.ListFields():
        repeated, write = writers[field.name]
        values[field.name] = [write(one) for one in value] if repeated else write(value)
    return values


@cache
def _fields(kind: Any) -> list[tuple[str, bool, bool, _Write]]:
    """For each field: its name, whether it is repeated, whether it has presence, and how a value is written."""
    return [
        (field.name, field.is_repeated and not _is_map(field), field.has_presence, _writer(field))
        for field in kind.fields
    ]


def _writer(field: Any) -> _Write:
    if _is_map(field):
        write = _writer(field.message_type.fields_by_name["value"])
        return lambda entries: {str(key): write(value) for key, value in entries.items()}
    if field.message_type is not None:
        return _partial if field.full_name == PARTIAL else to_dict
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    if field.cpp_type in WIDE:
        return str
    return _same if field.cpp_type in _UNCHANGED else _number


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _same(value: Any) -> Any:
    return value


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
