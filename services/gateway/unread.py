"""What is told of a request that could not be read. Pure."""

from __future__ import annotations

from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, InvalidURLError, LineTooLong

from services.gateway.problems import Problem

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
