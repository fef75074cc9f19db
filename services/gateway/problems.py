"""Failures as problem details (RFC 9457): of a gRPC status, and of a request that aiohttp could not parse. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import grpc
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, InvalidURLError, LineTooLong
from google.protobuf.message import Message

CONTENT_TYPE = "application/problem+json"
RETRY_SECONDS = 1
MOST_SHOWN = 80  # characters of a parser's message that an answer repeats
CLIENT_CLOSED_REQUEST = 499  # unregistered, but widely used; only counted, since nobody is left to read it

STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.CANCELLED: 503,  # by the recommender: a client that cancels its own call gets no status
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}

# gRPC's own messages about a broken connection, a reset stream or a deadline; they may hold internal addresses.
_GRPC_MESSAGE = re.compile(
    r"ipv[46]:|unix:|recvmsg|Socket closed|Stream removed|RST_STREAM|GOAWAY|Connection re(set|fused)|"
    r"^Deadline Exceeded$"
)
_REPLACEMENTS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.CANCELLED: "the recommender cancelled the call before it answered; try again in a moment",
    grpc.StatusCode.UNAVAILABLE: "the recommender can't be reached; try again in a moment",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "the recommender is overloaded; try again in a moment",
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        "the recommender did not answer in time; try again, or allow more time with the header Request-Timeout"
    ),
}


class Problem(Exception):
    """A request fails with this status; `detail` says what to do next."""

    def __init__(
        self, status: int, detail: str, *, code: str = "", field: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code  # gRPC's name of the status, where the recommender gave one
        self.field = field  # of the request, the wrong one, where it is known
        self.headers = dict(headers or {})
        if status in (429, 503):
            self.headers["Retry-After"] = str(RETRY_SECONDS)

    def to_json(self) -> dict[str, Any]:
        """The document; its type is about:blank, since the status says what is wrong."""
        title = HTTPStatus(self.status).phrase
        details = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        return details | {name: value for name, value in (("code", self.code), ("field", self.field)) if value}

    def body(self) -> bytes:
        """The document, encoded."""
        return json.dumps(self.to_json(), ensure_ascii=False).encode(errors="replace")


def of_rpc(code: grpc.StatusCode, message: str, request: Message) -> Problem:
    """The problem of a call that ended with this status.

    Args:
        message: gRPC's; it may begin with the name of a field of the request and a colon.
        request: of the call.
    """
    if not message or code is grpc.StatusCode.CANCELLED or _GRPC_MESSAGE.search(message):
        message = _REPLACEMENTS.get(code, "the recommender aborted the call")
    match = re.match(r"([a-z_]+)[^ :]*(?=: )", message)
    field = match.group(0) if match and match.group(1) in request.DESCRIPTOR.fields_by_name else ""
    return Problem(STATUS[code], message, code=code.name, field=field)


def of_unread(error: BaseException | None) -> Problem:
    """The problem of an error of aiohttp's parser; any other error is an internal one."""
    if isinstance(error, LineTooLong):
        return Problem(431, f"the path or a header is too long: at most {error.args[1]} bytes each")
    if isinstance(error, InvalidURLError):
        return Problem(400, "the URL can't be parsed: expected a path such as /v1/models, with %20 for a space")
    if isinstance(error, ContentEncodingError):
        return Problem(400, "Content-Encoding: expected gzip, deflate or none, and a body encoded so")
    if not isinstance(error, BadHttpMessage):
        return Problem(500, "internal error of the gateway; see its log")
    reason = error.message.partition("\n")[0].rstrip(":. ")[:MOST_SHOWN]
    return Problem(
        431 if reason.startswith("Too many headers") else 400, f"the request is not valid HTTP/1.1: {reason}"
    )
