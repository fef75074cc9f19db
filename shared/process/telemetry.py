"""Logs and metrics, the same in every service."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from shared.process.errors import Unusable
from shared.process.settings import ServiceSettings

# Of lines that may come in floods says the first few, and then how many more there were.

FEW = 5
SECONDS = 10.0


@dataclass(slots=True)
class _Period:
    since: float  # seconds of the clock
    said: int = 0
    more: int = 0
    newest: str = ""  # of those more


class FirstFew:
    """Keeps a log readable where a topic is full of records that can't be read, say.

    The first `FEW` lines of a kind are said as they are. Others are counted, and every `SECONDS` one line says how many
    came and which was the newest. Once so long none is left to count, the next are first ones again.

    Args:
        say: takes a line, as a logger's method does.
    """

    def __init__(self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._periods: dict[Hashable, _Period] = {}

    def add(self, kind: Hashable, line: str) -> None:
        """Say or count one more line; those of other kinds don't matter to it."""
        self.due()
        period = self._periods.setdefault(kind, _Period(self._clock()))
        if period.said < FEW:
            period.said += 1
            self._say(line)
        else:
            period.more += 1
            period.newest = line

    def due(self) -> None:
        """Say what was counted long enough; to be called now and then, for when no line comes any more."""
        now = self._clock()
        for kind, period in list(self._periods.items()):
            if now - period.since < SECONDS:
                continue
            if period.more:
                self._say(f"{period.more:,} more in {now - period.since:.0f} s, the newest: {period.newest}")
                self._periods[kind] = _Period(now, said=FEW)
            else:
                del self._periods[kind]


# Prometheus buckets for durations from 100 microseconds to a minute.
SECONDS_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the error where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def setup_logging(settings: ServiceSettings) -> None:
    """Send every log line to standard error in the asked format."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        formatter = logging.Formatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)


def new_registry() -> CollectorRegistry:
    """A registry for the metrics of one service, which tells of the process, its Python and its garbage, too."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def start_metrics(service: str, settings: ServiceSettings, registry: CollectorRegistry) -> int:
    """Serve what `registry` holds as `/metrics` and return the port.

    Raises:
        Unusable: the address or port can't be bound.
    """
    try:
        server, _ = start_http_server(settings.metrics_port, addr=settings.metrics_host, registry=registry)
    except OSError as error:
        raise Unusable(
            f"can't serve metrics on {settings.metrics_host}:{settings.metrics_port}: {error.strerror or error}; "
            f"choose another FRESHET_{service.upper()}_METRICS_PORT (0: any free one)"
        ) from error
    port = int(server.server_port)
    logging.getLogger(service).info("metrics on http://%s:%d/metrics", settings.metrics_host, port)
    Gauge(f"freshet_{service}_started_time_seconds", "When this process started, Unix time.", registry=registry).set(
        time.time()
    )
    return port
