"""The limits that the protos state as options: read from descriptors, and messages checked by them. Pure.

`protos/freshet/v1/limits.proto` says what each option means. What one field may hold because of another is no limit
of this kind; it stays in the code of those who read the message.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from keyword import iskeyword
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from shared.pb.freshet.v1 import limits_pb2
from shared.pb.freshet.v1.limits_pb2 import Limits, MessageLimits
from shared.process.errors import BadRequest

# Control characters and all that ends a line: a version keeps its products as one id per line.
UNPRINTABLE = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_UNPRINTABLE = re.compile(f"[{UNPRINTABLE}]")
_SHOWN = 80  # characters of what is wrong that a message repeats
_DOUBLES = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def limits_of(message: type[Message], field: str) -> Limits:
    """The limits of a message's field, by its name."""
    descriptor: Any = message.DESCRIPTOR.fields_by_name[field]
    return field_limits(descriptor)


def field_limits(field: FieldDescriptor) -> Limits:
    """The limits of a field; all are unset where it has none."""
    return field.GetOptions().Extensions[limits_pb2.limits]


def message_limits(kind: Descriptor) -> MessageLimits:
    """The limits of a message; all are unset where it has none."""
    return kind.GetOptions().Extensions[limits_pb2.message_limits]


def check(message: Message, path: str = "") -> None:
    """Refuse a message that exceeds a limit, its own or that of a message in it.

    Args:
        path: where the message lies in the request, as in `wishes.filter`; empty for the request itself.

    Raises:
        BadRequest: it does; the error names the path of the field.
    """
    check_of(message.DESCRIPTOR)(message, path)


@cache
def check_of(kind: Descriptor) -> Check:
    """The check of a type of message, compiled once."""
    return Check(kind)


def check_text(path: str, text: str, limits: Limits) -> None:
    """Refuse a string that exceeds the limits of a field.

    Raises:
        BadRequest: it does.
    """
    if not text:
        if limits.required:
            raise BadRequest(path, "must not be empty")
        return
    if text.isascii() and text.isprintable() and len(text) <= (limits.max_bytes or len(text)):
        return  # as nearly all are
    size = len(text.encode())
    if limits.max_bytes and size > limits.max_bytes:
        raise BadRequest(path, f"at most {limits.max_bytes} bytes, got {size}")
    if limits.printable and _UNPRINTABLE.search(text):
        raise BadRequest(path, f"must not hold control characters or line ends, got {text[:_SHOWN]!r}")


class _Text(NamedTuple):
    """Bounds of a string that is printable ASCII, as nearly all are; `check_text` looks at any other."""

    least: int
    most: int
    name: str
    limits: Limits


# Plain tuples: Python takes them apart quicker than named ones.
_Number = tuple[float, float, FieldDescriptor, str]  # bounds, both included, and the words of a refusal
_Enum = tuple[frozenset[int], FieldDescriptor]  # the values that are taken


class _List(NamedTuple):
    """Bounds of a list, and what bounds its items: texts or enums, where either has limits."""

    name: str
    limits: Limits
    text: _Text | None
    enum: _Enum | None
    messages: bool


class _Nesting:
    """How deep messages of one type lie in each other, and how many there may still be."""

    def __init__(self, kind: Descriptor, limits: MessageLimits) -> None:
        self.kind = kind
        self.depth = 0
        self.left = limits.max_messages or sys.maxsize


class Check:
    """What refuses messages of one type, compiled from its descriptor.

    Args:
        fields: those that are checked; None: all.
        deep: whether messages in the message are checked, too; their size is in any case.
    """

    def __init__(self, kind: Descriptor, fields: Iterable[str] | None = None, *, deep: bool = True) -> None:
        self._kind = kind
        self._deep = deep
        self._limits = message_limits(kind)
        self._is_limited = bool(self._limits.ByteSize())
        chosen = [f for f in kind.fields if fields is None or f.name in fields]
        single = [f for f in chosen if not f.is_repeated]
        self._enums = [_enum(f) for f in single if f.enum_type is not None]
        texts = [text for f in single if (text := _text(f)) is not None]
        self._texts = sorted(texts, key=lambda text: -text.least)  # those that must not be empty come first
        self._short = min((text.most for text in texts), default=0)  # all together: none is too long then
        self._numbers = [number for f in single if (number := _number(f)) is not None]
        self._messages = [(f.name, field_limits(f)) for f in single if f.message_type is not None and deep]
        self._lists = [_list(f) for f in chosen if f.is_repeated]
        self._holds = self._compiled()

    def __call__(self, message: Message, path: str = "", nesting: _Nesting | None = None) -> None:
        """Refuse a message that exceeds a limit.

        Raises:
            BadRequest: it does; the error names the path of the field.
        """
        if not self._holds(message):
            self._check_fields(message, path)
        if self._is_limited:
            nesting = self._nested(message, path, nesting)
        for bounds in self._lists:
            self._check_list(bounds, getattr(message, bounds.name), _join(path, bounds.name), nesting)
        for name, limits in self._messages:
            if message.HasField(name):
                inner = getattr(message, name)
                check_of(inner.DESCRIPTOR)(inner, _join(path, name), nesting)
            elif limits.required:
                raise BadRequest(_join(path, name), "must be given")
        if nesting is not None and nesting.kind is self._kind:
            nesting.depth -= 1

    def _compiled(self) -> Callable[[Message], bool]:
        """Whether no field of its own exceeds a limit, as one expression: half of the time that loops over them take.

        False says nothing yet: `_check_fields` looks at each field then, and names the one that is wrong.
        """
        values: dict[str, Any] = {}
        parts = []
        for n, (known, field) in enumerate(self._enums):
            values[f"known{n}"] = known
            parts.append(f"{_read(field.name)} in known{n}")
        if self._texts:
            together = " + ".join(_read(text.name) for text in self._texts)
            parts += [f"len(texts := {together}) <= {self._short}", "texts.isascii()", "texts.isprintable()"]
            parts += [_read(text.name) for text in self._texts if text.least]
        for n, (least, most, field, _) in enumerate(self._numbers):
            values[f"least{n}"], values[f"most{n}"] = least, most
            inside = f"least{n} <= {_read(field.name)} <= most{n}"
            parts.append(f"({inside} or not m.HasField({field.name!r}))" if field.has_presence else inside)
        source = f"lambda m: bool({' and '.join(parts) or True})"
        compiled: Callable[[Message], bool] = eval(source, values)  # noqa: S307  # of a descriptor's names alone
        return compiled

    def _check_fields(self, message: Message, path: str) -> None:
        """Refuse a message of which a field that is neither a list nor a message exceeds a limit."""
        for known, field in self._enums:
            value = getattr(message, field.name)
            if value not in known:
                raise BadRequest(_join(path, field.name), _unknown(field, value))
        for text in self._texts:
            check_text(_join(path, text.name), getattr(message, text.name), text.limits)
        for least, most, field, words in self._numbers:
            value = getattr(message, field.name)
            if not least <= value <= most and (not field.has_presence or message.HasField(field.name)):
                shown = f"{value:g}" if field.cpp_type in _DOUBLES else value
                raise BadRequest(_join(path, field.name), f"{words}, got {shown}")

    def _check_list(self, bounds: _List, items: Sequence[Any], path: str, nesting: _Nesting | None) -> None:
        _check_size(path, len(items), bounds.limits)
        if bounds.messages:
            most_bytes = bounds.limits.max_bytes
            for n, item in enumerate(items):
                if self._deep:
                    check_of(item.DESCRIPTOR)(item, f"{path}[{n}]", nesting)
                if most_bytes and item.ByteSize() > most_bytes:
                    raise BadRequest(f"{path}[{n}]", f"at most {most_bytes} bytes, got {item.ByteSize()}")
        elif bounds.text is not None:
            for n, item in enumerate(items):
                if not (bounds.text.least <= len(item) <= bounds.text.most and item.isascii() and item.isprintable()):
                    check_text(f"{path}[{n}]", item, bounds.text.limits)
        elif bounds.enum is not None:
            known, field = bounds.enum
            for n, item in enumerate(items):
                if item not in known:
                    raise BadRequest(f"{path}[{n}]", _unknown(field, item))

    def _nested(self, message: Message, path: str, nesting: _Nesting | None) -> _Nesting:
        if self._limits.some_field and not message.ListFields():
            raise BadRequest(path, _some_of(self._kind))
        if nesting is None or nesting.kind is not self._kind:
            nesting = _Nesting(self._kind, self._limits)
        nesting.depth += 1
        nesting.left -= 1
        name = self._kind.name.lower()
        if 0 < self._limits.max_depth < nesting.depth:
            raise BadRequest(path, f"a {name} nests at most {self._limits.max_depth} deep")
        if nesting.left < 0:
            raise BadRequest(path, f"a {name} has at most {self._limits.max_messages} {name}s in all, itself counted")
        return nesting


def bounds(field: FieldDescriptor) -> tuple[float, float]:
    """The least and the greatest number that a field takes, 0 aside where it means another.

    A whole number is a double exactly below 2**53; a limit beyond is none.
    """
    limits, is_double = field_limits(field), field.cpp_type in _DOUBLES
    least, most = (-sys.float_info.max, sys.float_info.max) if is_double else (-math.inf, math.inf)
    if limits.HasField("minimum"):
        least = limits.minimum
    if limits.HasField("above"):
        least = math.nextafter(limits.above, math.inf) if is_double else limits.above + 1
    return least, limits.maximum if limits.HasField("maximum") else most


def _number(field: FieldDescriptor) -> _Number | None:
    if field.enum_type is not None or field.message_type is not None:
        return None
    if field.cpp_type in (field.CPPTYPE_STRING, field.CPPTYPE_BOOL):
        return None
    limits, (least, most) = field_limits(field), bounds(field)
    if (least, most) == (-math.inf, math.inf):
        return None
    return 0 if limits.zero_means else least, most, field, _words(field, limits)


def _words(field: FieldDescriptor, limits: Limits) -> str:
    is_double = field.cpp_type in _DOUBLES
    if field.name.endswith("_ms") and limits.HasField("maximum"):
        end = _EPOCH + timedelta(milliseconds=limits.maximum + 1)
        return f"milliseconds since 1970, above 0 and before the year {end.year}"
    least = 0.0 if limits.zero_means else limits.minimum
    if limits.HasField("maximum"):
        if limits.HasField("above"):
            return f"above {limits.above:.15g}, at most {limits.maximum:,.15g}"
        return f"{least:.15g} to {limits.maximum:.15g}"
    finite = "a finite number" if is_double else "a whole number"
    if limits.HasField("above"):
        return f"{finite} above {limits.above:.15g}"
    if not limits.HasField("minimum"):
        return finite
    if least:
        return f"{finite}, {least:.15g} or more"
    return f"{finite}, not negative" if is_double else "must not be negative"


def _text(field: FieldDescriptor) -> _Text | None:
    limits = field_limits(field)
    if field.type != field.TYPE_STRING or not (limits.required or limits.max_bytes or limits.printable):
        return None
    return _Text(int(limits.required), limits.max_bytes or sys.maxsize, field.name, limits)


def _enum(field: FieldDescriptor) -> _Enum:
    enum: Any = field.enum_type
    known = frozenset(value.number for value in enum.values)
    return known - {0} if field_limits(field).required else known, field


def _unknown(field: FieldDescriptor, value: int) -> str:
    enum: Any = field.enum_type
    return f"must be one of {enum.name}, got {value}"


def _list(field: FieldDescriptor) -> _List:
    of_messages = field.message_type is not None and not field.message_type.GetOptions().map_entry
    enum = _enum(field) if field.enum_type is not None else None
    return _List(field.name, field_limits(field), _text(field), enum, of_messages)


def _check_size(path: str, size: int, limits: Limits) -> None:
    if size < limits.min_items or 0 < limits.max_items < size:
        least = f"{limits.min_items} to " if limits.min_items else "at most "
        raise BadRequest(path, f"{least}{limits.max_items}, got {size}")


def _some_of(kind: Descriptor) -> str:
    names = [field.name for field in kind.fields]
    if len(kind.oneofs) == 1 and len(kind.oneofs[0].fields) == len(names):
        return f"must hold one of {', '.join(names)}"
    return f"give {', '.join(names)} or {'both' if len(names) == 2 else 'several'}"


def _read(name: str) -> str:
    """The source that reads a field of the message `m`; a field may be called as a word of Python's own."""
    return f"getattr(m, {name!r})" if iskeyword(name) else f"m.{name}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
