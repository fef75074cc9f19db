"""A gRPC client that costs next to nothing, so that on two cores the server is what is measured.

It speaks just the HTTP/2 that unary calls need (RFC 9113): headers are sent as entries of the dynamic table (RFC 7541,
6.1), and of an answer only its frames are looked at. An answer without content counts as failed.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from typing import cast

from tests.bench.when_due import when_due

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MOST_WINDOW = 2**31 - 1
INITIAL_WINDOW_SIZE = 4  # a setting's name
POST, HTTP = b"\x83", b"\x86"  # of the static table: `:method: POST`, `:scheme: http`
FIRST_DYNAMIC = 62

Done = Callable[[int, bool], None]


def message(content: bytes) -> bytes:
    """A protobuf message as gRPC frames it."""
    return struct.pack(">BI", 0, len(content)) + content


class Connection(asyncio.Protocol):
    """One connection, one method; `on_done` gets each call's number and whether it was answered."""

    def __init__(self, method: str, on_done: Done) -> None:
        fields = [
            (":path", method),
            (":authority", "bench"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "freshet-bench"),
        ]
        self._headers = POST + HTTP + b"".join(_literal(name.encode(), value.encode()) for name, value in fields)
        self._indexed = POST + HTTP + bytes(0x80 | (FIRST_DYNAMIC + n) for n in reversed(range(len(fields))))
        self._on_done = on_done
        self._stream = 1
        self._content: set[int] = set()  # streams whose answer has content
        self._received = b""

    def call(self, content: bytes) -> int:
        """Send a call, as `message` frames it; its number."""
        stream = self._stream
        self._stream += 2
        self._transport.write(
            _frame(HEADERS, END_HEADERS, stream, self._headers) + _frame(DATA, END_STREAM, stream, content)
        )
        self._headers = self._indexed
        return stream

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, MOST_WINDOW))
            + _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", MOST_WINDOW - 65_535))
        )

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        data = self._received + data
        at = 0
        while len(data) - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if len(data) < end:
                break
            self._take(data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big"), data[at + 9 : end])
            at = end
        self._received = data[at:]

    def _take(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == DATA and content:
            self._content.add(stream)
        elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
            self._on_done(stream, stream in self._content and kind == HEADERS)
            self._content.discard(stream)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._transport.write(_frame(kind, ACK, 0, content if kind == PING else b""))
        elif kind == GOAWAY:
            raise ConnectionError(f"the server hung up: {content!r}")


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + content


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field that the other side puts into its dynamic table."""
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Load:
    """Calls of one method over several connections.

    Args:
        requests: what is sent, framed, one after the other and again from the start.
    """

    def __init__(self, port: int, method: str, requests: Sequence[bytes], connections: int) -> None:
        self._address = ("127.0.0.1", port)
        self._method = method
        self._requests = requests
        self._connections = connections
        self._next = 0

    async def closed(self, seconds: float, in_flight: int) -> float:
        """Calls answered per second with `in_flight` always on their way on each connection."""
        answered = failed = 0
        over = False

        def done(n: int) -> Done:
            def on_done(stream: int, ok: bool) -> None:
                nonlocal answered, failed
                answered += ok
                failed += not ok
                if not over:
                    connections[n].call(self._request())

            return on_done

        connections = [await self._connect(done(n)) for n in range(self._connections)]
        start = time.perf_counter()
        for connection in connections:
            for _ in range(in_flight):
                connection.call(self._request())
        await asyncio.sleep(seconds)
        rate = answered / (time.perf_counter() - start)
        over = True
        for connection in connections:
            connection.close()
        _refuse_failures(failed)
        return rate

    async def open(self, due: Sequence[float]) -> list[float]:
        """Seconds that each call took from when it was due, so that one sent late has waited, too.

        Args:
            due: when each is to be sent, seconds from now, ascending.
        """
        took: list[float] = []
        failed = 0
        sent: list[dict[int, float]] = [{} for _ in range(self._connections)]  # call → when it was due
        all_done = asyncio.get_running_loop().create_future()

        def done(n: int) -> Done:
            def on_done(stream: int, ok: bool) -> None:
                nonlocal failed
                failed += not ok
                took.append(time.perf_counter() - sent[n].pop(stream))
                if len(took) == len(due):
                    all_done.set_result(None)

            return on_done

        connections = [await self._connect(done(n)) for n in range(self._connections)]

        def send(number: int, due_at: float) -> None:
            n = number % self._connections
            sent[n][connections[n].call(self._request())] = due_at

        await when_due(due, send)
        await asyncio.wait_for(all_done, 30)
        for connection in connections:
            connection.close()
        _refuse_failures(failed)
        return took

    async def _connect(self, on_done: Done) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self._method, on_done), *self._address)
        return connection

    def _request(self) -> bytes:
        self._next = (self._next + 1) % len(self._requests)
        return self._requests[self._next]


def _refuse_failures(failed: int) -> None:
    if failed:
        raise RuntimeError(f"{failed} calls were not answered")
