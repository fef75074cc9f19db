"""The gateway put together: the HTTP server, and whoever asks the recommender whether it serves."""

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
from services.gateway.live import Evaluator
from services.gateway.problems import CLIENT_CLOSED_REQUEST, CONTENT_TYPE, Problem, of_unread
from services.gateway.recommender import GatewayMetrics, Recommender
from services.gateway.settings import GatewaySettings
from shared.process.errors import BadRequest, Unusable

# What stands before every handler: who may call, what every answer says to browsers, and how a failure is told.
#
# The gateway has no login. A page of another site that somebody has open must not reach it through their browser: calls
# under a foreign host name (DNS rebinding) or from a foreign origin are refused; what changes something needs a content
# type that no form can send.

log = logging.getLogger("gateway")

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "freshet",
}
_ASKED = "Content-Type, Request-Timeout"  # the headers that a page of an allowed origin may send


def guard(settings: GatewaySettings, metrics: GatewayMetrics) -> list[Middleware]:
    """The middlewares, outermost first."""
    hosts, origins = settings.hosts, settings.origins

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn what is raised into problem details; count and time."""
        begun, status = time.perf_counter(), CLIENT_CLOSED_REQUEST
        metrics.in_flight.inc()
        try:
            answer = await _answered(request, handler)
            status = answer.status
        finally:
            metrics.in_flight.dec()
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "none"
            metrics.requests.labels(route, status).inc()
            metrics.request_seconds.labels(route).observe(time.perf_counter() - begun)
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


# Listens so that what aiohttp refuses by itself is problem details, too: no HTTP, a line too long, …
#
# One private name of aiohttp 3.14 is used, `RequestHandler._messages`. Its C parser tells a body that breaks (a chunk's
# length that is no number, say) only by an entry of that queue, which is looked at once the body has been read: a
# handler that reads it already would wait for ever. No public name shows that entry, nor is the body's own StreamReader
# told.


async def listen(runner: web.AppRunner, host: str, port: int, metrics: GatewayMetrics) -> asyncio.Server:
    """Let a runner that is set up answer on an address, in the gateway's way also what never reaches a handler.

    A site of aiohttp's own would take connections as they are. Close what is returned before the runner's cleanup.

    Raises:
        OSError: the address or port can't be used.
    """
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None, "set up"  # noqa: S101
    answer = server.request_handler

    async def handled(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)  # noqa: S101  # made below
        connection.body = request.content
        try:
            return await answer(request)
        except web.HTTPExpectationFailed:  # raised before any middleware is asked
            return told(Problem(417, "Expect: 100-continue, or none"))
        finally:
            connection.body = None

    server.request_handler = handled
    return await loop.create_server(
        lambda: _Connection(metrics, server, loop=loop, access_log=None), host, port, backlog=128
    )


class _Connection(web.RequestHandler):
    __slots__ = ("_metrics", "body")

    def __init__(self, metrics: GatewayMetrics, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._metrics = metrics
        self.body: StreamReader | None = None  # of the request that is answered now

    def data_received(self, data: bytes) -> None:
        """Tell whoever reads a body that the rest can't be read; aiohttp would let it wait for more."""
        super().data_received(data)
        if not self._messages or self.body is None or self.body.is_eof():
            return
        newest = self._messages[-1][0]  # no request can be read before the body's end, only what broke it
        if not isinstance(newest, RawRequestMessage):
            self.body.set_exception(web.RequestPayloadError(newest.message), newest.exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,  # noqa: ARG002  # 400 whatever was wrong
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # quotes what came
    ) -> web.StreamResponse:
        """The answer to what was not understood, after which the connection is closed."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        problem = of_unread(exc)
        if problem.status == 500 and not isinstance(exc, ConnectionError):
            log.error("a request failed", exc_info=exc)
        self._metrics.requests.labels("none", problem.status).inc()
        answer = told(problem)
        answer.headers.update(HEADERS)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A body that can't be read is its sender's fault, who has been told; the rest is ours."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


# The page: the files of the folder `page`, and no others.

FOLDER = Path(__file__).parent / "page"


def routes(folder: Path = FOLDER) -> Iterator[web.RouteDef]:
    """A path for each file that lies there now; a page of HTML has none of its ending, and `/` is index.html."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and not file.is_symlink() and not any(part.startswith(".") for part in name.split("/")):
            yield web.get("/" if name == "index.html" else f"/{name.removesuffix('.html')}", _shown(file))


def _shown(file: Path) -> Callable[[web.Request], Awaitable[web.FileResponse]]:
    kind, _ = mimetypes.guess_type(file.name)
    headers = {
        "Content-Type": f"{kind}; charset=utf-8" if kind and kind.startswith("text/") else kind or "text/plain",
        "Cache-Control": "no-cache",  # it has an ETag: asking again is cheap
    }

    async def show(request: web.Request) -> web.FileResponse:  # noqa: ARG001
        return web.FileResponse(file, headers=headers)

    return show


HEALTH_SECONDS = 2.0
OPENAPI = Path(__file__).with_name("openapi.json")


def application(settings: GatewaySettings, recommender: Recommender, metrics: GatewayMetrics) -> web.Application:
    """Every path, guarded."""

    async def healthz(request: web.Request) -> web.Response:  # noqa: ARG001
        if not await recommender.serves(HEALTH_SECONDS):
            raise Problem(503, "the recommender does not serve yet; ask again in a moment")
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
            web.get("/v1/live", Evaluator(settings.evaluator_metrics).show),
        ]
    )
    app.add_routes(list(routes()))
    return app


async def run(settings: GatewaySettings, metrics: GatewayMetrics, stop: asyncio.Event) -> None:
    """Answer until `stop` is set, then end what is in flight.

    Raises:
        Unusable: the address or port can't be used.
    """
    recommender = Recommender(settings.recommender, settings.connections, settings.calls_per_connection, metrics)
    runner = web.AppRunner(
        application(settings, recommender, metrics),
        handler_cancellation=True,  # who hangs up wants no answer
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


async def _watch(recommender: Recommender, metrics: GatewayMetrics) -> None:
    """Keep `freshet_gateway_ready` true to what the recommender says."""
    while True:
        metrics.ready.set(await recommender.serves(HEALTH_SECONDS))
        await asyncio.sleep(HEALTH_SECONDS)
