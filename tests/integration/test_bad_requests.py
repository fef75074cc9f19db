"""Every field of every call at its extremes: answered, or refused with the field's name; never an internal error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from shared.log.clients import CountedProducer, producer_config
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.settings import KafkaSettings
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
COUNTS = ((0, 1, 1000), (1001, 2**31, 2**32 - 1))
AMOUNTS = ((0.0, -0.0, 5e-324, 1.7e308), (NAN, INF, -INF, -0.01))
TOKENS = (("",), ("x", "AAAA", "=", "é", "\x00", "x" * 10_000))

CHEAP = pb.Filter(price=pb.PriceRange(at_most=5.0))


def nested(deep: int) -> pb.Filter:
    """A filter so many levels deep."""
    return CHEAP if deep == 1 else pb.Filter(all_of=pb.Filters(filters=[nested(deep - 1)]))


def wide(conditions: int) -> pb.Filter:
    """A filter of so many conditions in all, more than 902."""
    branches = [pb.Filter(any_of=pb.Filters(filters=[CHEAP] * size)) for size in [99] * 9 + [conditions - 902]]
    return pb.Filter(any_of=pb.Filters(filters=branches))


# Request, or message in one → field → values that pass, values that are refused. A field without a row fails a test.
CASES: dict[str, dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]]] = {
    "RecommendRequest": {
        "user_id": (("", *GOOD_IDS), BAD_IDS),  # a guest has none
        "count": COUNTS,
        "exclude_product_ids": (
            ([], ["never seen"], [""], ["\x00"], ["x" * 300], ["p"] * 10_000, ["💡" * 65]),
            (["p"] * 10_001,),
        ),
        "after_position": ((), (ev.LogPosition(partition=-1), ev.LogPosition(offset=-1))),
        "session_product_ids": (
            ([], ["p"] * 500, ["never seen", "", "\x00", "x" * 300]),
            (["p"] * 501,),
        ),
        "wishes": ((pb.Wishes(),), (pb.Wishes(count=1001),)),
    },
    "BatchRecommendRequest": {
        "user_ids": (
            (["u"] * 100, list(GOOD_IDS)),
            ([], ["u"] * 100_001, [""], *([i] for i in BAD_IDS)),
        ),
        "wishes": ((pb.Wishes(explain=True),), (pb.Wishes(diversity=2.0),)),
    },
    "SimilarProductsRequest": {
        "product_id": ((), ("", *BAD_IDS)),
        "wishes": ((pb.Wishes(),), (pb.Wishes(boosts=[pb.Boost()]),)),
    },
    "TrendingRequest": {
        "category": (("", "\x00", "x" * 300), ()),
        "wishes": ((pb.Wishes(),), (pb.Wishes(filter=pb.Filter()),)),
    },
    "Wishes": {
        "count": COUNTS,
        "exclude_product_ids": (([], ["never seen", "", "\x00"], ["p"] * 10_000), (["p"] * 10_001,)),
        "filter": ((CHEAP,), (pb.Filter(), nested(11), wide(1001), pb.Filter(all_of=pb.Filters()))),
        "boosts": (
            ([], [pb.Boost(products=CHEAP, factor=2.0)] * 100),
            ([pb.Boost(products=CHEAP, factor=2.0)] * 101, [pb.Boost(factor=2.0)]),
        ),
        "diversity": ((0.0, -0.0, 5e-324, 1.0), (NAN, INF, -INF, -0.01, 1.01)),
        "minimum_score": ((0.0, -1.7e308, 1.7e308), (NAN, INF, -INF)),
        "product_fields": (
            (FieldMask(), FieldMask(paths=["title", "title", "price"])),
            (FieldMask(paths=["titel"]), FieldMask(paths=["title.x"]), FieldMask(paths=["x" * 300])),
        ),
        "explain": ((True, False), ()),
    },
    "FieldMask": {"paths": ((["product_id", "categories"],), ([""], ["*"], ["title", "titel"]))},
    "Boost": {
        "products": ((CHEAP, nested(10)), (nested(11),)),
        "factor": ((5e-324, 1.0, 1e6), (NAN, INF, -INF, 0.0, -1.0, 1_000_001.0)),
    },
    "Filter": {
        "all_of": ((pb.Filters(filters=[CHEAP] * 100), nested(9).all_of), (pb.Filters(filters=[CHEAP] * 101),)),
        "any_of": ((pb.Filters(filters=[CHEAP]), wide(1000).any_of), (pb.Filters(), pb.Filters(filters=[pb.Filter()]))),
        "not": ((CHEAP, nested(9)), (pb.Filter(), nested(10))),
        "category": ((pb.Values(values=["never seen"]),), (pb.Values(),)),
        "brand": ((pb.Values(values=["never seen"]),), (pb.Values(),)),
        "price": ((pb.PriceRange(at_least=1.0),), (pb.PriceRange(), pb.PriceRange(at_least=2.0, at_most=1.0))),
        "age": ((pb.AgeRange(at_most_days=0.0),), (pb.AgeRange(), pb.AgeRange(at_least_days=1.0, at_most_days=0.5))),
        "availability": ((pb.Availabilities(values=[0, 1, 2, 3]),), (pb.Availabilities(),)),
    },
    "Filters": {"filters": (([CHEAP],), ([], [CHEAP] * 101, [CHEAP, pb.Filter()]))},
    "Values": {"values": ((["x"] * 1000, ["\x00"], ["x" * 10_000]), ([], ["x"] * 1001, ["x", ""]))},
    "Availabilities": {"values": (([1, 1, 1, 1],), ([], [1] * 5, [4], [-1], [2**31 - 1]))},
    "PriceRange": {"at_least": AMOUNTS, "at_most": AMOUNTS},
    "AgeRange": {"at_least_days": AMOUNTS, "at_most_days": AMOUNTS},
    "ListProductsRequest": {
        "page_size": COUNTS,
        "page_token": TOKENS,
        "query": (("", "   ", "\x00", "x" * 256), ("x" * 257, "ü" * 129)),
        "filter": ((CHEAP,), (pb.Filter(), nested(11))),
    },
    "ListUsersRequest": {"page_size": COUNTS, "page_token": TOKENS},
    "GetProductRequest": {"product_id": ((), ("", *BAD_IDS))},
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
        "availability": ((0, 1, 2, 3), (4, -1, 2**31 - 1)),
        "listed_ms": ((1, 1_300_000_000_000), (0, -1, 7_258_118_400_000, *INT64[:1], INT64[-1])),
        "description": (("", "\x00", "x" * 900_000), ("x" * 1_000_001,)),
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
    "BatchRecommend": pb.BatchRecommendRequest(user_ids=["u"]),
    "SimilarProducts": pb.SimilarProductsRequest(product_id="kept"),
    "Trending": pb.TrendingRequest(),
    "RecordEvents": pb.RecordEventsRequest(events=[ev.Event(kind=ev.EVENT_KIND_VIEW, user_id="u", product_id="p")]),
    "UpsertProducts": pb.UpsertProductsRequest(products=[ev.Product(product_id="p")]),
    "RemoveProducts": pb.RemoveProductsRequest(product_ids=["p"]),
    "ListProducts": pb.ListProductsRequest(),
    "GetProduct": pb.GetProductRequest(product_id="kept"),
    "GetUser": pb.GetUserRequest(user_id="u"),
    "ListUsers": pb.ListUsersRequest(),
    "ListModels": pb.ListModelsRequest(),
}
# Message inside a request → the call, and where it lies.
INSIDE = {
    "Event": ("RecordEvents", "events"),
    "Product": ("UpsertProducts", "products"),
    "LogPosition": ("Recommend", "after_position"),
    "Wishes": ("Recommend", "wishes"),
    "FieldMask": ("Trending", "wishes.product_fields"),
    "Boost": ("BatchRecommend", "wishes.boosts"),
    "Filter": ("Recommend", "wishes.filter"),
    "Filters": ("ListProducts", "filter.not.any_of"),
    "Values": ("Trending", "wishes.boosts.products.brand"),
    "Availabilities": ("ListProducts", "filter.availability"),
    "PriceRange": ("Recommend", "wishes.filter.all_of.filters.price"),
    "AgeRange": ("SimilarProducts", "wishes.filter.age"),
}


def types_of(descriptor: Descriptor, types: dict[str, Descriptor]) -> None:
    """Add the message's type, and those of its fields, to `types`."""
    if descriptor.name not in types:
        types[descriptor.name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                types_of(field.message_type, types)


def test_every_field_of_every_request_has_a_case() -> None:
    calls = pb.DESCRIPTOR.services_by_name["RecommenderService"].methods
    assert set(BASES) == {call.name for call in calls}
    types: dict[str, Descriptor] = {}
    for call in calls:
        types_of(call.input_type, types)
    assert {name: set(fields) for name, fields in CASES.items()} == {
        name: set(descriptor.fields_by_name) for name, descriptor in types.items()
    }


@pytest.fixture(scope="module")
def log(broker_address: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=broker_address, topic_prefix="badrequests", partitions=3)
    ensure_topics(settings, patience_seconds=20)
    producer = CountedProducer(producer_config(settings))
    kept = ev.Product(product_id="kept")
    producer.send(Topics.of(settings).products, key=b"kept", value=kept.SerializeToString())
    producer.flush(20)
    return settings


@pytest.fixture(scope="module")
def inference(log: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    with running(log, tmp_path_factory.mktemp("inference")) as service:
        yield service


def requests_of(message: str, field: str, value: Any) -> tuple[str, Message]:
    """The call, and a good request of it with one field changed."""
    call, path = INSIDE.get(message, (message.removesuffix("Request"), ""))
    request = type(BASES[call])()
    request.CopyFrom(BASES[call])
    holder: Any = request
    for name in filter(None, path.split(".")):
        inner = getattr(holder, name)
        if holder.DESCRIPTOR.fields_by_name[name].is_repeated:
            holder = inner[0] if inner else inner.add()
            if message != "Boost" and name == "boosts":
                holder.factor = 1.0
        else:
            inner.SetInParent()
            holder = inner
    if message == "Boost":
        holder.CopyFrom(pb.Boost(products=CHEAP, factor=1.0))
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
        response = getattr(inference.stub, call)(request, timeout=30)
        if call == "BatchRecommend":
            assert len(list(response)) == len(request.user_ids)
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
    number = next(f.number for f in BASES[call].DESCRIPTOR.fields if f.type in (F.TYPE_STRING, F.TYPE_MESSAGE))
    tag = bytes([number << 3 | 2])
    for junk in (b"\xff" * 40, tag + b"\xff\xff\xff\xff\x0f", tag + b"\x02\xff\xfe", b"\x0b" * 5000):
        kind = inference.channel.unary_stream if call == "BatchRecommend" else inference.channel.unary_unary
        send = kind(f"/freshet.v1.RecommenderService/{call}", request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.RpcError) as refused:
            list(send(junk, timeout=30))
        assert refused.value.code() == WRONG
        assert refused.value.details().startswith("request: ")


def test_unknown_products_harm_nothing(inference: Inference, log: KafkaSettings) -> None:
    """The features service does not run here: the only states are the test's own."""
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
