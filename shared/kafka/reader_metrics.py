"""What a service that reads through the ordered reader tells Prometheus of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import Gauge

from shared.kafka.ordered import OrderedReader, Positioned


class ReaderMetrics:
    """The gauges of one service's reader, named `freshet_<service>_…`."""

    def __init__(self, service: str) -> None:
        def gauge(name: str, about: str) -> Gauge:
            return Gauge(f"freshet_{service}_{name}", about)

        self._ordered = gauge("ordered", "1 while every state came in the one order, else 0.")
        self._waiting = gauge("waiting_states", "States read and held back until all partitions have passed them.")
        self._repeats = gauge("repeats", "States left out because they were applied before.")
        self._unreadable = gauge("unreadable", "States left out because they could not be read.")
        self._lag = gauge("lag_seconds", "Wall time since the last applied event was recorded; 0 at the log's end.")
        self._event_time = gauge("event_time_seconds", "Event time applied up to, Unix time.")
        self._event_time_lag = gauge(
            "event_time_lag_seconds", "Event time between the newest state read and the last one applied."
        )

    def show(self, reader: OrderedReader, items: Sequence[Positioned]) -> None:
        """Show where the reader stands after `items`, the states of one poll, were applied."""
        self._ordered.set(reader.ordered)
        self._waiting.set(reader.waiting)
        self._repeats.set(reader.repeats)
        self._unreadable.set(reader.unreadable)
        if items:
            newest = items[-1].state
            self._event_time.set(newest.event_time_ms / 1000)
            self._event_time_lag.set(max(0.0, (reader.newest_ms - newest.event_time_ms) / 1000))
            if newest.recorded_ms:
                self._lag.set(max(0.0, time.time() - newest.recorded_ms / 1000))
        elif not reader.waiting:
            self._lag.set(0.0)
            self._event_time_lag.set(0.0)
