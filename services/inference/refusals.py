"""How a call ends that has no answer, and the interceptor that tells the caller and the metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from services.inference import metrics
from services.inference.requests import BadRequest

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
    """

    def __init__(self, most_calls: int) -> None:
        self._most_calls = most_calls
        self._calls = 0  # being answered
        self._wrapped: dict[str, Any] = {}  # handlers of our own methods, by name

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap our own methods."""
        name: str = handler_call_details.method
        if name in self._wrapped:
            return self._wrapped[name]
        handler = await continuation(handler_call_details)
        if handler is None or not name.startswith(OWN_SERVICE) or handler.unary_unary is None:
            return handler
        self._wrapped[name] = grpc.unary_unary_rpc_method_handler(
            _bounded(self._limited(handler.unary_unary), name.removeprefix(OWN_SERVICE)),
            request_deserializer=_told(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )
        return self._wrapped[name]

    def _limited(self, answer: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def limited(request: Any, context: Context) -> Any:
            if self._calls >= self._most_calls:
                raise Refusal(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{self._calls} calls are being answered, and no more at a time: ask again in a moment; "
                    "FRESHET_INFERENCE_MAXIMUM_CONCURRENT_RPCS allows more",
                )
            self._calls += 1
            try:
                return await answer(request, context)
            finally:
                self._calls -= 1

        return limited


def _told(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Decode a request, or give the error for it: raised here, gRPC would answer UNKNOWN and log a traceback."""

    def told(content: bytes) -> Any:
        try:
            return decode(content)
        except DecodeError as error:
            return error

    return told


def _bounded(answer: Callable[[Any, Context], Awaitable[Any]], method: str) -> Callable[[Any, Context], Awaitable[Any]]:
    async def bounded(request: Any, context: Context) -> Any:
        start = time.perf_counter()
        code, message = grpc.StatusCode.OK, ""
        try:
            if isinstance(request, DecodeError):
                raise BadRequest(f"request: {request}")  # noqa: TRY301
            return await answer(request, context)
        except BadRequest as error:
            code, message = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except Refusal as error:
            code, message = error.code, str(error)
        except asyncio.CancelledError:  # the caller went away, or its deadline passed
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:  # the boundary of a call: its failure is the caller's answer and a line in the log
            log.exception("%s failed", method)
            code, message = grpc.StatusCode.INTERNAL, "a fault of the service; its log says more"
        finally:
            metrics.REQUESTS.labels(method, code.name).inc()
            metrics.REQUEST_SECONDS.labels(method).observe(time.perf_counter() - start)
        return await context.abort(code, message)

    return bounded
