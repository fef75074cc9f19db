"""Listens so that what aiohttp refuses by itself is problem details, too: no HTTP, a line too long, …

One private name of aiohttp 3.14 is used, `RequestHandler._messages`. Its C parser tells a body that breaks (a chunk's
length that is no number, say) only by an entry of that queue, which is looked at once the body has been read: a handler
that reads it already would wait for ever. No public name shows that entry, nor is the body's own StreamReader told.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage

from services.gateway import guard, metrics
from services.gateway.problems import Problem
from services.gateway.unread import of_unread

log = logging.getLogger("gateway")


async def listen(runner: web.AppRunner, host: str, port: int) -> asyncio.Server:
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
            return guard.told(Problem(417, "Expect: 100-continue, or none"))
        finally:
            connection.body = None

    server.request_handler = handled
    return await loop.create_server(lambda: _Connection(server, loop=loop, access_log=None), host, port, backlog=128)


class _Connection(web.RequestHandler):
    __slots__ = ("body",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
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
        metrics.REQUESTS.labels("none", problem.status).inc()
        answer = guard.told(problem)
        answer.headers.update(guard.HEADERS)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A body that can't be read is its sender's fault, who has been told; the rest is ours."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)
