"""A broker behind a line that can be cut: away for its clients, its log kept."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

from services.embedded import broker
from shared.process.leash import leashed


class Link:
    """Forwards TCP connections from one port on loopback to another until it is cut; each stands still at first."""

    def __init__(self, port: int, target: int, *, still_seconds: float = 0.0) -> None:
        self.port = port
        self._target = target
        self._still_seconds = still_seconds
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.mend()

    def cut(self) -> None:
        """Refuse connections and break those that are open."""
        self._do(self._cut())

    def mend(self) -> None:
        """Take connections again."""
        self._do(self._listen())

    def close(self) -> None:
        """Cut it for good."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, step: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()
        while self._open:
            await asyncio.sleep(0.01)

    async def _connect(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self._open.add(back)
        try:
            with contextlib.suppress(OSError):
                await asyncio.sleep(self._still_seconds)
                server, forth = await asyncio.open_connection("127.0.0.1", self._target)
                self._open.add(forth)
                await asyncio.gather(self._copy(client, forth), self._copy(server, back))
                self._open.discard(forth)
        finally:
            self._open.discard(back)
            back.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


@contextmanager
def broker_behind_a_link(log_file: Path) -> Iterator[Link]:
    """An embedded broker that tells its clients to come through the link, for the length of the block."""
    port, shown = broker.free_port(), broker.free_port()
    command = broker.command(port)
    command[command.index("--advertised-listener-url") + 1] = f"tcp://127.0.0.1:{shown}"
    with log_file.open("ab") as sink:
        process = subprocess.Popen(leashed(command), stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
    try:
        broker.wait_until_ready(port, process)
        link = Link(shown, port)
        try:
            yield link
        finally:
            link.close()
    finally:
        process.kill()
        process.wait(10)
