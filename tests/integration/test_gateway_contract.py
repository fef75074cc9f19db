"""The gateway, and inference behind it, hold to the OpenAPI document, whatever they are asked."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error, positive_data_acceptance

from services.gateway.api import TIMEOUT
from services.gateway.document import BODIES, FILE, PRODUCT, USER
from services.gateway.recommender import METHODS
from services.gateway.transcoding import from_json
from shared.log.topics import ensure_topics
from shared.pb.freshet.v1.events_pb2 import LogPosition
from shared.process.errors import BadRequest
from shared.process.settings import KafkaSettings
from tests.support import inference, states
from tests.support.gateway import Gateway, gateway
from tests.support.inference import eventually
from tests.support.processes import kafka_environment, running

DOCUMENT = schemathesis.openapi.from_path(FILE)


@pytest.fixture(scope="module")
def shop(broker_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before an inference that knows what the document's examples name."""
    kafka = KafkaSettings(bootstrap_servers=broker_address, topic_prefix=f"t{uuid.uuid4().hex[:10]}", partitions=3)
    ensure_topics(kafka, patience_seconds=20)
    states.write(kafka, [*states.shoppers(300), states.review(USER, PRODUCT, 20)])
    folder = tmp_path_factory.mktemp("contract")
    with ExitStack() as stack:
        served = stack.enter_context(inference.running(kafka, folder))
        evaluator = stack.enter_context(
            running("services.evaluator", kafka_environment(kafka), folder / "evaluator.log")
        )
        metrics = f"http://127.0.0.1:{evaluator.metrics_port}/metrics"
        made = stack.enter_context(gateway(served.address, folder, evaluator_metrics=metrics))
        product = {
            "product_id": PRODUCT,
            "title": "Tessel game console",
            "categories": ["Video Games"],
            "brand": "Tessel",
        }
        assert made.ask("/v1/upsert-products", {"products": [{**product, "price": 206.99}]}).status == 200
        eventually(lambda: made.ask(f"/v1/products/{PRODUCT}").json.get("product", {}).get("title"))
        eventually(lambda: made.ask("/v1/live").status == 200)
        yield made


@pytest.mark.parametrize("name", METHODS)
def test_each_example_is_answered(shop: Gateway, name: str) -> None:
    answer = shop.ask(METHODS[name].path, BODIES[name])
    assert answer.status == 200, answer.body


def waits(case: schemathesis.Case) -> bool:
    """Whether it asks for a position of the log, which is waited for; test_gateway does."""
    if not isinstance(case.body, dict) or not isinstance(case.body.get("after_position"), dict):
        return False
    try:
        from_json(json.dumps(case.body["after_position"]).encode(), LogPosition)
    except BadRequest:
        return False
    return True


@schemathesis.check
def no_fault(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """No 5xx but for want of time, where little was asked for."""
    if response.status_code in (503, 504):
        assert float(case.headers.get(TIMEOUT, math.inf)) < 5.0, response.text
    else:
        assert response.status_code < 500, response.text


@DOCUMENT.parametrize()
@settings(max_examples=15, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_the_answer_is_as_documented(case: schemathesis.Case, shop: Gateway) -> None:
    if waits(case):
        return
    case.call_and_validate(
        base_url=shop.url,
        additional_checks=[no_fault],
        # A schema can't say that a page token is one that was given, or that one price lies above another.
        excluded_checks=[not_a_server_error, positive_data_acceptance],
    )
