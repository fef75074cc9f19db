"""The gateway put together: the HTTP server, and whoever asks the recommender whether it serves."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from aiohttp import web

from services.gateway import guard, metrics, page
from services.gateway.api import JSON, Api
from services.gateway.live import Evaluator
from services.gateway.problems import Problem
from services.gateway.recommender import Recommender
from services.gateway.runner import listen
from services.gateway.settings import GatewaySettings
from shared.errors import Unusable

log = logging.getLogger("gateway")

HEALTH_SECONDS = 2.0
OPENAPI = Path(__file__).with_name("openapi.json")


def application(settings: GatewaySettings, recommender: Recommender) -> web.Application:
    """Every path, guarded."""

    async def healthz(request: web.Request) -> web.Response:  # noqa: ARG001
        if not await recommender.serves(HEALTH_SECONDS):
            raise Problem(503, "the recommender does not serve yet; ask again in a moment")
        return web.Response(text='{"status":"SERVING"}', content_type=JSON)

    async def show_document(request: web.Request) -> web.FileResponse:  # noqa: ARG001
        return web.FileResponse(OPENAPI, headers={"Content-Type": JSON, "Cache-Control": "no-cache"})

    app = web.Application(middlewares=guard.guard(settings), client_max_size=settings.most_request_bytes)
    app.on_response_prepare.append(guard.add_headers)
    app.add_routes(list(Api(recommender, settings).routes()))
    app.add_routes(
        [
            web.get("/openapi.json", show_document),
            web.get("/healthz", healthz),
            web.get("/v1/live", Evaluator(settings.evaluator_metrics).show),
        ]
    )
    app.add_routes(list(page.routes()))
    return app


async def run(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Answer until `stop` is set, then end what is in flight.

    Raises:
        Unusable: the address or port can't be used.
    """
    recommender = Recommender(settings.recommender, settings.connections, settings.calls_per_connection)
    runner = web.AppRunner(
        application(settings, recommender),
        handler_cancellation=True,  # who hangs up wants no answer
        shutdown_timeout=settings.drain_seconds,
    )
    await runner.setup()
    watching = asyncio.create_task(_watch(recommender))
    listening: asyncio.Server | None = None
    try:
        listening = await _listen(runner, settings)
        await stop.wait()
    finally:
        watching.cancel()
        metrics.READY.set(0)
        if listening is not None:
            listening.close()
        await runner.cleanup()
        await recommender.close()


async def _listen(runner: web.AppRunner, settings: GatewaySettings) -> asyncio.Server:
    try:
        listening = await listen(runner, settings.host, settings.port)
    except OSError as error:
        raise Unusable(
            f"can't listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "choose another FRESHET_GATEWAY_PORT (0: any free one) or FRESHET_GATEWAY_HOST"
        ) from error
    port = listening.sockets[0].getsockname()[1]
    log.info("HTTP on http://%s:%d/; calls %s", settings.host, port, settings.recommender)
    return listening


async def _watch(recommender: Recommender) -> None:
    """Keep `freshet_gateway_ready` true to what the recommender says."""
    while True:
        metrics.READY.set(await recommender.serves(HEALTH_SECONDS))
        await asyncio.sleep(HEALTH_SECONDS)
