"""The OpenAPI document: every call with its limits, examples that parse, and no dangling reference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from services.gateway.document import BODIES, FILE, PARAMETERS
from services.gateway.problems import STATUS
from services.gateway.recommender import GETS, METHODS
from services.gateway.transcoding import from_json

DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = [(path, verb, operation) for path, verbs in DOCUMENT["paths"].items() for verb, operation in verbs.items()]


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_every_call_is_there_and_nothing_else() -> None:
    described = {(path, verb) for path, verb, _ in OPERATIONS}
    gateway_only = {("/healthz", "get"), ("/v1/live", "get")}
    posts = {(method.path, "post") for method in METHODS.values()}
    assert described == gateway_only | posts | {(get.path, "get") for get in GETS}
    assert {"/v1/recommend", "/v1/batch-recommend", "/v1/list-models"} <= {path for path, _ in posts}


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_operations_are_named_apart_and_told_about() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] for _, _, operation in OPERATIONS)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schemas_are_schemas(name: str) -> None:
    Draft202012Validator({**SCHEMAS[name], "components": DOCUMENT["components"]})


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]})


@pytest.mark.parametrize("name", METHODS)
def test_the_example_is_read_and_fits_its_schema(name: str) -> None:
    method = METHODS[name]
    from_json(json.dumps(BODIES[name]).encode(), method.request)
    validator(method.request.DESCRIPTOR.name).validate(BODIES[name])
    body = DOCUMENT["paths"][method.path]["post"]["requestBody"]["content"]["application/json"]
    assert [example["value"] for example in body["examples"].values()] == [BODIES[name]]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("RecommendRequest", {"usr": "a"}),
        ("RecommendRequest", {"user_id": "a" * 257}),
        ("RecommendRequest", {"count": 1001}),
        ("RecommendRequest", {"wishes": {"count": 1001}}),
        ("RecommendRequest", {"wishes": {"filter": {"brand": {"values": [""]}}}}),
        ("UpsertProductsRequest", {"products": [{"product_id": "a", "price": -1}]}),
        ("UpsertProductsRequest", {"products": [{"product_id": "a", "listed_ms": 0}]}),
        ("RecordEventsRequest", {"events": [{"kind": "EVENT_KIND_VIEW", "product_id": "a", "total_votes": -1}]}),
        ("RecordEventsRequest", {"events": [{"kind": "EVENT_KIND_VIEW", "product_id": "a", "event_time_ms": 8e12}]}),
        ("RecommendRequest", {"session_product_ids": ["a"] * 501}),
        ("RecommendRequest", {"after_position": {"offset": "-1"}}),
        ("RecommendRequest", {"wishes": {"diversity": 1.5}}),
        ("RecommendRequest", {"wishes": {"product_fields": "colour"}}),
        ("RecommendRequest", {"wishes": {"filter": {}}}),
        ("RecommendRequest", {"wishes": {"filter": {"price": {"at_least": 1}, "age": {"at_least_days": 1}}}}),
        ("RecommendRequest", {"wishes": {"filter": {"price": {}}}}),
        ("RecommendRequest", {"wishes": {"filter": {"price": {"at_most": -1}}}}),
        ("RecommendRequest", {"wishes": {"filter": {"brand": {"values": []}}}}),
        ("RecommendRequest", {"wishes": {"boosts": [{"products": {"brand": {"values": ["a"]}}, "factor": 0}]}}),
        ("BatchRecommendRequest", {}),
        ("BatchRecommendRequest", {"user_ids": [""]}),
        ("GetProductRequest", {"product_id": ""}),
        ("RecordEventsRequest", {"events": [{"kind": "EVENT_KIND_VIEW"}]}),
        ("RecordEventsRequest", {"events": [{"kind": "EVENT_KIND_RATING", "product_id": "a", "rating": 5.5}]}),
        ("RecordEventsRequest", {"events": [{"kind": "EVENT_KIND_VIEW", "product_id": "a", "quantity": 0}]}),
    ],
)
def test_the_limits_of_the_protos_are_in_the_schemas(name: str, wrong: Any) -> None:
    assert not validator(name).is_valid(wrong)


def test_what_a_schema_can_not_say_of_a_limit_is_told() -> None:
    assert "Nests at most 10 levels deep" in SCHEMAS["Filter"]["description"]
    assert "At most 1000000 bytes each." in SCHEMAS["RecordEventsRequest"]["properties"]["events"]["description"]
    count = SCHEMAS["Wishes"]["properties"]["count"]
    assert (count["minimum"], count["default"]) == (0, 10)
    assert "0 means 10." in count["description"]


def test_what_is_deprecated_is_marked() -> None:
    marked = [
        (name, field)
        for name, schema in SCHEMAS.items()
        for field, definition in schema.get("properties", {}).items()
        if definition.get("deprecated")
    ]
    assert marked == [("RecommendRequest", "count"), ("RecommendRequest", "exclude_product_ids")]


def test_a_mask_may_be_empty() -> None:
    for fields in ("", "title", "title,price"):
        validator("RecommendRequest").validate({"wishes": {"product_fields": fields}})
    for fields in (",", "title,"):
        assert not validator("RecommendRequest").is_valid({"wishes": {"product_fields": fields}})


def test_times_may_be_numbers_or_strings() -> None:
    event = {"kind": "EVENT_KIND_VIEW", "product_id": "a"}
    for time in (1, "1"):
        validator("RecordEventsRequest").validate({"events": [{**event, "event_time_ms": time}]})


def test_answers_promise_every_field_that_is_always_there() -> None:
    assert SCHEMAS["RecommendedProduct"]["required"] == ["product_id", "score", "explored", "propensity", "reasons"]


def test_every_status_of_grpc_has_one_of_http() -> None:
    assert len(STATUS) == 16
    statuses = {int(status) for status in DOCUMENT["components"]["responses"]}
    assert {400, 404, 429, 500, 501, 503, 504} <= statuses & set(STATUS.values())


def test_examples_of_parameters_are_of_parameters() -> None:
    names = {name for get in GETS for name in (*get.in_path, *get.query)}
    assert set(PARAMETERS) <= names
