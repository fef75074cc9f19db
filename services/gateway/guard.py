"""What stands before every handler: who may call, what every answer says to browsers, and how a failure is told.

The gateway has no login. A page of another site that somebody has open must not reach it through their browser: calls
under a foreign host name (DNS rebinding) or from a foreign origin are refused; what changes something needs a content
type that no form can send.
"""

from __future__ import annotations

import asyncio
import logging
import time
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from services.gateway import metrics
from services.gateway.problems import CLIENT_CLOSED_REQUEST, CONTENT_TYPE, Problem
from services.gateway.settings import GatewaySettings
from services.gateway.unread import of_unread
from shared.errors import BadRequest

log = logging.getLogger("gateway")

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "freshet",
}
_ASKED = "Content-Type, Request-Timeout"  # the headers that a page of an allowed origin may send


def guard(settings: GatewaySettings) -> list[Middleware]:
    """The middlewares, outermost first."""
    hosts, origins = settings.hosts, settings.origins

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn what is raised into problem details; count and time."""
        begun, status = time.perf_counter(), CLIENT_CLOSED_REQUEST
        metrics.IN_FLIGHT.inc()
        try:
            answer = await _answered(request, handler)
            status = answer.status
        finally:
            metrics.IN_FLIGHT.dec()
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "none"
            metrics.REQUESTS.labels(route, status).inc()
            metrics.REQUEST_SECONDS.labels(route).observe(time.perf_counter() - begun)
        return answer

    @web.middleware
    async def allowed(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse foreign host names and origins; answer what a browser asks before it calls from an allowed one."""
        host = request.headers.get("Host", "")
        if "*" not in hosts and _name(host) not in hosts:
            raise Problem(
                403, f"Host: {host[:80]!r} is no name of this gateway; FRESHET_GATEWAY_ALLOWED_HOSTS allows others"
            )
        origin = request.headers.get("Origin")
        if origin is None or _netloc(origin) == host.lower():
            return await handler(request)
        if origin.lower() not in origins:
            raise Problem(
                403, f"Origin: pages of {origin[:80]!r} may not call; FRESHET_GATEWAY_ALLOWED_ORIGINS allows others"
            )
        request["origin"] = origin
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response(
                status=204,
                headers={
                    "Access-Control-Allow-Methods": "GET, POST",
                    "Access-Control-Allow-Headers": _ASKED,
                    "Access-Control-Max-Age": "600",
                },
            )
        return await handler(request)

    return [counted, allowed]


async def add_headers(request: web.Request, answer: web.StreamResponse) -> None:
    """What every answer says to browsers."""
    for name, value in HEADERS.items():
        answer.headers[name] = value
    answer.headers.setdefault("Cache-Control", "no-store")
    if "origin" in request:
        answer.headers["Access-Control-Allow-Origin"] = request["origin"]
        answer.headers["Access-Control-Expose-Headers"] = "Retry-After"
        answer.headers["Vary"] = "Origin"


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Problem as error:
        problem = error
    except BadRequest as error:
        problem = Problem(400, str(error), field=error.field)
    except web.HTTPException as error:
        problem = _of_http(error, request)
    except web.RequestPayloadError as error:
        problem = of_unread(error.__cause__)
    except (asyncio.CancelledError, ConnectionError):  # the caller went away
        raise
    except Exception:  # the boundary of a request: its failure is the caller's answer and a line in the log
        log.exception("%s %s failed", request.method, request.path)
        problem = Problem(500, "a fault of the gateway; its log says more")
    return told(problem)


def told(problem: Problem) -> web.Response:
    """A problem as an answer."""
    return web.Response(status=problem.status, body=problem.body(), content_type=CONTENT_TYPE, headers=problem.headers)


def _of_http(error: web.HTTPException, request: web.Request) -> Problem:
    """What aiohttp refuses by itself."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted(error.allowed_methods))
        return Problem(405, f"{request.method}: {request.path} takes {allow}", headers={"Allow": allow})
    if isinstance(error, web.HTTPNotFound):
        return Problem(404, f"no such path: {request.path[:200]}; /openapi.json lists them")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Problem(413, "the body is too large; send less at a time, or set FRESHET_GATEWAY_MOST_REQUEST_BYTES")
    return Problem(error.status, error.reason)


def _name(host: str) -> str:
    """A Host header without its port, in lower case."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and not port.endswith("]") else host.lower()


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin.lower()).netloc
    except ValueError:
        return ""
