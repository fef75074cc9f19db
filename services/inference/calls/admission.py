"""Admission control: which calls are answered, in what order, and how the others are refused.

`CallInterceptor` stands before every call. It limits how many are in flight, turns what a call raises into a status,
and counts and times it. Methods that compute take turns on the event loop (`TurnQueue`). Under overload, calls would
wait inside gRPC, where nobody sees for how long. So calls are read before others are computed and wait here, in order:
the next one's wait is the length of the queue times the recent length of a turn. `LoadShedding` refuses a call whose
wait would be too long before its request is read. Two more checks are for the calls themselves: `WaitingRoom` limits
how many calls of a connection may wait for something outside the process, `AnswerTime` says whether a deadline can be
met.
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

log = logging.getLogger("inference")
Context = Any  # grpc.aio.ServicerContext; grpcio ships no types
SERVICE_PREFIX = "/freshet.v1.RecommenderService/"
# Methods that compute: their calls take turns. The others wait for the broker, or cost next to nothing; neither they
# nor health checks are shed.
COMPUTING = frozenset({"Recommend", "SimilarProducts", "Trending", "ListProducts"})
# From gRPC's retry design (A6): clients that retry by themselves respect it.
PUSHBACK = "grpc-retry-pushback-ms"
# When to retry: drawn uniformly between, so that calls refused together don't come back together.
SOONEST_MS, LATEST_MS = 100, 300
# Weight of the latest turn in the mean, and the most that it counts as, in means: one slow turn is no sign of overload.
LATEST, SLOWEST = 0.1, 4.0
# A queue that was empty within the first time is a burst, and may be as long as the second: Maurer, "Fail at Scale"
# (ACM Queue 2015), after CoDel. A standing queue is an overload, which waiting does not end.
RECENT_SECONDS, BURST_SECONDS = 0.1, 0.05
# For this long after a refusal no queue counts as a burst, since it is the refusals that empty it.
SOBER_SECONDS = 1.0
# A shorter queue never sheds, however long a turn takes: a few clients that send one call after another. Where more
# than one call arrives per turn, the queue may be shorter by that factor: the next call comes soon enough, and each
# waits less.
FEW = 8
# Between two turns the calls that wait inside gRPC are read. A thread of gRPC hands over one after another. The first
# was handed over while the turn's call computed, and appears within this many rounds of the event loop;
LEAST_LOOPS = 6
# for each further one the thread may have to be woken: after this many rounds without a call none waits there.
# (Measured: with 6, the calls of an overload waited unseen for half a second; with 32, calls at half load took longer.)
QUIET_LOOPS = 14
# While calls arrive, reading them takes at most this times the turn's computation: refusing alone helps nobody. gRPC
# refuses unread calls at a lower cost.
READING = 2.0
# The round by which the turn's calls have computed.
COMPUTED = 2
# Calls that compute in one turn at most, one after the other: reading takes the same rounds after one as after four.
TOGETHER = 4
# Weight of the latest answer in the mean, and what a refused call takes off it, so that a slow moment is forgotten.
LATEST_ANSWER, FORGOTTEN = 0.1, 0.1


class Refusal(Exception):
    """Ends the call with this status; the message says what to do next."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Turns what calls raise into statuses, and counts and times them. Health and reflection pass through.

    Args:
        most_calls: calls in flight; further ones are refused here, where they are counted, not by gRPC's own limit.
        shedding: refuses calls that would wait too long.
    """

    def __init__(self, most_calls: int, shedding: LoadShedding, metrics: InferenceMetrics) -> None:
        self._metrics = metrics
        self._most_calls = most_calls
        self._shedding = shedding
        self._in_flight = _InFlight()
        self._wrapped: dict[str, Any] = {}  # handlers of the service's methods, by name

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap the service's methods."""
        name: str = handler_call_details.method
        if name in self._wrapped:
            return self._shedding.refusal(name.removeprefix(SERVICE_PREFIX)) or self._wrapped[name]
        handler = await continuation(handler_call_details)
        if handler is None or not name.startswith(SERVICE_PREFIX):
            return handler
        method = name.removeprefix(SERVICE_PREFIX)
        if handler.response_streaming:
            make = partial(grpc.unary_stream_rpc_method_handler, self._streamed(handler.unary_stream, method))
        else:
            make = partial(grpc.unary_unary_rpc_method_handler, self._single(handler.unary_unary, method))
        self._wrapped[name] = make(
            request_deserializer=_decoding(handler.request_deserializer),
            response_serializer=_encoding(handler.response_serializer),
        )
        return self._wrapped[name]

    def _single(self, answer: Callable[[Any, Context], Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
        turns = self._shedding.turns if method in COMPUTING else None
        calls = self._calls_of(method)

        async def single(request: Any, context: Context) -> Any:
            with _Call(calls) as call:
                call.admit()
                if turns is not None:
                    await turns.take()
                return await answer(_checked(request), context)
            return await context.abort(call.code, call.message)

        return single

    def _streamed(
        self, answer: Callable[[Any, Context], AsyncGenerator[Any, None]], method: str
    ) -> Callable[..., AsyncIterator[Any]]:
        calls = self._calls_of(method)

        async def streamed(request: Any, context: Context) -> AsyncIterator[Any]:
            with _Call(calls) as call:
                call.admit()
                async with aclosing(answer(_checked(request), context)) as responses:
                    async for response in responses:
                        yield response
                return
            await context.abort(call.code, call.message)

        return streamed

    def _calls_of(self, method: str) -> _Calls:
        return _Calls(method, self._in_flight, self._most_calls, self._metrics)


class _InFlight:
    """How many calls are in flight, of all methods together."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class _Calls:
    """What all calls of one method have in common."""

    __slots__ = ("in_flight", "method", "most", "ok", "requests", "seconds")

    def __init__(self, method: str, in_flight: _InFlight, most: int, metrics: InferenceMetrics) -> None:
        self.method = method
        self.in_flight = in_flight
        self.most = most
        self.requests = metrics.requests
        self.ok = metrics.requests.labels(method, StatusCode.OK.name)  # to look it up takes longer than to count
        self.seconds = metrics.request_seconds.labels(method)


class _Call:
    """Around one call: what it raises becomes the status that it ends with; it is counted and timed.

    Attributes:
        code, message: of the status.
    """

    __slots__ = ("_calls", "_start", "code", "message")

    def __init__(self, calls: _Calls) -> None:
        self._calls = calls
        self.code = StatusCode.OK
        self.message = ""

    def __enter__(self) -> _Call:
        self._calls.in_flight.calls += 1
        self._start = time.perf_counter()
        return self

    def admit(self) -> None:
        """Go on, unless too many are in flight.

        Raises:
            Refusal: they are.
        """
        others, most = self._calls.in_flight.calls - 1, self._calls.most
        if others >= most:
            raise Refusal(
                StatusCode.RESOURCE_EXHAUSTED,
                f"{others} calls are in flight already: try again in a moment; "
                "FRESHET_INFERENCE_MAXIMUM_CONCURRENT_RPCS sets the limit",
            )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        calls = self._calls
        calls.in_flight.calls -= 1
        if error is not None:
            self._end_with(error)
        code = self.code
        (calls.ok if code is StatusCode.OK else calls.requests.labels(calls.method, code.name)).inc()
        calls.seconds.observe(time.perf_counter() - self._start)
        return isinstance(error, Exception) and code is not StatusCode.CANCELLED

    def _end_with(self, error: BaseException) -> None:
        if isinstance(error, BadRequest):
            self.code, self.message = StatusCode.INVALID_ARGUMENT, str(error)
        elif isinstance(error, Refusal):
            self.code, self.message = error.code, str(error)
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.code = StatusCode.CANCELLED  # the client disconnected, or its deadline passed; it passes on
        elif isinstance(error, Exception):  # the boundary of a call: its failure becomes a status and a line in the log
            log.error("%s failed", self._calls.method, exc_info=error)
            self.code, self.message = StatusCode.INTERNAL, "internal error of inference; see its log"


def _decoding(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Decode a request or return the error: raised here, gRPC would answer UNKNOWN and log a traceback."""

    def decoded(content: bytes) -> Any:
        try:
            return decode(content)
        except DecodeError as error:
            return error

    return decoded


def _encoding(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Encode a response, unless it is on the wire's form already."""
    return lambda response: response if isinstance(response, bytes) else encode(response)


def _checked(request: Any) -> Any:
    if isinstance(request, DecodeError):
        raise BadRequest("request", str(request))
    return request


class LoadShedding:
    """Refuses calls of methods that compute while the queue for a turn is too long."""

    def __init__(self, turns: TurnQueue, rng: Random, metrics: InferenceMetrics) -> None:
        self._metrics = metrics
        self.turns = turns
        self._rng = rng
        # A stream handler need not receive a request first, which saves much of a call's cost.
        self._handlers = {method: grpc.stream_unary_rpc_method_handler(self._refusing(method)) for method in COMPUTING}

    def refusal(self, method: str) -> Any | None:
        """The handler that refuses the call that has just arrived; None: it is answered."""
        handler = self._handlers.get(method)
        return handler if handler is not None and self.turns.refuses() else None

    def _refusing(self, method: str) -> Any:
        refusals = self._metrics.requests.labels(method, grpc.StatusCode.RESOURCE_EXHAUSTED.name)

        async def refuse(_: Any, context: Any) -> None:
            refusals.inc()
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "more calls come than can be answered in time: try again a little later; for more capacity set "
                "FRESHET_INFERENCE_PROCESSES",
                ((PUSHBACK, str(self._rng.randint(SOONEST_MS, LATEST_MS))),),
            )

        return refuse


class TurnQueue:
    """A queue of calls, each of which computes without a pause in its turn; a turn is of `TOGETHER` calls at most.

    Args:
        longest_seconds: a call that would wait longer in a standing queue is refused.
        clock: seconds.
    """

    def __init__(self, longest_seconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._call_seconds = 0.0  # of a turn, shared out among its calls: decayed mean; 0: not measured yet
        self._empty_at = clock()  # when the queue was empty last
        self._refused_at = -SOBER_SECONDS
        self._calls = 1  # of the turn
        self._arrived = 0  # calls since the turn began, ...
        self._arrivals = 1.0  # ... and for each of its calls, their decayed mean
        self._began = 0.0  # clock seconds at the turn's begin, ...
        self._computed = 0.0  # ... and when its calls had computed
        self._in_turn = False  # whether a turn is in progress
        self._loops = 0  # of the event loop since the turn began
        self._quiet_loops = LEAST_LOOPS  # rounds without a call after which none waits inside gRPC
        self._quiet = 0  # rounds since the last call came

    @property
    def wait_seconds(self) -> float:
        """How long a call that arrives now would wait."""
        return len(self._waiting) * self._call_seconds

    def refuses(self) -> bool:
        """Whether the call that has just arrived is refused; otherwise it will `take` its turn."""
        self._arrived += 1
        self._quiet, self._quiet_loops = 0, QUIET_LOOPS
        wait_seconds = self.wait_seconds
        if len(self._waiting) < FEW / max(1.0, self._arrivals) or wait_seconds <= self._longest_seconds:
            return False
        now = self._clock()
        stands = now - self._empty_at > RECENT_SECONDS or now - self._refused_at < SOBER_SECONDS
        if stands or wait_seconds > BURST_SECONDS:
            self._refused_at = now
            return True
        return False

    async def take(self) -> None:
        """Wait for the caller's turn, which lasts until its first pause."""
        if not self._in_turn:
            self._begin(1)
            return
        if not self._waiting:
            self._empty_at = self._clock()
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _begin(self, calls: int) -> None:
        self._arrivals += LATEST * (self._arrived / self._calls - self._arrivals)
        self._arrived, self._calls = 0, calls
        self._began, self._in_turn, self._loops = self._clock(), True, 0
        self._quiet, self._quiet_loops = 0, LEAST_LOOPS
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Once per round of the event loop: begin the next turn when it is time."""
        self._loops += 1
        self._quiet += 1
        if self._loops == COMPUTED:
            self._computed = self._clock()
        if self._quiet < self._quiet_loops and not (self._waiting and self._is_over()):
            asyncio.get_running_loop().call_soon(self._look)
            return
        self._in_turn = False
        turn: list[asyncio.Future[None]] = []
        while self._waiting and len(turn) < TOGETHER:
            future = self._waiting.popleft()
            if not future.done():  # otherwise its client disconnected
                turn.append(future)
        if turn:
            self._measure((self._clock() - self._began) / self._calls)
            self._begin(len(turn))
        for future in turn:
            future.set_result(None)

    def _is_over(self) -> bool:
        """Whether calls were read for long enough."""
        if self._loops < LEAST_LOOPS:
            return False
        return self._clock() - self._computed >= READING * (self._computed - self._began)

    def _measure(self, seconds: float) -> None:
        mean = self._call_seconds or seconds
        self._call_seconds = mean + LATEST * (min(seconds, SLOWEST * mean) - mean)


class WaitingRoom:
    """Limits the waiting calls of each connection, so that they never keep its other calls from being read.

    Args:
        seats: waiting calls per connection.
    """

    def __init__(self, seats: int) -> None:
        self._seats = seats
        self._taken: Counter[str] = Counter()  # by connection

    @contextmanager
    def seat(self, context: Context, what_for: str) -> Iterator[None]:
        """Hold a seat during the block.

        Raises:
            Refusal: all seats are taken.
        """
        connection = context.peer()
        if self._taken[connection] >= self._seats:
            raise Refusal(
                StatusCode.RESOURCE_EXHAUSTED,
                f"{self._seats} calls of this connection wait for {what_for} already: try again in a moment, use more "
                "connections, or raise FRESHET_INFERENCE_CALLS_PER_CONNECTION",
            )
        self._taken[connection] += 1
        try:
            yield
        finally:
            self._taken[connection] -= 1
            if not self._taken[connection]:
                del self._taken[connection]


class AnswerTime:
    """The recent time of an answer: a decayed mean."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        """Note the time of an answer."""
        self.seconds += LATEST_ANSWER * (seconds - self.seconds)

    def too_late(self, left_seconds: float | None) -> bool:
        """Whether an answer can't be ready before the deadline; None: there is none."""
        if left_seconds is None or left_seconds > self.seconds:
            return False
        self.seconds *= 1.0 - FORGOTTEN
        return True
