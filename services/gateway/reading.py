"""A request message from JSON or from a URL's parameters. Pure; every refusal names the field.

Names are the proto's own; those of protobuf's JSON (userId) are taken, too. It is stricter than protobuf's JSON in
what would hide a mistake: a number is no string (int64 may be either), an enum's value is a name, null is refused.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.gateway.values import SHOWN, mask, parsed, scalar, shown
from shared.errors import BadRequest

MessageT = TypeVar("MessageT", bound=Message)

FIELD_MASK = "google.protobuf.FieldMask"
MOST_DEEP = 100  # as protobuf itself allows


def from_json(content: bytes, kind: type[MessageT]) -> MessageT:
    """The message that a JSON text holds.

    Raises:
        BadRequest: it is no JSON, or not that of such a message.
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
    except ValueError:  # a number of thousands of digits
        raise BadRequest("", "the body must be JSON, with numbers that a double holds") from None
    message = kind()
    _fill(message, value, "", 0)
    return message


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


def _no_constant(name: str) -> NoReturn:
    raise BadRequest("", f"the body must be JSON, which has no {name}")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadRequest("", f"the body gives {shown(name)} twice")
        found[name] = value
    return found


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


def _set(message: Message, field: FieldDescriptor, value: Any, at: str, depth: int) -> None:
    if field.message_type is None:
        setattr(message, field.name, scalar(value, field, at))
        return
    inner = getattr(message, field.name)
    inner.SetInParent()
    _fill(inner, value, at, depth + 1)


def _field(message: Message, name: str) -> Any:
    kind = message.DESCRIPTOR
    if not name.isascii():  # half a surrogate pair can't be looked up
        return None
    return kind.fields_by_name.get(name) or kind.fields_by_camelcase_name.get(name)


def _unknown(name: str, known: list[str], what: str) -> NoReturn:
    name = name[:SHOWN]
    last = name.rpartition(".")[2]
    near = difflib.get_close_matches(last, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}" if known else "there are none"
    raise BadRequest(name, f"no such {what}; {hint}")
