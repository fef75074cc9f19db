"""What an answer is that has none: problem details (RFC 9457), and which HTTP status a gRPC status becomes. Pure."""

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
CLIENT_CLOSED_REQUEST = 499  # not registered, and widely used; only ever counted, for nobody is left to read it

STATUS: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.CANCELLED: 503,  # not by us: who cancels a call of its own gets no status
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

# What gRPC itself says of a line that is cut, a stream that is reset, or a deadline; callers need no addresses of ours.
_OF_GRPC = re.compile(
    r"ipv[46]:|unix:|recvmsg|Socket closed|Stream removed|RST_STREAM|GOAWAY|Connection re(set|fused)|"
    r"^Deadline Exceeded$"
)
_IN_OUR_WORDS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.CANCELLED: "the recommender ended the call before it was answered; ask again in a moment",
    grpc.StatusCode.UNAVAILABLE: "the recommender can't be reached; ask again in a moment",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "the recommender has too much to do; ask again in a moment",
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        "the recommender did not answer in time; ask again, or for longer with the header Request-Timeout"
    ),
}


class Problem(Exception):
    """The request ends with this status; `detail` says what to do next."""

    def __init__(
        self, status: int, detail: str, *, code: str = "", field: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code  # gRPC's name of the status, where the recommender gave one
        self.field = field  # the wrong one of the request, where one is named
        self.headers = dict(headers or {})
        if status in (429, 503):
            self.headers["Retry-After"] = str(RETRY_SECONDS)

    def to_json(self) -> dict[str, Any]:
        """The document; its type is about:blank, for the status says what is wrong."""
        title = HTTPStatus(self.status).phrase
        told = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        return told | {name: value for name, value in (("code", self.code), ("field", self.field)) if value}

    def body(self) -> bytes:
        """The document as it is sent."""
        return json.dumps(self.to_json(), ensure_ascii=False).encode(errors="replace")


def of_rpc(code: grpc.StatusCode, said: str, request: Message) -> Problem:
    """The problem that a call's status is.

    Args:
        request: of the call; what stands before a colon in the message is a field where the request has such a one.
    """
    if not said or code is grpc.StatusCode.CANCELLED or _OF_GRPC.search(said):
        said = _IN_OUR_WORDS.get(code, "the recommender broke off the call")
    found = re.match(r"([a-z_]+)[^ :]*(?=: )", said)
    field = found.group(0) if found and found.group(1) in request.DESCRIPTOR.fields_by_name else ""
    return Problem(STATUS[code], said, code=code.name, field=field)


# What is told of a request that could not be read. Pure.

MOST_SHOWN = 80


def of_unread(error: BaseException | None) -> Problem:
    """The problem that an error of aiohttp's parser is; any other is a fault of the gateway."""
    if isinstance(error, LineTooLong):
        return Problem(431, f"the path or a header is too long, at most {error.args[1]} bytes each")
    if isinstance(error, InvalidURLError):
        return Problem(400, "no URL that can be read: a path is meant, as /v1/models, with %20 for a space")
    if isinstance(error, ContentEncodingError):
        return Problem(400, "Content-Encoding: gzip, deflate or none, and the body as it says")
    if not isinstance(error, BadHttpMessage):
        return Problem(500, "a fault of the gateway; its log says more")
    said = error.message.partition("\n")[0].rstrip(":. ")[:MOST_SHOWN]
    return Problem(431 if said.startswith("Too many headers") else 400, f"no HTTP/1.1 that can be read: {said}")
