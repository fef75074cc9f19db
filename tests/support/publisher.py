"""A publisher of files on a local port, which does to its clients what the web does."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Publisher:
    """What is served, and how.

    Attributes:
        content: of the one file there is, whatever the path.
        grants_ranges: whether Range is heeded.
        cuts: bytes of the body after which each of the next answers is cut off.
        answers: status, headers and body of the next answers, instead of the file.
        tag: makes the ETag of a content; None: there is none.
        content_range: makes the Content-Range of a 206, to be wrong about it.
        requests: the headers of every request so far, and its path.
    """

    content: bytes
    grants_ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    tag: Callable[[bytes], str] | None = field(default=lambda content: f'"{hash(content):x}"')
    last_modified: str = ""
    says_length: bool = True
    content_type: str = "application/octet-stream"
    content_range: Callable[[int, int], str] = field(default=lambda start, size: f"bytes {start}-{size - 1}/{size}")
    requests: list[dict[str, str]] = field(default_factory=list)
    after_answer: Callable[[], None] = field(default=lambda: None)
    url: str = ""

    def address(self, name: str) -> str:
        """The address of a file."""
        return f"{self.url}/{name}"

    @property
    def ranges_asked(self) -> list[str]:
        """The Range of every request so far, empty where there was none."""
        return [request.get("Range", "") for request in self.requests]


@contextmanager
def publishing(publisher: Publisher) -> Iterator[Publisher]:
    """Serve for the length of the block."""

    class Handler(_Handler):
        pass

    Handler.publisher = publisher
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    publisher.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    publisher: Publisher

    def do_GET(self) -> None:
        publisher = self.publisher
        publisher.requests.append(dict(self.headers) | {"path": self.path})
        self.close_connection = True
        if publisher.answers:
            status, headers, body = publisher.answers.pop(0)
            self._answer(status, headers | {"Content-Length": str(len(body))}, body)
        else:
            self._answer_with_file()
        publisher.after_answer()

    def _answer_with_file(self) -> None:
        publisher, content = self.publisher, self.publisher.content
        size = len(content)
        headers = {"Content-Type": publisher.content_type}
        tag = publisher.tag(content) if publisher.tag else ""
        if tag:
            headers["ETag"] = tag
        if publisher.last_modified:
            headers["Last-Modified"] = publisher.last_modified
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        is_same = self.headers.get("If-Range") in (tag, publisher.last_modified)
        if wanted and publisher.grants_ranges and is_same:
            start = int(wanted[1])
            if start >= size:
                self._answer(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"}, b"")
                return
            headers["Content-Range"] = publisher.content_range(start, size)
            status, body = 206, content[start:]
        else:
            status, body = 200, content
        if publisher.says_length:
            headers["Content-Length"] = str(len(body))
        if publisher.cuts:
            body = body[: publisher.cuts.pop(0)]
        self._answer(status, headers, body)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
