"""Problem details also answer what aiohttp refuses before a handler sees it; the requests go over a bare socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest

from services.embedded.broker import free_port
from tests.support.gateway import Gateway, gateway

HOST = b"Host: localhost\r\n"
GET = b"GET /nowhere HTTP/1.1\r\n" + HOST
POST = b"POST /v1/recommend HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = POST + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(f"127.0.0.1:{free_port()}", tmp_path_factory.mktemp("gateway")) as made:
        yield made


def ask(shop: Gateway, *sent: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    """The answer to these bytes, sent part by part."""
    name, _, port = shop.address.rpartition(":")
    with socket.create_connection((name, int(port)), timeout=20) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in sent:
            caller.sendall(part)
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        return answer, answer.read()


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [
        (b"hello\r\n\r\n", 400, "HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "HTTPS"),
        (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400, "HTTP/1.1"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        (b"GET nowhere HTTP/1.1\r\n" + HOST + b"\r\n", 400, "URL"),
        (b"GET http://[::1 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "URL"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431, "8190 bytes"),
        (GET + b"X: " + b"a" * 9_000 + b"\r\n\r\n", 431, "8190 bytes"),
        (GET + b"".join(b"X%d: a\r\n" % n for n in range(200)) + b"\r\n", 431, "Too many headers"),
        (GET + b"X y: a\r\n\r\n", 400, "header"),
        (GET + b"X: a\x00b\r\n\r\n", 400, "header"),
        (GET + b"Expect: the-unexpected\r\n\r\n", 417, "100-continue"),
        (POST + b"Content-Length: x\r\n\r\n{}", 400, "Content-Length"),
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400, "Transfer-Encoding"),
        (CHUNKED + b"zz\r\n{}\r\n", 400, "chunk"),
        (GZIP + b"hello", 400, "Content-Encoding"),
        (POST + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\nhello", 400, "Content-Encoding"),
    ],
)
def test_what_can_not_be_read_is_told(shop: Gateway, sent: bytes, status: int, message: str) -> None:
    answer, body = ask(shop, sent)
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (answer.headers["Server"], answer.headers["X-Content-Type-Options"]) == ("freshet", "nosniff")
    problem = json.loads(body)
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert message in problem["detail"]
    assert len(problem["detail"]) < 200, "what came is not sent back"


def test_a_body_that_breaks_while_it_is_read_is_told(shop: Gateway) -> None:
    """The handler is already waiting for the body: it has answered 100-continue."""
    name, _, port = shop.address.rpartition(":")
    with socket.create_connection((name, int(port)), timeout=20) as caller:
        caller.sendall(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert caller.recv(1000).startswith(b"HTTP/1.1 100 ")
        caller.sendall(b"zz\r\n{}\r\n")
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
        assert "chunk" in json.loads(answer.read())["detail"]


def test_what_can_not_be_read_is_counted_and_leaves_no_trace_in_the_log(shop: Gateway) -> None:
    counted = 'freshet_gateway_requests_total{route="none",status="400"}'
    before = shop.service.metrics().get(counted, 0.0)
    ask(shop, b"hello\r\n\r\n")
    ask(shop, GZIP + b"hello")
    assert shop.service.metrics()[counted] == before + 1, "the path of the second is known"
    assert "Traceback" not in shop.service.log
