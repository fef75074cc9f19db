"""The HTTP API: a POST with JSON for each call of the proto, and a GET for some."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing

from aiohttp import web
from google.protobuf.message import Message

from services.gateway.problems import Problem
from services.gateway.recommender import GETS, METHODS, Get, Method, Recommender
from services.gateway.settings import GatewaySettings
from services.gateway.transcoding import fill, from_json, to_json
from shared.process.errors import BadRequest

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON, NDJSON = "application/json", "application/x-ndjson"
TIMEOUT = "Request-Timeout"
LEAST_SECONDS = 0.001
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class Api:
    """The handlers of the API, which call the recommender."""

    def __init__(self, recommender: Recommender, settings: GatewaySettings) -> None:
        self._recommender = recommender
        self._settings = settings

    def routes(self) -> Iterator[web.RouteDef]:
        """The routes of the API."""
        for method in METHODS.values():
            yield web.post(method.path, self._post(method))
        for get in GETS:
            yield web.get(get.path, self._get(get))

    def _post(self, method: Method) -> Handler:
        async def post(request: web.Request) -> web.StreamResponse:
            if request.content_type != JSON or (request.charset or "utf-8").lower() != "utf-8":
                raise Problem(415, f"Content-Type: must be {JSON}, in UTF-8")
            return await self._respond(request, method, from_json(await request.read(), method.request))

        return post

    def _get(self, get: Get) -> Handler:
        method = METHODS[get.method]

        async def show(request: web.Request) -> web.StreamResponse:
            message = method.request()
            fill(message, list(request.match_info.items()), {name: name for name in get.in_path})
            fill(message, list(request.query.items()), get.query)
            return await self._respond(request, method, message)

        return show

    async def _respond(self, request: web.Request, method: Method, message: Message) -> web.StreamResponse:
        seconds = self._seconds(request.headers, method)
        if method.streams:
            return await self._stream(request, method, message, seconds)
        response = await self._recommender.answer(method, message, seconds)
        return web.Response(body=to_json(response), content_type=JSON)

    async def _stream(
        self, request: web.Request, method: Method, message: Message, seconds: float
    ) -> web.StreamResponse:
        """Send a line for each response; a failure after the first becomes a last line, {"problem": …}."""
        answer = web.StreamResponse(headers={"Content-Type": NDJSON})
        async with aclosing(self._recommender.answers(method, message, seconds)) as responses:
            try:
                async for response in responses:
                    if not answer.prepared:
                        await answer.prepare(request)
                    await answer.write(to_json(response) + b"\n")
            except Problem as problem:
                if not answer.prepared:
                    raise
                await answer.write(json.dumps({"problem": problem.to_json()}, ensure_ascii=False).encode() + b"\n")
        if not answer.prepared:
            await answer.prepare(request)
        await answer.write_eof()
        return answer

    def _seconds(self, headers: Mapping[str, str], method: Method) -> float:
        timeout, most = headers.get(TIMEOUT), self._settings.most_timeout_seconds
        if timeout is None:
            return most if method.streams else self._settings.timeout_seconds
        if _NUMBER.fullmatch(timeout) and float(timeout) >= LEAST_SECONDS:
            return min(float(timeout), most)
        raise BadRequest(TIMEOUT, f"seconds, {LEAST_SECONDS} or more, got {timeout[:80]!r}")
