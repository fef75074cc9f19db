"""Logs and metrics, the same in every service: their format, floods of lines cut short, and whether it is ready."""

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

# Of lines of one kind the first few are logged as they are; how many more there were, once in so many seconds.
FEW = 5
SECONDS = 10.0

# A turn takes as long as its slowest part: a checkpoint, a version written to a slow disk, a long text.
LONGEST_TURN_SECONDS = 120.0

# Prometheus buckets for durations from 100 microseconds to a minute.
SECONDS_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


def setup_logging(settings: ServiceSettings) -> None:
    """Send every log line to standard error, in the format that the settings name."""
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


class FirstFew:
    """Keeps a log readable, for example where a topic is full of records that can't be understood.

    The first `FEW` lines of a kind are logged as they are. Others are counted, and every `SECONDS` one line tells how
    many came and which was the newest. After a period without any, the next lines are logged as they are again.

    Args:
        say: takes a line, as a logger's method does.
    """

    def __init__(self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._periods: dict[Hashable, _Period] = {}

    def add(self, kind: Hashable, line: str) -> None:
        """Log or count one more line; each kind is counted apart."""
        self.due()
        period = self._periods.setdefault(kind, _Period(self._clock()))
        if period.logged < FEW:
            period.logged += 1
            self._say(line)
        else:
            period.more += 1
            period.newest = line

    def due(self) -> None:
        """Log the counts whose period is over; call it now and then, since no further line may come."""
        now = self._clock()
        for kind, period in list(self._periods.items()):
            if now - period.since < SECONDS:
                continue
            if period.more:
                self._say(f"{period.more:,} more in {now - period.since:.0f} s, the newest: {period.newest}")
                self._periods[kind] = _Period(now, logged=FEW)
            else:
                del self._periods[kind]


@dataclass(slots=True)
class _Period:
    """The lines of one kind since a moment."""

    since: float  # seconds of the clock
    logged: int = 0
    more: int = 0
    newest: str = ""  # of those more


class TallyMetrics:
    """How much memory a service's counts take, and what found no room."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        self._bytes = Gauge(
            f"freshet_{service}_tally_bytes", "Memory for popularity, pairs and newest users.", registry=registry
        )
        self._refused = Gauge(
            f"freshet_{service}_tally_refused_pairs",
            "Pairs of products not counted since the log's beginning, for want of memory (tally_megabytes).",
            registry=registry,
        )

    def show(self, in_use: int, refused: int) -> None:
        """Set both."""
        self._bytes.set(in_use)
        self._refused.set(refused)


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


def new_registry() -> CollectorRegistry:
    """A registry for the metrics of one service, which tells of the process, its Python and its garbage, too."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


class Ready:
    """`freshet_<service>_ready`: 1 from the first turn of the service's loop on, while it turns, else 0.

    A broker that is away stops no loop: it is waited for, and `…_lag_seconds` tells.
    """

    def __init__(self, service: str, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turned = float("-inf")
        Gauge(
            f"freshet_{service}_ready",
            "1 while the service can do its work: its loop was begun and turns, else 0.",
            registry=registry,
        ).set_function(self._value)

    def turn(self) -> None:
        """The loop has come round once more."""
        self._turned = self._clock()

    def _value(self) -> float:
        return float(self._clock() - self._turned <= LONGEST_TURN_SECONDS)
