"""How far inference is behind the log, by the wall clock and in event time."""

from __future__ import annotations

import time

from services.inference import metrics
from shared.pb.freshet.v1.events_pb2 import StateVector


class Lag:
    """Shows the two lags as states are applied, and as none come."""

    def __init__(self) -> None:
        self._recorded_ms = 0  # of the state applied last, 0 before any
        self._newest_ms = 0  # latest event time of any partition

    def applied(self, state: StateVector) -> None:
        """One state was applied, or a tick."""
        self._newest_ms = max(self._newest_ms, state.event_time_ms)
        metrics.EVENT_TIME_LAG.set((self._newest_ms - state.event_time_ms) / 1000)
        if state.recorded_ms:
            self._recorded_ms = state.recorded_ms
            metrics.LAG.set(seconds_since(state.recorded_ms))

    def at_end(self) -> None:
        """Nothing more lies in the log."""
        metrics.LAG.set(0.0)
        metrics.EVENT_TIME_LAG.set(0.0)

    def nothing_came(self) -> None:
        """There is more in the log, and it does not come: the broker is away, say."""
        if self._recorded_ms:
            metrics.LAG.set(seconds_since(self._recorded_ms))


def seconds_since(recorded_ms: int) -> float:
    """Wall time since a record's own, never below 0."""
    return max(0.0, time.time() - recorded_ms / 1000)
