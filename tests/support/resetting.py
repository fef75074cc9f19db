"""A server that speaks as much of HTTP/2 (RFC 9113) as it takes to reset every stream."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

REFUSED_STREAM, CANCEL = 7, 8  # error codes, section 7
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _RST_STREAM, _SETTINGS, _PING, _ACK = 1, 3, 4, 6, 1


class Resetting(socketserver.ThreadingTCPServer):
    """Counts the streams it has reset."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, code: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.code = code
        self.streams = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.StreamRequestHandler):
    server: Resetting

    def handle(self) -> None:
        self.rfile.read(len(_PREFACE))
        self._send(_SETTINGS, 0, 0, b"")
        while len(head := self.rfile.read(9)) == 9:
            size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
            stream, content = int.from_bytes(head[5:]), self.rfile.read(size)
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._send(kind, _ACK, 0, content if kind == _PING else b"")
            elif kind == _HEADERS:
                self.server.streams += 1
                self._send(_RST_STREAM, 0, stream, struct.pack(">I", self.server.code))

    def _send(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        self.wfile.write(len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content)


@contextmanager
def resetting(code: int) -> Iterator[Resetting]:
    """One for the length of the block."""
    with Resetting(code) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()
