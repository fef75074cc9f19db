"""Every field of every call at its extremes: answered, or refused by its name; never a fault of the service."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.settings import KafkaSettings
from shared.topics import ensure_topics
from tests.support import states
from tests.support.inference import Inference, eventually, running

F = FieldDescriptor
OK, WRONG = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT
NAN, INF = math.nan, math.inf
MEBIBYTE = 2**20

# What any identifier may and may not be.
GOOD_IDS = (
    "x" * 256,
    "ü" * 128,
    "💡" * 64,
    "e\u0301",
    "שלום",
    "مرحبا\u202e",
    "\ufeff",
    "   ",
    "'; DROP TABLE users; --",
)
BAD_IDS = ("x" * 257, "ü" * 129, "💡" * 65, "\x00", "a\x00b", "a\nb", "\x7f", "\x85", "\u2028", "x" * 10 * MEBIBYTE)
INT64 = (-(2**63), -1, 0, 1, 2**63 - 1)

# Request, or message in one → field → values that pass, values that are refused. A field without a row fails a test.
CASES: dict[str, dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]]] = {
    "RecommendRequest": {
        "user_id": (GOOD_IDS, ("", *BAD_IDS)),
        "count": ((0, 1, 1000), (1001, 2**31, 2**32 - 1)),
        "exclude_product_ids": (
            ([], ["never seen"], [""], ["\x00"], ["x" * 300], ["p"] * 10_000, ["💡" * 65]),
            (["p"] * 10_001,),
        ),
        "after_position": ((), (ev.LogPosition(partition=-1), ev.LogPosition(offset=-1))),
    },
    "LogPosition": {
        "partition": ((), (-(2**31), -1, 3, 2**31 - 1)),
        "offset": ((), (-(2**63), -1)),
    },
    "RecordEventsRequest": {
        "events": (
            ([ev.Event(kind=ev.EVENT_KIND_VIEW, user_id="u", product_id="p")] * 10_000,),
            ([], [ev.Event(kind=ev.EVENT_KIND_VIEW, user_id="u", product_id="p")] * 10_001, [ev.Event()]),
        ),
    },
    "Event": {
        "event_id": (("", "x" * 128, "ü" * 64, *GOOD_IDS[3:]), ("x" * 129, *BAD_IDS)),
        "kind": (tuple(range(1, 10)), (0, 10, 14, 15, 77, -1, 2**31 - 1, -(2**31))),
        "user_id": (("", *GOOD_IDS), BAD_IDS),  # a guest's has none
        "product_id": (GOOD_IDS, ("", *BAD_IDS)),
        "event_time_ms": ((0, 1), (-(2**63), -1, 2**63 - 1, 7_258_118_400_000, 7_258_118_399_999)),
        "text": (("", "\x00", "\x1b[31m", "💡" * 1000, "x" * 900_000), ("x" * 1_000_001, "x" * 10 * MEBIBYTE)),
        "rating": ((1.0, 5.0, 4.999), (NAN, INF, -INF, 0.0, -0.0, 0.999, 5.001, 1e308, -1.0)),
        "helpful_votes": (INT64[2:], INT64[:2]),
        "total_votes": (INT64[2:], INT64[:2]),
        "price": ((0.0, -0.0, 5e-324, 1.7e308), (NAN, INF, -INF, -0.01)),
        "quantity": ((5e-324, 1.0, 1.7e308), (NAN, INF, -INF, 0.0, -1.0)),
        "dwell_seconds": ((0.0, 1.7e308), (NAN, INF, -INF, -1.0)),
        "source": ((), ("set/0", "\x00", "x" * 10 * MEBIBYTE)),
        "sequence": ((), (1, 2**64 - 1)),
        "request_id": (("", *GOOD_IDS), BAD_IDS),
    },
    "UpsertProductsRequest": {
        "products": (
            ([ev.Product(product_id="p")] * 10_000,),
            ([], [ev.Product(product_id="p")] * 10_001, [ev.Product()]),
        ),
    },
    "Product": {
        "product_id": (GOOD_IDS, ("", *BAD_IDS)),
        "title": (("", "\x00", "x" * 900_000), ("x" * 1_000_001, "x" * 10 * MEBIBYTE)),
        "categories": (([], [""], ["\x00"] * 10_001), (["x" * 1_000_001],)),
        "brand": (("", "💡"), ("x" * 1_000_001,)),
        "price": ((0.0, -0.0, 5e-324, 1.7e308), (NAN, INF, -INF, -0.01)),
        "unavailable": ((True, False), ()),
    },
    "RemoveProductsRequest": {
        "product_ids": (
            (["never seen"], ["p"] * 10_000, list(GOOD_IDS)),
            ([], [""], ["p"] * 10_001, *([i] for i in BAD_IDS)),
        ),
    },
    "GetUserRequest": {"user_id": ((), ("", *BAD_IDS))},
    "ListModelsRequest": {},
}

# A good request of each call; a case changes one field of it.
BASES: dict[str, Message] = {
    "Recommend": pb.RecommendRequest(user_id="u"),
    "RecordEvents": pb.RecordEventsRequest(events=[ev.Event(kind=ev.EVENT_KIND_VIEW, user_id="u", product_id="p")]),
    "UpsertProducts": pb.UpsertProductsRequest(products=[ev.Product(product_id="p")]),
    "RemoveProducts": pb.RemoveProductsRequest(product_ids=["p"]),
    "GetUser": pb.GetUserRequest(user_id="u"),
    "ListModels": pb.ListModelsRequest(),
}
# Message inside a request → the call, and where it lies.
INSIDE = {"Event": ("RecordEvents", "events"), "Product": ("UpsertProducts", "products")}


def types_of(descriptor: Descriptor) -> Iterator[Descriptor]:
    """The message's type and all that lie in it."""
    yield descriptor
    for field in descriptor.fields:
        if field.message_type is not None:
            yield from types_of(field.message_type)


def test_every_field_of_every_request_has_a_case() -> None:
    calls = pb.DESCRIPTOR.services_by_name["RecommenderService"].methods
    assert set(BASES) == {call.name for call in calls}
    types = {found.name: found for call in calls for found in types_of(call.input_type)}
    assert {name: set(fields) for name, fields in CASES.items()} == {
        name: set(found.fields_by_name) for name, found in types.items()
    }


@pytest.fixture(scope="module")
def log(broker_address: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=broker_address, topic_prefix="badrequests", partitions=3)
    ensure_topics(settings, patience_seconds=20)
    return settings


@pytest.fixture(scope="module")
def inference(log: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    with running(log, tmp_path_factory.mktemp("inference")) as service:
        yield service


def requests_of(message: str, field: str, value: Any) -> tuple[str, Message]:
    """The call, and a good request of it with one field changed."""
    if message == "LogPosition":
        position = ev.LogPosition()
        setattr(position, field, value)
        return "Recommend", pb.RecommendRequest(user_id="u", after_position=position)
    call = INSIDE[message][0] if message in INSIDE else message.removesuffix("Request")
    request = type(BASES[call])()
    request.CopyFrom(BASES[call])
    holder = getattr(request, INSIDE[message][1])[0] if message in INSIDE else request
    descriptor = holder.DESCRIPTOR.fields_by_name[field]
    if descriptor.is_repeated:
        holder.ClearField(field)
        getattr(holder, field).extend(value)
    elif descriptor.type == F.TYPE_MESSAGE:
        getattr(holder, field).CopyFrom(value)
    else:
        setattr(holder, field, value)
    return call, request


def answer(inference: Inference, call: str, request: Message) -> tuple[grpc.StatusCode, str]:
    try:
        getattr(inference.stub, call)(request, timeout=30)
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return OK, ""


@pytest.mark.parametrize(
    ("message", "field"), [(message, field) for message, fields in CASES.items() for field in fields]
)
def test_a_field_at_its_extremes_is_answered_or_refused_by_its_name(
    inference: Inference, message: str, field: str
) -> None:
    good, bad = CASES[message][field]
    for value in good:
        code, details = answer(inference, *requests_of(message, field, value))
        assert code == OK, f"{value!r:.100}: {details}"
    for value in bad:
        code, details = answer(inference, *requests_of(message, field, value))
        assert code == WRONG, f"{value!r:.100}: {code} {details}"
        assert field in details or "[0]: at most" in details, f"{value!r:.100}: {details}"
        assert len(details) < 500, "a refusal does not repeat what is too long"


def test_what_is_larger_than_any_request_may_be_is_refused(inference: Inference) -> None:
    event = ev.Event(kind=ev.EVENT_KIND_VIEW, user_id="u", product_id="p", text="x" * 900_000)
    code, details = answer(inference, "RecordEvents", pb.RecordEventsRequest(events=[event] * 20))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details


@pytest.mark.parametrize("call", sorted(set(BASES) - {"ListModels"}))
def test_bytes_that_are_no_request_are_refused(inference: Inference, call: str) -> None:
    for junk in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b" * 5000):
        send = inference.channel.unary_unary(
            f"/freshet.v1.RecommenderService/{call}", request_serializer=bytes, response_deserializer=bytes
        )
        with pytest.raises(grpc.RpcError) as refused:
            send(junk, timeout=30)
        assert refused.value.code() == WRONG
        assert refused.value.details().startswith("request: ")


def test_unknown_products_harm_nothing(inference: Inference, log: KafkaSettings) -> None:
    """No features is at work here: the only states are the test's own."""
    known = inference.metrics()["freshet_inference_products"]
    ghosts = pb.RemoveProductsRequest(product_ids=[f"ghost{n}" for n in range(3)])
    assert inference.stub.RemoveProducts(ghosts, timeout=20).removed == 3
    states.write(
        log, [states.review("ann", "ghost0", 1), states.review("ann", "news", 2), states.review("bob", "x", 3)]
    )
    eventually(lambda: inference.metrics()["freshet_inference_applied_total"] == 3)
    assert inference.metrics()["freshet_inference_products"] == known + 2, "what was removed comes back by upsert alone"
    answer = inference.recommend("new", 1000, exclude=["x", "never seen", ""])
    shown = {product.product_id for product in answer.products}
    assert "news" in shown
    assert not shown & {"x", "ghost0", "ghost1"}


def test_after_all_that_the_service_answers_and_found_no_fault_of_its_own(inference: Inference) -> None:
    assert answer(inference, "Recommend", BASES["Recommend"]) == (OK, "")
    figures = inference.metrics()
    for call in BASES:
        assert figures[f'freshet_inference_requests_total{{code="INTERNAL",method="{call}"}}'] == 0.0
    assert "Traceback" not in inference.log
