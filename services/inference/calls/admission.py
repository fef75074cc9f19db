"""Calls that compute take turns on the event loop, and when the queue is long the next are refused.

What comes in faster than it is computed waits somewhere. Left to itself it waits inside gRPC, where nobody sees for how
long. So calls are taken in before others are computed: they wait here, in order, and how long the next one would wait
is known: the length of the queue times what a turn takes lately. Where that is too long, it is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from random import Random
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode

from services.inference.metrics import InferenceMetrics
from shared.process.errors import BadRequest

# What the latest turn counts in the mean, and how many times the mean it counts as at most: one slow turn is no sign.
LATEST, SLOWEST = 0.1, 4.0
# A queue that was empty within the first number of seconds is a burst, and may be as long as the second says: Maurer,
# "Fail at Scale" (ACM Queue 2015), after CoDel. One that stands is an overload, which waiting does not end.
RECENT_SECONDS, BURST_SECONDS = 0.1, 0.05
# After a refusal no queue counts as a burst for so long: refusing is what empties it.
SOBER_SECONDS = 1.0
# Of so few nobody is refused, however long a turn takes: some callers that each ask one thing after another. Where more
# than one come to each turn, the queue may be as many times shorter: the next one is there soon enough, and who waited
# less is answered earlier.
FEW = 8
# Between two turns what waits inside gRPC is taken in. A thread of its own hands over one call after the other. The
# first was handed over while the turn's call computed, and is seen within so many of the event loop's rounds;
LEAST_LOOPS = 6
# for each that follows the thread may have to be woken: after so many rounds without one nothing waits there (with six,
# what one process could not carry waited unseen for half a second; with 32, calls at half load took longer: measured).
QUIET_LOOPS = 14
# While calls come, taking them in lasts as long as this times what the turn's call computed: refusing alone helps
# nobody. gRPC refuses for less what is not taken in then.
TAKING_IN = 2.0
# By this round the turn's call has computed.
COMPUTED = 2


class Turns:
    """A queue of calls, each of which computes without a pause once it is its turn.

    Args:
        longest_seconds: one that would wait longer in a queue that stands is refused.
        clock: seconds.
    """

    def __init__(self, longest_seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turn_seconds = 0.0  # decayed mean; 0: none was measured
        self._empty_at = clock()  # when the queue was empty last
        self._refused_at = -SOBER_SECONDS
        self._came = 0  # calls since the turn began,
        self._crowd = 1.0  # and the decayed mean of how many came to one
        self._began = 0.0  # clock seconds of the turn that goes on,
        self._computed = 0.0  # and when its call had computed
        self._goes_on = False  # whether one does
        self._loops = 0  # since it began
        self._quiet_loops = LEAST_LOOPS  # without a call, after which nothing waits inside gRPC
        self._quiet = 0  # loops since the last call came

    @property
    def wait_seconds(self) -> float:
        """How long a call that came now would wait."""
        return len(self._waiting) * self._turn_seconds

    def refuses(self) -> bool:
        """A call came: whether it is refused; if not, it is to `take` its turn."""
        self._came += 1
        self._quiet, self._quiet_loops = 0, QUIET_LOOPS
        wait_seconds = self.wait_seconds
        if len(self._waiting) < FEW / max(1.0, self._crowd) or wait_seconds <= self._longest_seconds:
            return False
        now = self._clock()
        stands = now - self._empty_at > RECENT_SECONDS or now - self._refused_at < SOBER_SECONDS
        if stands or wait_seconds > BURST_SECONDS:
            self._refused_at = now
            return True
        return False

    async def take(self) -> None:
        """Return when it is the caller's turn, which lasts until its first pause."""
        if not self._goes_on:
            self._begin()
            return
        if not self._waiting:
            self._empty_at = self._clock()
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _begin(self) -> None:
        self._crowd += LATEST * (self._came - self._crowd)
        self._came = 0
        self._began, self._goes_on, self._loops = self._clock(), True, 0
        self._quiet, self._quiet_loops = 0, LEAST_LOOPS
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Once a loop: when it is time, let the next begin."""
        self._loops += 1
        self._quiet += 1
        if self._loops == COMPUTED:
            self._computed = self._clock()
        if self._quiet < self._quiet_loops and not (self._waiting and self._is_over()):
            asyncio.get_running_loop().call_soon(self._look)
            return
        self._goes_on = False
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # else its caller went away
                self._measure(self._clock() - self._began)
                self._begin()
                future.set_result(None)
                return

    def _is_over(self) -> bool:
        """Whether calls were taken in for long enough."""
        if self._loops < LEAST_LOOPS:
            return False
        return self._clock() - self._computed >= TAKING_IN * (self._computed - self._began)

    def _measure(self, seconds: float) -> None:
        mean = self._turn_seconds or seconds
        self._turn_seconds = mean + LATEST * (min(seconds, SLOWEST * mean) - mean)


# How a call is refused that would wait too long: before it is read, and with when to come again.

# Methods that compute: their calls take turns. The others wait for the broker, or cost next to nothing; they are never
# refused for what these have to do, and neither is a health check.
COMPUTING = frozenset({"Recommend", "SimilarProducts", "Trending", "ListProducts"})
# Of gRPC's retry design (A6): a client's own retries heed it.
PUSHBACK = "grpc-retry-pushback-ms"
# When to come again: drawn evenly between, so that those refused together don't come back together.
SOONEST_MS, LATEST_MS = 100, 300


class Shedding:
    """Refuses calls of methods that compute when the queue for a turn is long."""

    def __init__(self, turns: Turns, rng: Random, metrics: InferenceMetrics) -> None:
        self._metrics = metrics
        self.turns = turns
        self._rng = rng
        # Of a stream of requests none needs to be received first: that saves a good part of what a call costs.
        self._handlers = {method: grpc.stream_unary_rpc_method_handler(self._refusing(method)) for method in COMPUTING}

    def refusal(self, method: str) -> Any | None:
        """The handler that refuses a call which came, None where it is answered."""
        handler = self._handlers.get(method)
        return handler if handler is not None and self.turns.refuses() else None

    def _refusing(self, method: str) -> Any:
        refused = self._metrics.requests.labels(method, grpc.StatusCode.RESOURCE_EXHAUSTED.name)

        async def refuse(_: Any, context: Any) -> None:
            refused.inc()
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "more calls come than can be answered in time: ask again a little later; start more processes by "
                "FRESHET_INFERENCE_PROCESSES",
                ((PUSHBACK, str(self._rng.randint(SOONEST_MS, LATEST_MS))),),
            )

        return refuse


# How a call ends that has no answer, and the interceptor that tells the caller and the metrics.

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

    def __init__(self, most_calls: int, shedding: Shedding, metrics: InferenceMetrics) -> None:
        self._metrics = metrics
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
            end = _End(method, self._metrics)
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
            end = _End(method, self._metrics)
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

    def __init__(self, method: str, metrics: InferenceMetrics) -> None:
        self._metrics = metrics
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
            self._metrics.requests.labels(self._method, self.code.name).inc()
            self._metrics.request_seconds.labels(self._method).observe(time.perf_counter() - start)


# How many calls of one connection may wait for something outside the process.


class WaitingRoom:
    """Seats for calls that wait, on each connection as many: who waits must not keep all others from being read.

    Args:
        seats: of each connection.
    """

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._taken: Counter[str] = Counter()  # by connection

    @contextmanager
    def seat(self, context: Context, what_for: str) -> Iterator[None]:
        """Hold a seat for the length of the block.

        Raises:
            Refusal: all are taken.
        """
        connection = context.peer()
        if self._taken[connection] >= self._seats:
            raise Refusal(
                StatusCode.RESOURCE_EXHAUSTED,
                f"{self._seats} calls of this connection wait for {what_for} already: ask again in a moment, use more "
                "connections, or allow more by FRESHET_INFERENCE_CALLS_PER_CONNECTION",
            )
        self._taken[connection] += 1
        try:
            yield
        finally:
            self._taken[connection] -= 1
            if not self._taken[connection]:
                del self._taken[connection]


# Whether an answer can still be ready in time.

# What the latest answer counts in the mean, and what a refused call takes off it: a slow moment is forgotten.
LATEST_ANSWER, FORGOTTEN = 0.1, 0.1


class Pace:
    """How long an answer takes lately: a decayed mean."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        """An answer took so long."""
        self.seconds += LATEST_ANSWER * (seconds - self.seconds)

    def too_late(self, left_seconds: float | None) -> bool:
        """Whether an answer can't be ready in what is left of a call's time; None: it has no end."""
        if left_seconds is None or left_seconds > self.seconds:
            return False
        self.seconds *= 1.0 - FORGOTTEN
        return True
