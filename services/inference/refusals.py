"""How a call ends that has no answer, and the interceptor that tells the caller and the metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.inference import metrics
from services.inference.shedding import COMPUTING, Shedding
from shared.errors import BadRequest

log = logging.getLogger("inference")

Context = Any  # grpc.aio.ServicerContext; grpcio ships no types

OWN_SERVICE = "/freshet.v1.RecommenderService/"


class Refusal(Exception):
    """The call ends with this status; the message says what to do next."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Boundary(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Turns what our calls raise into statuses, and counts and times every call. Health and reflection pass through.

    Args:
        most_calls: at a time; what exceeds them is refused here, where it is counted: gRPC's own limit counts nothing.
        shedding: refuses what would wait too long.
    """

    def __init__(self, most_calls: int, shedding: Shedding) -> None:
        self._most_calls = most_calls
        self._shedding = shedding
        self._calls = 0  # being answered
        self._wrapped: dict[str, Any] = {}  # handlers of our own methods, by name

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap our own methods."""
        name: str = handler_call_details.method
        if name in self._wrapped:
            return self._shedding.refusal(name.removeprefix(OWN_SERVICE)) or self._wrapped[name]
        handler = await continuation(handler_call_details)
        if handler is None or not name.startswith(OWN_SERVICE):
            return handler
        method = name.removeprefix(OWN_SERVICE)
        if handler.response_streaming:
            make = partial(grpc.unary_stream_rpc_method_handler, self._streamed(handler.unary_stream, method))
        else:
            make = partial(grpc.unary_unary_rpc_method_handler, self._single(handler.unary_unary, method))
        self._wrapped[name] = make(
            request_deserializer=_told(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )
        return self._wrapped[name]

    def _single(self, answer: Callable[[Any, Context], Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
        turns = self._shedding.turns if method in COMPUTING else None

        async def single(request: Any, context: Context) -> Any:
            end = _End(method)
            with end.found(), self._counted():
                if turns is not None:
                    await turns.take()
                return await answer(_checked(request), context)
            return await context.abort(end.code, end.message)

        return single

    def _streamed(
        self, answer: Callable[[Any, Context], AsyncGenerator[Any, None]], method: str
    ) -> Callable[..., AsyncIterator[Any]]:
        async def streamed(request: Any, context: Context) -> AsyncIterator[Any]:
            end = _End(method)
            with end.found(), self._counted():
                async with aclosing(answer(_checked(request), context)) as responses:
                    async for response in responses:
                        yield response
                return
            await context.abort(end.code, end.message)

        return streamed

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._calls >= self._most_calls:
            raise Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._calls} calls are being answered, and no more at a time: ask again in a moment; "
                "FRESHET_INFERENCE_MAXIMUM_CONCURRENT_RPCS allows more",
            )
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1


def _told(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Decode a request, or give the error for it: raised here, gRPC would answer UNKNOWN and log a traceback."""

    def told(content: bytes) -> Any:
        try:
            return decode(content)
        except DecodeError as error:
            return error

    return told


def _checked(request: Any) -> Any:
    if isinstance(request, DecodeError):
        raise BadRequest("request", str(request))
    return request


class _End:
    """How a call ended, which is counted and timed."""

    def __init__(self, method: str) -> None:
        self.code = grpc.StatusCode.OK
        self.message = ""
        self._method = method

    @contextmanager
    def found(self) -> Iterator[None]:
        """Swallow what a call raises, and keep the status for it; but let a call be cancelled."""
        start = time.perf_counter()
        try:
            yield
        except BadRequest as error:
            self.code, self.message = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except Refusal as error:
            self.code, self.message = error.code, str(error)
        except (asyncio.CancelledError, GeneratorExit):  # the caller went away, or its deadline passed
            self.code = grpc.StatusCode.CANCELLED
            raise
        except Exception:  # the boundary of a call: its failure is the caller's answer and a line in the log
            log.exception("%s failed", self._method)
            self.code, self.message = grpc.StatusCode.INTERNAL, "a fault of the service; its log says more"
        finally:
            metrics.REQUESTS.labels(self._method, self.code.name).inc()
            metrics.REQUEST_SECONDS.labels(self._method).observe(time.perf_counter() - start)
