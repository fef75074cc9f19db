"""What a service that reads through the ordered reader tells Prometheus of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import Counter, Gauge

from shared.kafka.merge import Positioned
from shared.kafka.ordered import OrderedReader


class ReaderMetrics:
    """The metrics of one service's one reader, named `freshet_<service>_…`."""

    def __init__(self, service: str) -> None:
        def gauge(name: str, about: str) -> Gauge:
            return Gauge(f"freshet_{service}_{name}", about)

        def counter(name: str, about: str) -> Counter:
            return Counter(f"freshet_{service}_{name}_total", about)

        self._ordered = gauge("ordered", "1 while every state came in the one order, else 0.")
        self._waiting = gauge("waiting_states", "States read and held back until all partitions have passed them.")
        self._repeats = counter("repeats", "States left out because they were applied before.")
        self._unreadable = counter("unreadable", "States left out because they could not be read.")
        self._lag = gauge(
            "lag_seconds",
            "Wall time since the last applied state was recorded, or while none comes out since the oldest event held "
            "back was; 0 when nothing but ticks waits at the log's end.",
        )
        self._event_time = gauge("event_time_seconds", "Event time applied up to, Unix time.")
        self._event_time_lag = gauge(
            "event_time_lag_seconds", "Event time between the newest state read and the last one applied."
        )
        self._counted = (0, 0)  # repeats and unreadable of the reader, when last shown
        self._recorded_ms = 0  # of the last state applied, 0 before any
        self._event_time_ms = 0

    def show(self, reader: OrderedReader, items: Sequence[Positioned]) -> None:
        """Show where the reader stands after `items`, the states of one poll, were applied."""
        self._ordered.set(reader.ordered)
        self._waiting.set(reader.waiting)
        repeats, unreadable = self._counted
        self._counted = (reader.repeats, reader.unreadable)
        self._repeats.inc(reader.repeats - repeats)
        self._unreadable.inc(reader.unreadable - unreadable)
        if items:
            newest = items[-1].state
            self._event_time_ms = newest.event_time_ms
            self._event_time.set(newest.event_time_ms / 1000)
            self._recorded_ms = newest.recorded_ms or self._recorded_ms
            self._show_lag(reader, self._recorded_ms)
            return
        held_back = reader.oldest_waiting
        if held_back or not reader.at_end:
            # An idle shop's last event may be hours old: what waits tells better how far behind this is.
            recorded = [state.recorded_ms for state in held_back if state.recorded_ms]
            self._show_lag(reader, min(recorded, default=self._recorded_ms))
        else:
            self._lag.set(0.0)
            self._event_time_lag.set(0.0)

    def _show_lag(self, reader: OrderedReader, since_ms: int) -> None:
        if since_ms:
            self._lag.set(max(0.0, time.time() - since_ms / 1000))
        if self._event_time_ms:
            self._event_time_lag.set(max(0.0, (reader.newest_ms - self._event_time_ms) / 1000))
