"""The gateway in a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import Service, running

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """A running gateway."""

    def __init__(self, service: Service) -> None:
        self.service = service
        ports: list[str] = []

        def look() -> bool:
            ports.extend(re.findall(r"HTTP on http://[^ ]*:(\d+)/", service.log))
            return bool(ports)

        service.wait_for(look, "HTTP")
        self.address = f"127.0.0.1:{ports[0]}"
        self.url = f"http://{self.address}"

    def ask(
        self, path: str, body: Any = None, *, method: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """GET, or POST where there is a body: bytes as they are, anything else as JSON."""
        sent = dict(headers or {})
        if body is not None:
            sent = JSON | sent
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=body, headers=sent, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())


@contextmanager
def gateway(recommender: str, folder: Path, **settings: object) -> Iterator[Gateway]:
    """One for the length of the block; `folder` holds its log."""
    environment = {"FRESHET_GATEWAY_PORT": "0", "FRESHET_GATEWAY_RECOMMENDER": recommender} | {
        f"FRESHET_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()
    }
    with running("services.gateway", environment, folder / "gateway.log") as service:
        yield Gateway(service)
