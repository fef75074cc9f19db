"""The gateway's HTTP server: its routes, the middlewares in front of them, and the protocol underneath.

The gateway has no login, so it must not be reachable through a browser that shows a page of another site: it refuses
calls under a foreign host name (DNS rebinding) or from a foreign origin, and whatever changes data needs a content
type that no form can send.

One private name of aiohttp 3.14 is used, `RequestHandler._messages`. Where a body breaks (a chunk's length is no
number, say), aiohttp's C parser says so only by an entry of that queue, which is read after the body: a handler that is
reading the body would wait for ever. No public name shows that entry, and the body's StreamReader is not notified.
"""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage
from aiohttp.typedefs import Handler, Middleware

from services.gateway.api import JSON, Api
from services.gateway.live import EvaluatorMetricsReader
from services.gateway.metrics import GatewayMetrics
from services.gateway.problems import CLIENT_CLOSED_REQUEST, CONTENT_TYPE, Problem, of_unread
from services.gateway.recommender import Recommender
from services.gateway.settings import GatewaySettings
from shared.process.errors import BadRequest, Unusable

log = logging.getLogger("gateway")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "freshet",
}
CORS_HEADERS = "Content-Type, Request-Timeout"  # that a page of an allowed origin may send
FOLDER = Path(__file__).parent / "page"
OPENAPI = Path(__file__).with_name("openapi.json")
HEALTH_SECONDS = 2.0


async def run(settings: GatewaySettings, metrics: GatewayMetrics, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish the requests in flight.

    Raises:
        Unusable: the address or port can't be used.
    """
    recommender = Recommender(
        settings.recommender, settings.connections, settings.calls_per_connection, metrics.calls_refused
    )
    runner = web.AppRunner(
        application(settings, recommender, metrics),
        handler_cancellation=True,  # a client that disconnects cancels its request
        shutdown_timeout=settings.drain_seconds,
    )
    await runner.setup()
    watching = asyncio.create_task(_watch(recommender, metrics))
    listening: asyncio.Server | None = None
    try:
        listening = await _listen(runner, settings, metrics)
        await stop.wait()
    finally:
        watching.cancel()
        metrics.ready.set(0)
        if listening is not None:
            listening.close()
        await runner.cleanup()
        await recommender.close()


async def _watch(recommender: Recommender, metrics: GatewayMetrics) -> None:
    """Keep `freshet_gateway_ready` up to date with the recommender's health."""
    while True:
        metrics.ready.set(await recommender.serves(HEALTH_SECONDS))
        await asyncio.sleep(HEALTH_SECONDS)


async def _listen(runner: web.AppRunner, settings: GatewaySettings, metrics: GatewayMetrics) -> asyncio.Server:
    try:
        listening = await listen(runner, settings.host, settings.port, metrics)
    except OSError as error:
        raise Unusable(
            f"can't listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "choose another FRESHET_GATEWAY_PORT (0: any free one) or FRESHET_GATEWAY_HOST"
        ) from error
    port = listening.sockets[0].getsockname()[1]
    log.info("HTTP on http://%s:%d/; calls %s", settings.host, port, settings.recommender)
    return listening


def application(settings: GatewaySettings, recommender: Recommender, metrics: GatewayMetrics) -> web.Application:
    """All routes, behind the middlewares."""

    async def healthz(request: web.Request) -> web.Response:  # noqa: ARG001
        if not await recommender.serves(HEALTH_SECONDS):
            raise Problem(503, "the recommender does not serve yet; try again in a moment")
        return web.Response(text='{"status":"SERVING"}', content_type=JSON)

    async def show_document(request: web.Request) -> web.FileResponse:  # noqa: ARG001
        return web.FileResponse(OPENAPI, headers={"Content-Type": JSON, "Cache-Control": "no-cache"})

    app = web.Application(middlewares=guard(settings, metrics), client_max_size=settings.most_request_bytes)
    app.on_response_prepare.append(add_headers)
    app.add_routes(list(Api(recommender, settings).routes()))
    app.add_routes(
        [
            web.get("/openapi.json", show_document),
            web.get("/healthz", healthz),
            web.get("/v1/live", EvaluatorMetricsReader(settings.evaluator_metrics).show),
        ]
    )
    app.add_routes(list(page_routes()))
    return app


def page_routes(folder: Path = FOLDER) -> Iterator[web.RouteDef]:
    """A path for each file of the page's folder; HTML files without their suffix, and index.html as `/`."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and not file.is_symlink() and not any(part.startswith(".") for part in name.split("/")):
            yield web.get("/" if name == "index.html" else f"/{name.removesuffix('.html')}", _file_handler(file))


def _file_handler(file: Path) -> Callable[[web.Request], Awaitable[web.FileResponse]]:
    kind, _ = mimetypes.guess_type(file.name)
    headers = {
        "Content-Type": f"{kind}; charset=utf-8" if kind and kind.startswith("text/") else kind or "text/plain",
        "Cache-Control": "no-cache",  # it has an ETag, so revalidation is cheap
    }

    async def show(request: web.Request) -> web.FileResponse:  # noqa: ARG001
        return web.FileResponse(file, headers=headers)

    return show


def guard(settings: GatewaySettings, metrics: GatewayMetrics) -> list[Middleware]:
    """The middlewares, outermost first."""
    hosts, origins = settings.hosts, settings.origins

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn exceptions into problem details; count and time the request."""
        start, status = time.perf_counter(), CLIENT_CLOSED_REQUEST
        metrics.in_flight.inc()
        try:
            answer = await _answer(request, handler)
            status = answer.status
        finally:
            metrics.in_flight.dec()
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "none"
            metrics.requests.labels(route, status).inc()
            metrics.request_seconds.labels(route).observe(time.perf_counter() - start)
        return answer

    @web.middleware
    async def allowed(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse foreign host names and origins; answer preflight requests of allowed origins."""
        host = request.headers.get("Host", "")
        if "*" not in hosts and _host_name(host) not in hosts:
            raise Problem(403, f"Host: {host[:80]!r} is not an allowed host name; see FRESHET_GATEWAY_ALLOWED_HOSTS")
        origin = request.headers.get("Origin")
        if origin is None or _netloc(origin) == host.lower():
            return await handler(request)
        if origin.lower() not in origins:
            raise Problem(403, f"Origin: {origin[:80]!r} is not an allowed origin; see FRESHET_GATEWAY_ALLOWED_ORIGINS")
        request["origin"] = origin
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response(
                status=204,
                headers={
                    "Access-Control-Allow-Methods": "GET, POST",
                    "Access-Control-Allow-Headers": CORS_HEADERS,
                    "Access-Control-Max-Age": "600",
                },
            )
        return await handler(request)

    return [counted, allowed]


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
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
    except (asyncio.CancelledError, ConnectionError):  # the client disconnected
        raise
    except Exception:  # the boundary of a request: its failure becomes an answer and a line in the log
        log.exception("%s %s failed", request.method, request.path)
        problem = Problem(500, "internal error of the gateway; see its log")
    return problem_response(problem)


def problem_response(problem: Problem) -> web.Response:
    """The response of a problem."""
    return web.Response(status=problem.status, body=problem.body(), content_type=CONTENT_TYPE, headers=problem.headers)


def _of_http(error: web.HTTPException, request: web.Request) -> Problem:
    """The problem of an error that aiohttp raises itself."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted(error.allowed_methods))
        return Problem(405, f"{request.method}: {request.path} allows {allow}", headers={"Allow": allow})
    if isinstance(error, web.HTTPNotFound):
        return Problem(404, f"no such path: {request.path[:200]}; /openapi.json lists them")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Problem(413, "the body is too large; send smaller ones, or set FRESHET_GATEWAY_MOST_REQUEST_BYTES")
    return Problem(error.status, error.reason)


async def add_headers(request: web.Request, answer: web.StreamResponse) -> None:
    """Add the headers that every answer has."""
    for name, value in HEADERS.items():
        answer.headers[name] = value
    answer.headers.setdefault("Cache-Control", "no-store")
    if "origin" in request:
        answer.headers["Access-Control-Allow-Origin"] = request["origin"]
        answer.headers["Access-Control-Expose-Headers"] = "Retry-After"
        answer.headers["Vary"] = "Origin"


def _host_name(host: str) -> str:
    """A Host header in lower case, without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and not port.endswith("]") else host.lower()


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin.lower()).netloc
    except ValueError:
        return ""


async def listen(runner: web.AppRunner, host: str, port: int, metrics: GatewayMetrics) -> asyncio.Server:
    """Serve a runner that is set up, with problem details also for requests that never reach a handler.

    aiohttp's own sites take its connection class. Close the server before the runner's cleanup.

    Raises:
        OSError: the address or port can't be used.
    """
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None, "set up"  # noqa: S101
    answer = server.request_handler

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _HttpConnection)  # noqa: S101  # created below
        connection.body = request.content
        try:
            return await answer(request)
        except web.HTTPExpectationFailed:  # raised before any middleware runs
            return problem_response(Problem(417, "Expect: only 100-continue is supported"))
        finally:
            connection.body = None

    server.request_handler = handle
    return await loop.create_server(
        lambda: _HttpConnection(metrics, server, loop=loop, access_log=None), host, port, backlog=128
    )


class _HttpConnection(web.RequestHandler):
    """A connection that answers problem details, with the gateway's headers, where a request can't be parsed."""

    __slots__ = ("_metrics", "body")

    def __init__(self, metrics: GatewayMetrics, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._metrics = metrics
        self.body: StreamReader | None = None  # of the current request

    def data_received(self, data: bytes) -> None:
        """Fail the reading of a body that breaks; aiohttp would wait for more of it."""
        super().data_received(data)
        if not self._messages or self.body is None or self.body.is_eof():
            return
        newest = self._messages[-1][0]  # no request can follow before the body's end, only an error
        if not isinstance(newest, RawRequestMessage):
            self.body.set_exception(web.RequestPayloadError(newest.message), newest.exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002  # always 400
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # quotes the request
    ) -> web.StreamResponse:
        """The response to a request that could not be parsed; it closes the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response has started already")
        problem = of_unread(exc)
        if problem.status == 500 and not isinstance(exc, ConnectionError):
            log.error("request failed", exc_info=exc)
        self._metrics.requests.labels("none", problem.status).inc()
        answer = problem_response(problem)
        answer.headers.update(HEADERS)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log all but a broken body, which is the client's fault and was answered."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)
