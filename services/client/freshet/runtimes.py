"""What the clients need of asyncio and of threads, in pairs with the same methods.

`AsyncClient` and `AsyncRecorder` are written with the first of each pair; `make client` writes `Client` and `Recorder`
from them with the second.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

import grpc

from freshet.calling import OPTIONS
from shared.pb.freshet.v1 import events_pb2 as pb

# Records events before a deadline, seconds.
AsyncSend = Callable[[list[pb.Event], float], Awaitable[None]]
Send = Callable[[list[pb.Event], float], None]

async_sleep = asyncio.sleep
sleep = time.sleep


def async_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Iterable[tuple[str, Any]]
) -> grpc.aio.Channel:
    """A connection with `OPTIONS` and then these; not encrypted without credentials."""
    arguments = [*OPTIONS, *options]
    if credentials is None:
        return grpc.aio.insecure_channel(address, arguments)
    return grpc.aio.secure_channel(address, credentials, arguments)


def channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Iterable[tuple[str, Any]]
) -> grpc.Channel:
    """A connection with `OPTIONS` and then these; not encrypted without credentials."""
    arguments = [*OPTIONS, *options]
    if credentials is None:
        return grpc.insecure_channel(address, arguments)
    return grpc.secure_channel(address, credentials, arguments)


class AsyncCondition(asyncio.Condition):
    """A condition that tasks wait for."""

    async def wait_within(self, seconds: float | None) -> None:
        """Wait until it is notified, or the time is over; None: as long as it takes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wait()


class Condition(threading.Condition):
    """A condition that threads wait for."""

    def wait_within(self, seconds: float | None) -> None:
        """Wait until it is notified, or the time is over; None: as long as it takes."""
        self.wait(seconds)


class AsyncWorker:
    """Runs something in a task of its own. A loop that ends first cancels it."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]], at_exit: Callable[[], Awaitable[None]]) -> None:  # noqa: ARG002  # no loop is left to await it on
        self._task = asyncio.create_task(run(), name="freshet-recorder")

    async def join(self) -> None:
        """Wait for its end; who waits may be cancelled without it."""
        await asyncio.shield(self._task)


class Worker:
    """Runs something in a thread of its own. A program that ends before `join` calls `at_exit`."""

    def __init__(self, run: Callable[[], None], at_exit: Callable[[], None]) -> None:
        self._at_exit = at_exit
        self._thread = threading.Thread(target=run, name="freshet-recorder", daemon=True)
        self._thread.start()
        atexit.register(at_exit)

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()
        atexit.unregister(self._at_exit)
