"""What the gateway accepts as a request: every message of the protos, and nothing that hides a mistake."""

from __future__ import annotations

import math

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.recommender import METHODS
from services.gateway.transcoding import MOST_DEEP, fill, from_json
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.errors import BadRequest
from tests.support.messages import messages

KINDS = sorted((method.request for method in METHODS.values()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data(), own_names=st.booleans())
def test_whatever_protobuf_writes_is_read_as_it_was(kind: type[Message], data: st.DataObject, own_names: bool) -> None:
    message = data.draw(messages(kind))
    text = json_format.MessageToJson(message, preserving_proto_field_name=own_names)
    if not own_names or "product_fields" not in text:  # protobuf refuses the proto's own names in a mask
        assert json_format.Parse(text, kind()) == message
    assert from_json(text.encode(), kind) == message


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        (b"", "", "the body must be JSON: Expecting value at line 1, column 1"),
        (b'{"user_id":\n }', "", "the body must be JSON: Expecting value at line 2, column 2"),
        (b"\xff", "", "the body must be JSON in UTF-8: byte 1 is not"),
        (b"[" * 100_000, "", f"the body nests deeper than {MOST_DEEP}"),
        (b'{"count":' + b"1" * 5000 + b"}", "", "the body must be JSON, with numbers that a double holds"),
        (b'{"count": NaN}', "", "the body must be JSON, which has no NaN"),
        (b'{"count": 1, "count": 2}', "", 'the body gives "count" twice'),
        (b"[]", "", "the body must be an object, got a list"),
        (b"null", "", "the body must be an object, got null"),
        (b'{"usr_id": "a"}', "usr_id", "usr_id: no such field; did you mean user_id?"),
        (b'{"xyz": "a"}', "xyz", "xyz: no such field; known: user_id, count, "),
        (b'{"user_id": "a", "userId": "b"}', "userId", "userId: given twice"),
        (b'{"user_id": null}', "user_id", "user_id: a string, got null"),
        (b'{"user_id": 7}', "user_id", "user_id: a string, got 7"),
        (b'{"user_id": "\\ud800"}', "user_id", "user_id: holds half of a surrogate pair"),
        (b'{"count": "7"}', "count", 'count: a whole number, 0 to 4294967295, got "7"'),
        (b'{"count": 7.5}', "count", "count: a whole number, 0 to 4294967295, got 7.5"),
        (b'{"count": true}', "count", "count: a whole number, 0 to 4294967295, got true"),
        (b'{"count": -1}', "count", "count: a whole number, 0 to 4294967295, got -1"),
        (b'{"count": 4294967296}', "count", "count: a whole number, 0 to 4294967295, got 4294967296"),
        (b'{"after_position": {"offset": "1x"}}', "after_position.offset", "after_position.offset: a whole number"),
        (b'{"exclude_product_ids": "a"}', "exclude_product_ids", 'exclude_product_ids: a list, got "a"'),
        (b'{"exclude_product_ids": ["a", 1]}', "exclude_product_ids[1]", "exclude_product_ids[1]: a string, got 1"),
        (b'{"wishes": 1}', "wishes", "wishes: an object, got 1"),
        (b'{"wishes": {"explain": 1}}', "wishes.explain", "wishes.explain: true or false, got 1"),
        (b'{"wishes": {"diversity": "1"}}', "wishes.diversity", 'wishes.diversity: a finite number, got "1"'),
        (b'{"wishes": {"diversity": 1e999}}', "wishes.diversity", "wishes.diversity: a finite number, got Infinity"),
        (
            b'{"wishes": {"diversity": 1' + b"0" * 400 + b"}}",
            "wishes.diversity",
            "wishes.diversity: a finite number, got 1000",
        ),
        (b'{"wishes": {"product_fields": "a,,b"}}', "wishes.product_fields", "wishes.product_fields: names of fields"),
        (
            b'{"wishes": {"product_fields": ["a"]}}',
            "wishes.product_fields",
            "wishes.product_fields: a string, got a list",
        ),
        (
            b'{"wishes": {"boosts": [{}, {"products": {"availability": {"values": ["SOON"]}}}]}}',
            "wishes.boosts[1].products.availability.values[0]",
            "wishes.boosts[1].products.availability.values[0]: one of AVAILABILITY_UNSPECIFIED, ",
        ),
        (
            b'{"wishes": {"filter": {"price": {}, "age": {}}}}',
            "wishes.filter.age",
            "wishes.filter.age: only one of all_of, any_of, not, category, brand, price, age, ",
        ),
    ],
)
def test_what_is_wrong_is_named(text: bytes, field: str, message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        from_json(text, pb.RecommendRequest)
    assert refused.value.field == field
    assert str(refused.value).startswith(message)
    assert len(str(refused.value)) < 400


def test_what_nests_too_deep_is_refused_before_it_reaches_protobuf() -> None:
    deep = b'{"wishes": {"filter": ' + b'{"not": ' * 120 + b"{}" + b"}" * 120 + b"}}"
    with pytest.raises(BadRequest, match=f"nests deeper than {MOST_DEEP}"):
        from_json(deep, pb.RecommendRequest)


def test_numbers_as_javascript_and_as_protobuf_write_them() -> None:
    for offset in ("12", "12.0", '"12"'):
        read = from_json(f'{{"after_position": {{"offset": {offset}}}}}'.encode(), pb.RecommendRequest)
        assert read.after_position.offset == 12


FIELDS = {"user_id": "user_id", "count": "wishes.count", "least": "wishes.minimum_score", "explain": "wishes.explain",
          "product_fields": "wishes.product_fields"}  # fmt: skip


def test_a_url_sets_fields_at_any_depth() -> None:
    read = pb.RecommendRequest()
    given = [
        ("user_id", "7"),
        ("count", "7"),
        ("least", "-1.5e1"),
        ("explain", "true"),
        ("product_fields", "title,price"),
    ]
    fill(read, given, FIELDS)
    assert read == pb.RecommendRequest(
        user_id="7",
        wishes=pb.Wishes(count=7, minimum_score=-15.0, explain=True, product_fields={"paths": ["title", "price"]}),
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cuont", "7", "cuont: no such parameter; did you mean count?"),
        ("count", "", 'count: a whole number, 0 to 4294967295, got ""'),
        ("count", "seven", 'count: a whole number, 0 to 4294967295, got "seven"'),
        ("count", "99999999999999999999", "count: a whole number, 0 to 4294967295, got 99999999999999999999"),
        ("least", "nan", 'least: a finite number, got "nan"'),
        ("least", "1e999", "least: a finite number, got Infinity"),
        ("explain", "yes", 'explain: true or false, got "yes"'),
    ],
)
def test_a_wrong_parameter_is_named(name: str, text: str, message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        fill(pb.RecommendRequest(), [(name, text)], FIELDS)
    assert (refused.value.field, str(refused.value)) == (name, message)


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(BadRequest, match="count: given twice"):
        fill(pb.RecommendRequest(), [("count", "1"), ("count", "1")], FIELDS)


def test_an_empty_mask_asks_for_no_fields() -> None:
    empty = pb.RecommendRequest(wishes=pb.Wishes(product_fields={}))
    assert json_format.MessageToDict(empty) == {"wishes": {"productFields": ""}}
    assert from_json(b'{"wishes": {"productFields": ""}}', pb.RecommendRequest) == empty
    by_url = pb.RecommendRequest()
    fill(by_url, [("product_fields", "")], FIELDS)
    assert by_url == empty


def test_floats_keep_every_bit() -> None:
    value = math.nextafter(0.1, 1.0)
    assert (
        from_json(f'{{"wishes": {{"diversity": {value!r}}}}}'.encode(), pb.RecommendRequest).wishes.diversity == value
    )
