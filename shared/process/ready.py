"""Whether a service can do its work, told to Prometheus and through it to a container's health check."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

# A turn takes as long as its slowest part: a checkpoint, a version written to a slow disk, a long text.
LONGEST_TURN_SECONDS = 120.0


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
