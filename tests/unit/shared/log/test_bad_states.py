"""What readers refuse of the topics that no caller's check guards: states, products, versions."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.records import BOUNDS, parse_product, parse_state
from shared.model.serving import PublishedVersions
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.errors import BadEvent
from tests.support.mutations import OTHER_SCHEMAS, mutated

GOOD: dict[str, Any] = {
    "user_id": "u",
    "product_id": "p",
    "kind": pb.EVENT_KIND_VIEW,
    "event_time_ms": 1,
    "rating": 3.0,
}

PARTITIONS = 3


def state(**fields: Any) -> bytes:
    return pb.StateVector(**(GOOD | fields)).SerializeToString()


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("undecodable", None),
        ("undecodable", b""),
        ("undecodable", b"\xff\xff"),
        ("no_kind", state(kind=0)),
        ("no_kind", state(kind=77)),
        ("no_product", state(product_id="")),
        ("bad_id", state(product_id="a\nb")),  # products.txt holds one a line
        ("bad_id", state(user_id="u" * 257)),
        ("bad_time", state(event_time_ms=0)),
        ("bad_time", state(event_time_ms=-(2**63))),
        ("bad_time", state(event_time_ms=2**63 - 1)),  # all that is trending would count for nothing beside it
        ("bad_place", state(source_offset=-1)),
        ("bad_place", state(source_partition=-1)),
        ("bad_place", state(source_partition=PARTITIONS)),
        ("bad_place", state(source_partition=2**31 - 1)),  # room would be made for so many
        *(
            ("no_kind", other.SerializeToString())
            for other in OTHER_SCHEMAS
            if isinstance(other, pb.Event | pb.Product)
        ),
        *(
            ("bad_number", state(**{name: value}))
            for name, (least, most) in BOUNDS.items()
            for value in (math.nan, math.inf, -math.inf, least - 0.01, most + 0.01, 1e300)
        ),
    ],
)
def test_a_state_that_features_never_writes_is_refused(reason: str, value: bytes | None) -> None:
    with pytest.raises(BadEvent) as refused:
        parse_state(value, PARTITIONS)
    assert refused.value.reason == reason


def test_what_features_writes_passes() -> None:
    for name, bounds in BOUNDS.items():
        for value in bounds:
            parse_state(state(**{name: value}), PARTITIONS)
    parse_state(state(user_id=""), PARTITIONS)  # a guest's
    parse_state(
        pb.StateVector(kind=pb.EVENT_KIND_TICK, event_time_ms=1, source_offset=2**62).SerializeToString(), PARTITIONS
    )


@given(st.integers(0, 2**32))
def test_whatever_is_read_as_a_state_can_be_learned_from(seed: int) -> None:
    rng = random.Random(seed)
    try:
        read = parse_state(mutated(rng, pb.StateVector.FromString(state())), PARTITIONS)
    except BadEvent:
        return
    if read.kind != pb.EVENT_KIND_TICK:
        assert all(least <= getattr(read, name) <= most for name, (least, most) in BOUNDS.items())
        assert f"{read.product_id}\n".splitlines() == [read.product_id]


@pytest.mark.parametrize(
    ("reason", "key", "value"),
    [
        ("bad_id", None, pb.Product(product_id="p")),
        ("bad_id", b"", pb.Product(product_id="")),
        ("bad_id", b"\xff", pb.Product(product_id="p")),
        ("bad_id", b"a\nb", pb.Product(product_id="a\nb")),
        ("bad_id", b"x" * 257, None),
        ("bad_id", b"p", pb.Product(product_id="q")),
        ("bad_id", b"p", pb.Product()),  # an empty value is no removal
        ("bad_id", b"p", pb.Pointer(version_id="v")),
        ("undecodable", b"p", b"\xff\xff"),
    ],
)
def test_a_product_that_is_none_is_refused(reason: str, key: bytes | None, value: Any) -> None:
    content = value if value is None or isinstance(value, bytes) else value.SerializeToString()
    with pytest.raises(BadEvent) as refused:
        parse_product(key, content)
    assert refused.value.reason == reason


def test_products_and_removals_pass() -> None:
    product = pb.Product(product_id="ü", title="\x00", unavailable=True)
    assert parse_product("ü".encode(), product.SerializeToString()) == ("ü", product)
    assert parse_product(b"never seen", None) == ("never seen", None)


@pytest.mark.parametrize("created_ms", [-1, 2**63 - 1])
def test_a_version_of_no_time_is_refused(created_ms: int) -> None:
    version = pb.ModelVersion(version_id="v1", created_ms=created_ms)
    with pytest.raises(BadEvent, match="is no time"):
        PublishedVersions().apply(b"version/v1", version.SerializeToString())
