"""HTTP beside gRPC: the same answers, every refusal as problem details, and no more than gRPC lets through."""

from __future__ import annotations

import http.client
import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from services.embedded.broker import free_port
from shared.log.topics import Topics, ensure_topics
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_REVIEW, Event
from shared.process.settings import KafkaSettings
from tests.kafka.log import read_all
from tests.support import inference
from tests.support.gateway import JSON, Answer, Gateway, gateway
from tests.support.inference import Inference, eventually
from tests.support.link import Link
from tests.support.processes import running
from tests.support.resetting import CANCEL, REFUSED_STREAM, resetting

NEVER = {"partition": 0, "offset": 10**6}  # a position that no record reaches


@pytest.fixture(scope="module")
def kafka(broker_address: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=broker_address, topic_prefix=f"t{uuid.uuid4().hex[:10]}", partitions=3)
    ensure_topics(settings, patience_seconds=20)
    return settings


@pytest.fixture(scope="module")
def served(kafka: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    """Inference with a few products."""
    with inference.running(kafka, tmp_path_factory.mktemp("inference")) as service:
        products = [{"product_id": f"p{n}", "title": f"Title {n}", "price": n + 0.5} for n in range(5)]
        service.stub.UpsertProducts(pb.UpsertProductsRequest(products=products), timeout=20)
        eventually(lambda: service.recommend("somebody").products)
        yield service


@pytest.fixture(scope="module")
def shop(served: Inference, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(served.address, tmp_path_factory.mktemp("gateway")) as made:
        yield made


def problem(answer: Answer, status: int) -> dict[str, Any]:
    """The problem details of an answer that must have this status."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    details: dict[str, Any] = answer.json
    assert details["status"] == status
    assert {"type", "title", "detail"} <= set(details)
    return details


def test_a_post_answers_what_grpc_answers(shop: Gateway, served: Inference) -> None:
    request = {"user_id": "ada", "wishes": {"count": 3, "exclude_product_ids": ["p1"]}}
    answer = shop.ask("/v1/recommend", request)
    expected = MessageToDict(
        served.recommend("ada", 3, ["p1"]),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json | {"request_id": ""} == expected | {"request_id": ""}
    assert len(answer.json["products"]) == 3


def test_what_is_recorded_over_http_is_in_the_log(shop: Gateway, kafka: KafkaSettings) -> None:
    event = {"kind": "EVENT_KIND_REVIEW", "user_id": "jo/é", "product_id": "p2", "rating": 4.5, "event_time_ms": 10**12}
    [recorded] = shop.ask("/v1/record-events", {"events": [event]}).json["events"]
    read = {m.offset(): Event.FromString(m.value()) for m in read_all(kafka, Topics.of(kafka).events)
            if m.partition() == recorded["position"]["partition"]}  # fmt: skip
    written = read[int(recorded["position"]["offset"])]  # int64 is a string in protobuf's JSON
    assert recorded["event_id"]
    assert written == Event(
        event_id=recorded["event_id"], kind=EVENT_KIND_REVIEW, user_id="jo/é", product_id="p2", rating=4.5,
        event_time_ms=10**12,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "path", "body"),
    [
        ("/v1/users/ada/recommendations?count=2", "/v1/recommend", {"user_id": "ada", "wishes": {"count": 2}}),
        ("/v1/users/a%2Fb%20%C3%A9/recommendations", "/v1/recommend", {"user_id": "a/b é"}),
        ("/v1/users/nobody", "/v1/get-user", {"user_id": "nobody"}),
        ("/v1/models", "/v1/list-models", {}),
        ("/v1/products?page_size=2&query=title", "/v1/list-products", {"page_size": 2, "query": "title"}),
        ("/v1/products/p1", "/v1/get-product", {"product_id": "p1"}),
        (
            "/v1/products/p1/similar?count=2&product_fields=title,price&explain=true&diversity=0.5&minimum_score=-99",
            "/v1/similar-products",
            {
                "product_id": "p1",
                "wishes": {
                    "count": 2,
                    "product_fields": "title,price",
                    "explain": True,
                    "diversity": 0.5,
                    "minimum_score": -99,
                },
            },
        ),
        ("/v1/trending?category=x&count=2", "/v1/trending", {"category": "x", "wishes": {"count": 2}}),
        ("/v1/trending?product_fields=", "/v1/trending", {"wishes": {"product_fields": ""}}),
        ("/v1/users?page_size=1", "/v1/list-users", {"page_size": 1}),
    ],
)
def test_a_get_answers_what_its_post_answers(shop: Gateway, url: str, path: str, body: Any) -> None:
    by_url, by_body = shop.ask(url), shop.ask(path, body)
    assert (by_url.status, by_url.json | {"request_id": ""}) == (by_body.status, by_body.json | {"request_id": ""})


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/v1/recommend", b"{", 400, None),
        ("/v1/recommend", {"usr_id": "a"}, 400, "usr_id"),
        ("/v1/recommend", {"user_id": "\ud800"}, 400, "user_id"),
        ("/v1/recommend", {"\ud800": 1}, 400, "?"),
        ("/v1/recommend", {"user_id": "a", "count": 1001}, 400, "count"),
        ("/v1/record-events", {"events": [{"kind": "EVENT_KIND_VIEW", "product_id": ""}]}, 400, "events[0].product_id"),
        ("/v1/get-user", {"user_id": "nobody"}, 404, "user_id"),
        ("/v1/users/nobody", None, 404, "user_id"),
        ("/v1/users/ada/recommendations?cuont=1", None, 400, "cuont"),
        ("/v1/users/ada/recommendations?count=1&count=1", None, 400, "count"),
        ("/v1/nothing", None, 404, None),
        ("/v1/nothing", {}, 404, None),
    ],
)
def test_a_refusal_names_what_is_wrong(shop: Gateway, path: str, body: Any, status: int, field: str | None) -> None:
    assert problem(shop.ask(path, body), status).get("field") == field


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_told_which_one_is_meant(shop: Gateway, method: str) -> None:
    answer = shop.ask("/v1/recommend", method=method)
    problem(answer, 405)
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
def test_what_a_form_could_send_is_refused(shop: Gateway, kind: str) -> None:
    problem(shop.ask("/v1/recommend", {}, headers={"Content-Type": kind}), 415)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8080"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "LOCALHOST:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://localhost:7", "Host": "localhost:7"}, 200),
        ({"Origin": "http://localhost:8", "Host": "localhost:7"}, 403),
    ],
)
def test_other_sites_do_not_reach_it_through_a_browser(shop: Gateway, headers: dict[str, str], status: int) -> None:
    answer = shop.ask("/v1/models", headers=headers)
    assert answer.status == status
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/models", "/v1/nothing"])
def test_every_answer_tells_browsers_to_be_careful(shop: Gateway, path: str) -> None:
    headers = shop.ask(path).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert headers["Cache-Control"] == ("no-store" if path.startswith("/v1") else "no-cache")


@pytest.mark.parametrize(
    "path", ["/../settings.py", "/%2e%2e/settings.py", "/..%2fsettings.py", "/page/index.html", "/docs.html", "/.x"]
)
def test_no_other_file_is_shown(shop: Gateway, path: str) -> None:
    connection = http.client.HTTPConnection(shop.address, timeout=10)
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()


def test_the_page_is_sent_again_only_when_it_has_changed(shop: Gateway) -> None:
    first = shop.ask("/")
    assert (first.status, first.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    again = shop.ask("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


def test_the_document_is_served(shop: Gateway) -> None:
    assert shop.ask("/openapi.json").json["openapi"] == "3.1.0"


def test_a_batch_is_a_line_for_each_user(shop: Gateway) -> None:
    users = [f"user {n}" for n in range(300)]
    answer = shop.ask("/v1/batch-recommend", {"user_ids": users, "wishes": {"count": 2}})
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.body.decode().splitlines()]
    assert [line["user_id"] for line in lines] == users
    assert {len(line["response"]["products"]) for line in lines} == {2}


def test_a_batch_that_is_wrong_is_refused_as_a_whole(shop: Gateway) -> None:
    assert problem(shop.ask("/v1/batch-recommend", {"user_ids": ["a", ""]}), 400)["field"] == "user_ids[1]"


@contextmanager
def streaming(shop: Gateway) -> Iterator[http.client.HTTPResponse]:
    """The answer to a batch far larger than the buffers on its way, after its first line."""
    connection = http.client.HTTPConnection(shop.address, timeout=60)
    body = json.dumps({"user_ids": [f"user {n}" for n in range(100_000)], "wishes": {"count": 5}})
    connection.request("POST", "/v1/batch-recommend", body, JSON)
    answer = connection.getresponse()
    assert json.loads(answer.readline())["user_id"] == "user 0"
    yield answer
    connection.close()


def test_who_hangs_up_ends_a_batch(shop: Gateway, served: Inference) -> None:
    cancelled = 'freshet_inference_requests_total{code="CANCELLED",method="BatchRecommend"}'
    before = served.metrics()[cancelled]
    with streaming(shop):
        pass
    eventually(lambda: served.metrics()[cancelled] == before + 1)


def test_a_batch_that_breaks_off_says_so_in_its_last_line(
    served: Inference, kafka: KafkaSettings, tmp_path: Path
) -> None:
    with inference.running(kafka, tmp_path) as second, gateway(second.address, tmp_path) as shop:
        eventually(lambda: second.recommend("somebody").products)  # which `served` has been given
        with streaming(shop) as answer:
            second.process.kill()
            *_, last = answer.read().splitlines()
        details = json.loads(last)["problem"]
        assert (details["status"], details["code"]) == (503, "UNAVAILABLE")
        assert details["detail"] == "the recommender can't be reached; try again in a moment"


def test_a_deadline_is_kept(shop: Gateway) -> None:
    waits = {"user_id": "ada", "after_position": NEVER}
    details = problem(shop.ask("/v1/recommend", waits, headers={"Request-Timeout": "0.3"}), 504)
    assert (details["code"], details["field"]) == ("DEADLINE_EXCEEDED", "after_position")
    for wrong in ("soon", "0", "-1", "nan", "1_0"):
        details = problem(shop.ask("/v1/models", headers={"Request-Timeout": wrong}), 400)
        assert details["field"] == "Request-Timeout"


@contextmanager
def waiting(shop: Gateway) -> Iterator[None]:
    """A call that is not answered, by a caller who hangs up at the end of the block."""
    body = json.dumps({"user_id": "ada", "after_position": NEVER}).encode()
    with socket.create_connection(("127.0.0.1", int(shop.address.rpartition(":")[2]))) as caller:
        head = "POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        yield


def test_who_hangs_up_is_not_worked_for_any_longer(shop: Gateway, served: Inference) -> None:
    cancelled = 'freshet_inference_requests_total{code="CANCELLED",method="Recommend"}'
    before = served.metrics()[cancelled]
    with waiting(shop):
        eventually(lambda: shop.service.metrics()["freshet_gateway_requests_in_flight"] == 1)
    eventually(lambda: served.metrics()[cancelled] == before + 1)
    counted = 'freshet_gateway_requests_total{route="/v1/recommend",status="499"}'
    eventually(lambda: shop.service.metrics().get(counted) == 1)


def test_what_is_asked_is_counted_by_route(shop: Gateway) -> None:
    counted = 'freshet_gateway_requests_total{route="/v1/users/{user_id}",status="404"}'
    before = shop.service.metrics().get(counted, 0.0)
    shop.ask("/v1/users/nobody-at-all")
    assert shop.service.metrics()[counted] == before + 1
    assert not [name for name in shop.service.metrics() if "nobody" in name]


@pytest.fixture
def other(served: Inference, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway that pages of another origin may call, under any host name, with small bodies."""
    with gateway(
        served.address, tmp_path, allowed_hosts="*", allowed_origins="https://shop.example", most_request_bytes=2000
    ) as made:
        yield made


def test_settings_open_it_and_bound_it(other: Gateway) -> None:
    assert other.ask("/v1/models", headers={"Host": "anything.example"}).status == 200
    shop = {"Origin": "https://shop.example"}
    preflight = {**shop, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    before = other.ask("/v1/recommend", method="OPTIONS", headers=preflight)
    assert (before.status, before.headers["Access-Control-Allow-Origin"]) == (204, "https://shop.example")
    assert before.headers["Access-Control-Allow-Headers"] == "Content-Type, Request-Timeout"
    for answer in (other.ask("/v1/models", headers=shop), other.ask("/v1/nothing", headers=shop)):
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert answer.headers["Vary"] == "Origin"
    assert (
        other.ask("/v1/recommend", method="OPTIONS", headers={**preflight, "Origin": "https://evil.example"}).status
        == 403
    )
    problem(other.ask("/v1/recommend", {"user_id": "a" * 3000}), 413)


def test_too_many_calls_are_told_when_to_come_again(kafka: KafkaSettings, tmp_path: Path) -> None:
    with (
        inference.running(kafka, tmp_path, maximum_concurrent_rpcs=1) as busy,
        gateway(busy.address, tmp_path) as shop,
    ):
        waiting = busy.stub.Recommend.future(pb.RecommendRequest(user_id="ada", after_position=NEVER), timeout=30)
        answer = eventually(lambda: (a := shop.ask("/v1/list-models", {})).status == 429 and a)
        assert problem(answer, 429)["code"] == "RESOURCE_EXHAUSTED"
        assert answer.headers["Retry-After"] == "1"
        waiting.cancel()


def test_more_calls_than_its_connections_take_are_refused_at_once(served: Inference, tmp_path: Path) -> None:
    refused = "freshet_gateway_calls_refused_total"
    with gateway(served.address, tmp_path, connections=2, calls_per_connection=1) as shop:
        with waiting(shop):
            eventually(lambda: shop.service.metrics()["freshet_gateway_requests_in_flight"] == 1)
            assert {shop.ask("/v1/list-models", {}).status for _ in range(5)} == {200}, "by the one that is free"
        eventually(lambda: shop.service.metrics()["freshet_gateway_requests_in_flight"] == 0)
        with waiting(shop), waiting(shop):
            eventually(lambda: shop.service.metrics()["freshet_gateway_requests_in_flight"] == 2)
            for path in ("/v1/list-models", "/v1/batch-recommend"):
                answer = shop.ask(path, {"user_ids": ["ada"]} if "batch" in path else {})
                assert "in flight" in problem(answer, 429)["detail"]
                assert answer.headers["Retry-After"] == "1"
            assert shop.service.metrics()[refused] == 2
            assert shop.ask("/healthz").status == 200, "health is asked for apart"
        eventually(lambda: shop.service.metrics()["freshet_gateway_requests_in_flight"] == 0)
        assert {shop.ask("/v1/list-models", {}).status for _ in range(5)} == {200}, "what ended makes room again"
        assert shop.service.metrics()[refused] == 2


@pytest.mark.parametrize("code", [REFUSED_STREAM, CANCEL])
def test_a_call_that_grpc_ends_is_to_be_asked_again(tmp_path: Path, code: int) -> None:
    with resetting(code) as reset, gateway(reset.address, tmp_path) as shop:
        for path, body in (("/v1/list-models", {}), ("/v1/batch-recommend", {"user_ids": ["ada"]})):
            answer = shop.ask(path, body)
            details = problem(answer, 503)
            assert answer.headers["Retry-After"] == "1"
            assert details["code"] == ("UNAVAILABLE" if code == REFUSED_STREAM else "CANCELLED")
            assert details["detail"].startswith("the recommender ")
            assert details["detail"].endswith("; try again in a moment")


def test_a_recommender_that_is_away_is_told_and_found_again(kafka: KafkaSettings, tmp_path: Path) -> None:
    port = free_port()
    with gateway(f"127.0.0.1:{port}", tmp_path) as shop:
        answer = shop.ask("/v1/models")
        details = problem(answer, 503)
        assert (details["code"], answer.headers["Retry-After"]) == ("UNAVAILABLE", "1")
        assert "127.0.0.1" not in details["detail"]
        problem(shop.ask("/healthz"), 503)
        problem(shop.ask("/v1/live"), 503)
        assert shop.service.metrics()["freshet_gateway_ready"] == 0
        with inference.running(kafka, tmp_path, grpc_port=port):
            eventually(lambda: shop.service.metrics()["freshet_gateway_ready"] == 1)
            assert shop.ask("/v1/models").status == 200
            assert shop.ask("/healthz").json == {"status": "SERVING"}
        eventually(lambda: shop.service.metrics()["freshet_gateway_ready"] == 0)
        assert shop.service.stop() == 0


def test_a_port_that_is_taken_is_told(shop: Gateway, tmp_path: Path) -> None:
    environment = {"FRESHET_GATEWAY_PORT": shop.address.rpartition(":")[2]}
    with running("services.gateway", environment, tmp_path / "log") as second:
        assert second.process.wait(30) == 2
        assert "choose another FRESHET_GATEWAY_PORT" in second.log


def test_a_recommender_that_is_slow_to_connect_to_is_waited_for(served: Inference, tmp_path: Path) -> None:
    link = Link(free_port(), int(served.address.rpartition(":")[2]), still_seconds=0.5)
    try:
        with gateway(f"127.0.0.1:{link.port}", tmp_path) as slow:
            answer = slow.ask("/v1/list-models", {})
            assert answer.status == 200, answer.body
    finally:
        link.close()
