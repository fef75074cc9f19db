"""What the protos' comments say of each message, field, enum value and call. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

# Field numbers in descriptor.proto: where comments lie.
MESSAGES, ENUMS, SERVICES, FIELDS, VALUES, METHODS = 4, 5, 6, 2, 2, 2


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
