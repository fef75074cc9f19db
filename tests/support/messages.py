"""Any message of a kind, for hypothesis."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from services.gateway.transcoding import FIELD_MASK, INTEGERS

NAMES = st.from_regex(r"[a-z]{1,8}(_[a-z]{1,8})?", fullmatch=True)


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.cpp_type in INTEGERS:
        return st.integers(*INTEGERS[field.cpp_type])
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return st.text(st.characters(codec="utf-8"))
    return st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def messages(draw: st.DrawFn, kind: type[Message], depth: int = 0, leave_out: Collection[str] = ()) -> Message:
    """Any message of a kind, a few deep, without the fields that `leave_out` names in full."""
    message = kind()
    if kind.DESCRIPTOR.full_name == FIELD_MASK:
        message.paths.extend(draw(st.lists(NAMES, max_size=3)))
        return message
    for field in kind.DESCRIPTOR.fields:
        if field.full_name in leave_out or (field.message_type is not None and depth > 3) or not draw(st.booleans()):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            getattr(message, field.name).update(draw(st.dictionaries(NAMES, scalars(value), max_size=2)))
            continue
        if field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name):
            continue
        if field.message_type is None:
            value = draw(st.lists(scalars(field), max_size=3) if field.is_repeated else scalars(field))
            getattr(message, field.name).extend(value) if field.is_repeated else setattr(message, field.name, value)
            continue
        inner = messages(field.message_type._concrete_class, depth + 1, leave_out)
        if field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(inner, max_size=2)))
        else:
            getattr(message, field.name).CopyFrom(draw(inner))
            getattr(message, field.name).SetInParent()
    return message
