"""What the gateway answers is protobuf's own JSON."""

from __future__ import annotations

import json
import math

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.recommender import METHODS
from services.gateway.transcoding import to_dict, to_json
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import ModelVersion, Product
from tests.support.messages import messages

KINDS = sorted((method.response for method in METHODS.values()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=15, derandomize=True, deadline=None)
@given(data=st.data())
def test_it_is_what_protobuf_writes(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(kind, leave_out={"freshet.v1.RecommendedProduct.product"}))
    expected = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert json.loads(to_json(message)) == expected


def test_a_product_beside_a_recommendation_has_what_was_asked_for() -> None:
    product = Product(title="A", price=0.0, categories=["x"], listed_ms=7)
    message = pb.RecommendedProduct(product_id="a", product=product)
    assert to_dict(message)["product"] == {"title": "A", "categories": ["x"], "price": 0.0, "listed_ms": "7"}


def test_numbers_that_json_has_no_word_for_are_strings() -> None:
    metrics = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.5}
    message = pb.ListModelsResponse(versions=[ModelVersion(metrics=metrics, applied_events=2**60)])
    [version] = to_dict(message)["versions"]
    assert version["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 0.5}
    assert version["applied_events"] == str(2**60)
