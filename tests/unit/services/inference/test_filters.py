"""Which products meet a filter, while the catalogue changes and time passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from services.inference.knowledge.catalogue import Catalogue
from services.inference.knowledge.filters import Facts, Masks, mask_of
from shared.log.records import DAY_MS
from shared.pb.freshet.v1 import events_pb2 as ev
from shared.pb.freshet.v1 import recommender_pb2 as pb

TODAY_MS = 1_000 * DAY_MS


def filter_of(condition: dict[str, Any]) -> pb.Filter:
    return ParseDict(condition, pb.Filter())


def shop() -> Catalogue:
    """Two shoes, a hat, a product without attributes, one known only from its events, and one that was removed."""
    catalogue = Catalogue()
    shoe = {"categories": ["Clothes", "Shoes"], "brand": "Acme", "availability": ev.AVAILABILITY_IN_STOCK}
    for product in (
        ev.Product(product_id="shoe", price=50.0, listed_ms=TODAY_MS - 10 * DAY_MS, **shoe),
        ev.Product(product_id="boot", price=80.0, **shoe),
        ev.Product(product_id="hat", categories=["clothes", "Hats"], brand="Hatter", price=20.0),
        ev.Product(product_id="bare"),
        ev.Product(product_id="gone", price=50.0, **shoe),
    ):
        catalogue.upsert(product)
    catalogue.remove("gone")
    for name, days in (("shoe", 900), ("boot", 400), ("boot", 300), ("told", 5)):
        catalogue.count(catalogue.row_of(name), TODAY_MS - days * DAY_MS)
    return catalogue


def matches(catalogue: Catalogue, condition: pb.Filter, now_ms: int = TODAY_MS) -> list[str]:
    rows = len(catalogue)
    catalogue.attributes.grow_to(rows)
    mask = mask_of(condition, Facts(catalogue.attributes, catalogue.born_ms(rows), now_ms))
    return [catalogue.ids[row] for row in np.flatnonzero(mask.met)]


CHEAP = {"price": {"at_most": 50}}
SHOES = {"category": {"values": ["SHOES"]}}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (SHOES, "shoe boot"),
        ({"category": {"values": ["shoes", "hats", "nothing"]}}, "shoe boot hat"),
        ({"category": {"values": ["Clothes"]}}, "shoe boot hat"),
        ({"category": {"values": ["acme"]}}, ""),
        ({"brand": {"values": ["ACME"]}}, "shoe boot"),
        ({"brand": {"values": ["nobody"]}}, ""),
        (CHEAP, "shoe hat"),
        ({"price": {"at_least": 50}}, "shoe boot"),
        ({"price": {"at_least": 50, "at_most": 50}}, "shoe"),
        ({"age": {"at_most_days": 10}}, "shoe told"),
        ({"age": {"at_least_days": 10}}, "shoe boot"),
        ({"age": {"at_least_days": 10, "at_most_days": 399.5}}, "shoe"),
        ({"availability": {"values": ["AVAILABILITY_IN_STOCK"]}}, "shoe boot"),
        ({"availability": {"values": ["AVAILABILITY_UNSPECIFIED"]}}, "hat bare gone told"),
        ({"not": CHEAP}, "boot bare gone told"),
        ({"not": {"age": {"at_least_days": 0}}}, "hat bare gone"),
        ({"all_of": {"filters": [SHOES, CHEAP]}}, "shoe"),
        ({"any_of": {"filters": [SHOES, CHEAP]}}, "shoe boot hat"),
        (
            {"all_of": {"filters": [{"not": SHOES}, {"any_of": {"filters": [CHEAP, {"age": {"at_most_days": 9}}]}}]}},
            "hat told",
        ),
    ],
)
def test_a_filter_finds_what_meets_it_and_what_is_unknown_meets_nothing(
    condition: dict[str, Any], expected: str
) -> None:
    assert matches(shop(), filter_of(condition)) == expected.split()


def test_a_product_upserted_anew_has_its_new_attributes_alone() -> None:
    catalogue = shop()
    assert matches(catalogue, filter_of(SHOES)) == ["shoe", "boot"]
    catalogue.upsert(ev.Product(product_id="shoe", categories=["Hats"], price=5.0))
    assert matches(catalogue, filter_of(SHOES)) == ["boot"]
    assert matches(catalogue, filter_of({"category": {"values": ["hats"]}})) == ["shoe", "hat"]
    assert matches(catalogue, filter_of({"age": {"at_least_days": 900}})) == ["shoe"], "from its first event now"
    assert matches(catalogue, filter_of({"brand": {"values": ["acme"]}})) == ["boot"]


AGED = filter_of({"any_of": {"filters": [{"age": {"at_least_days": 3, "at_most_days": 7.5}}, CHEAP]}})
STEPS = st.one_of(
    st.tuples(st.just("upsert"), st.integers(0, 4), st.sampled_from([None, 0, 2, 6]), st.sampled_from([10.0, 90.0])),
    st.tuples(st.just("event"), st.integers(0, 6), st.integers(0, 9), st.just(0.0)),
    st.tuples(st.just("remove"), st.integers(0, 4), st.just(0), st.just(0.0)),
    st.tuples(st.just("later"), st.just(0), st.sampled_from([0, 1, 3]), st.sampled_from([0.0, 0.5])),
)


@given(st.lists(STEPS, max_size=30))
def test_a_mask_that_is_kept_is_the_one_that_would_be_made(steps: list[tuple[str, int, int | None, float]]) -> None:
    catalogue, now_ms = Catalogue(), TODAY_MS
    masks = Masks(catalogue)
    for step, product, days, amount in steps:
        if step == "upsert":
            listed_ms = None if days is None else TODAY_MS - days * DAY_MS
            catalogue.upsert(ev.Product(product_id=f"p{product}", price=amount, listed_ms=listed_ms))
        elif step == "event":
            catalogue.count(catalogue.row_of(f"p{product}"), TODAY_MS - (days or 0) * DAY_MS)
        elif step == "remove":
            catalogue.remove(f"p{product}")
        else:
            now_ms += int(((days or 0) + amount) * DAY_MS) + int(amount == 0.5)
        for condition in (AGED, filter_of(CHEAP), filter_of({"not": {"age": {"at_most_days": 2}}})):
            met = masks.met(condition, len(catalogue), now_ms)
            assert [catalogue.ids[row] for row in np.flatnonzero(met)] == matches(catalogue, condition, now_ms)


def test_a_mask_is_made_once_while_nothing_changes() -> None:
    catalogue = shop()
    masks = Masks(catalogue)
    first = masks.met(AGED, len(catalogue), TODAY_MS)
    assert masks.met(AGED, len(catalogue), TODAY_MS + 1) is first
    assert masks.met(AGED, len(catalogue), TODAY_MS + DAY_MS) is first, "nothing passes an age in that day"
    catalogue.count(catalogue.row_of("hat"), TODAY_MS)
    assert masks.met(AGED, len(catalogue), TODAY_MS + DAY_MS) is not first


def test_masks_of_many_filters_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.inference.knowledge.filters.MOST_BYTES", 300)
    catalogue = shop()
    masks = Masks(catalogue)
    conditions = [filter_of({"price": {"at_most": n}}) for n in range(11)]
    kept = [masks.met(condition, len(catalogue), TODAY_MS) for condition in conditions]
    again = [
        masks.met(condition, len(catalogue), TODAY_MS) is mask
        for condition, mask in zip(conditions[1:], kept[1:], strict=True)
    ]
    assert all(again)
    assert masks.met(conditions[0], len(catalogue), TODAY_MS) is not kept[0]
