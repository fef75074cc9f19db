"""Messages as nobody should send them: one good message, broken in the ways that bytes and schemas can be."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1 import recommender_pb2 as service

# Wire types of Protocol Buffers.
VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)

DOUBLES = (float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7e308, -1.0, 6.0, 1e300)
INTEGERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63))
STRINGS = (
    "", "\x00", "a\x00b", "a\nb", "\u2028", "\x85", "e\u0301", "שלום", "مرحبا\u202e", "💡" * 64, "💡" * 65,
    "x" * 128, "x" * 129, "x" * 256, "x" * 257, "ü" * 128, "ü" * 129, "   ", "\ufeff", "\ufffe",
)  # fmt: skip

# One message of each type that any of our topics or calls holds.
OTHER_SCHEMAS: tuple[Message, ...] = (
    pb.Event(kind=pb.EVENT_KIND_VIEW, user_id="u1", product_id="p1", event_time_ms=1_300_000_000_000, event_id="e1"),
    pb.Product(product_id="p1", title="Capo", categories=["music", "guitars"], brand="b", price=4.5, unavailable=True),
    pb.StateVector(
        user_id="u1", product_id="p1", kind=pb.EVENT_KIND_VIEW, event_time_ms=1_300_000_000_000, rating=3.0, reward=0.1,
        price_scaled=0.5, helpfulness_scaled=0.5, imputed=[pb.IMPUTED_PRICE], event_id="e1", source_topic="t",
        source_offset=1, recorded_ms=1,
    ),
    pb.ModelVersion(
        version_id="v1", policy="dqn", manifest_sha256="00", created_ms=1, positions=[pb.LogPosition(offset=1)],
        applied_events=1, steps=1, epsilon=0.5, metrics={"validation_ndcg_at_10": 0.5},
    ),
    pb.Pointer(version_id="v1", set_ms=1),
    pb.LogPosition(partition=1, offset=1),
    service.RecommendRequest(user_id="u1", wishes=service.Wishes(count=3, exclude_product_ids=["p1"])),
    service.RecordEventsRequest(events=[pb.Event(kind=pb.EVENT_KIND_VIEW, user_id="u1", product_id="p1")]),
)  # fmt: skip


def varint(number: int) -> bytes:
    """A number as protobuf writes it; a negative one takes ten bytes."""
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, wire_type: int, payload: bytes) -> bytes:
    """One field, whatever its schema says of it."""
    size = varint(len(payload)) if wire_type == LENGTH else b""
    return varint(number << 3 | wire_type) + size + payload


Mutation = Callable[[random.Random, Message], bytes]


def flipped(rng: random.Random, message: Message) -> bytes:
    content = bytearray(message.SerializeToString())
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def cut_off(rng: random.Random, message: Message) -> bytes:
    content = message.SerializeToString()
    return content[: rng.randrange(len(content))]


def spliced(rng: random.Random, message: Message) -> bytes:
    content = message.SerializeToString()
    a, b = sorted(rng.randrange(len(content)) for _ in range(2))
    return rng.choice((content[:b] + content[a:], content[:a] + content[b:], content[b:] + content[:b]))


def doubled(rng: random.Random, message: Message) -> bytes:
    """Twice the same message, or two: of each field the last one counts."""
    return message.SerializeToString() + rng.choice((message, *OTHER_SCHEMAS)).SerializeToString()


def huge_varint(rng: random.Random, message: Message) -> bytes:
    huge = rng.choice(
        (b"\xff" * 9 + b"\x01", b"\xff" * 10 + b"\x01", b"\xff" * 20, varint(2**63), b"\x80" * 9 + b"\x00")
    )
    return message.SerializeToString() + varint(rng.randint(1, 20) << 3 | VARINT) + huge


def wrong_wire_type(rng: random.Random, message: Message) -> bytes:
    payload = rng.randbytes(rng.choice((0, 4, 8, 12)))
    return message.SerializeToString() + field(rng.randint(0, 20), rng.randrange(8), payload)


def endless_length(rng: random.Random, message: Message) -> bytes:
    return (
        message.SerializeToString() + varint(rng.randint(1, 15) << 3 | LENGTH) + varint(rng.choice((9, 2**31, 2**63)))
    )


def deep_groups(rng: random.Random, message: Message) -> bytes:
    depth = rng.choice((1, 50, 5000))
    ends = varint(99 << 3 | END_GROUP) * rng.choice((depth, depth - 1, 0))
    return message.SerializeToString() + varint(99 << 3 | START_GROUP) * depth + ends


def unknown_field(rng: random.Random, message: Message) -> bytes:
    return message.SerializeToString() + field(rng.choice((100, 2**29 - 1)), LENGTH, rng.randbytes(rng.randrange(9)))


def bad_utf8(rng: random.Random, message: Message) -> bytes:
    strings = [f.number for f in message.DESCRIPTOR.fields if f.type == FieldDescriptor.TYPE_STRING]
    broken = rng.choice((b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"ok\x80"))
    return message.SerializeToString() + field(rng.choice(strings), LENGTH, broken)


def extreme(rng: random.Random, message: Message) -> bytes:
    """One field at one of its extremes, or without a value."""
    copy = type(message)()
    copy.CopyFrom(message)
    chosen = rng.choice([f for f in message.DESCRIPTOR.fields if not f.is_repeated])
    if rng.random() < 0.1:
        copy.ClearField(chosen.name)
        return bytes(copy.SerializeToString())
    if chosen.type == FieldDescriptor.TYPE_DOUBLE:
        setattr(copy, chosen.name, rng.choice(DOUBLES))
    elif chosen.type == FieldDescriptor.TYPE_STRING:
        setattr(copy, chosen.name, rng.choice(STRINGS))
    else:
        copy.ClearField(chosen.name)
        return bytes(copy.SerializeToString()) + field(chosen.number, VARINT, varint(rng.choice(INTEGERS)))
    return bytes(copy.SerializeToString())


def another_schema(rng: random.Random, message: Message) -> bytes:
    return rng.choice([other for other in OTHER_SCHEMAS if type(other) is not type(message)]).SerializeToString()


def noise(rng: random.Random, message: Message) -> bytes:
    return rng.randbytes(rng.randrange(64))


MUTATIONS: Sequence[Mutation] = (
    flipped, cut_off, spliced, doubled, huge_varint, wrong_wire_type, endless_length, deep_groups, unknown_field,
    bad_utf8, extreme, extreme, extreme, another_schema, noise,
)  # fmt: skip


def mutated(rng: random.Random, message: Message) -> bytes | None:
    """The message after one or two mutations; now and then there is no value, or an empty one."""
    if rng.random() < 0.01:
        return rng.choice((None, b""))
    content = rng.choice(MUTATIONS)(rng, message)
    if content and rng.random() < 0.1:
        content = bytearray(content)
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)
