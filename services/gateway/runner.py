"""Runs the application so that what aiohttp refuses by itself is problem details, too: no HTTP, a line too long, …"""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from services.gateway import guard, metrics
from services.gateway.problems import Problem
from services.gateway.unread import of_unread

log = logging.getLogger("gateway")


class Runner(web.AppRunner):
    """An AppRunner whose connections tell in the gateway's way what never reached a handler."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()

        async def handled(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await made.request_handler(request)
            except web.HTTPExpectationFailed:  # raised before any middleware is asked
                return guard.told(Problem(417, "Expect: 100-continue, or none"))

        return _Server(handled, request_factory=made.request_factory, **self._kwargs)


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Tell whoever reads a body that the rest can't be read; aiohttp would let it wait for more."""
        super().data_received(data)
        if not self._messages or (asked := self._current_request) is None or asked.content.is_eof():
            return
        if isinstance(found := self._messages[-1][0], _ErrInfo):
            asked.content.set_exception(web.RequestPayloadError(found.message), found.exc)

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
