"""What replay tells Prometheus."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from replay.reading.records import REASONS


class ReplayMetrics:
    """The metrics of one replay, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._events: Counter | None = None
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        self.rejected = counter("freshet_replay_rejected_lines_total", "Lines of the dataset left out.", ["reason"])
        self.repeats = gauge("freshet_replay_repeated_lines", "Lines left out as exact copies of an earlier one.")
        self.ordering_progress = gauge(
            "freshet_replay_ordering_progress_ratio", "How far reading and ordering the dataset is."
        )
        self.asked_rate = gauge(
            "freshet_replay_asked_rate", "Events per second the asked pace means on average; 0: no limit."
        )
        self.in_flight = gauge("freshet_replay_in_flight_messages", "Messages sent and not acknowledged yet.")
        self.progress = gauge("freshet_replay_progress_ratio", "Share of the events that was acknowledged.")
        self.behind = gauge(
            "freshet_replay_behind_seconds",
            "How late the next event is by the asked pace; where that is more, how long an acknowledgement is waited "
            "for.",
        )
        self.event_time = gauge("freshet_replay_event_time_seconds", "Event time reached, Unix time.")
        self.loop = gauge("freshet_replay_loop", "Number of the loop that is being sent, counted from 0.")
        self.ready = gauge(
            "freshet_replay_ready", "1 once a dataset is being read, ordered or sent, and when that is done, else 0."
        )
        self.done = gauge("freshet_replay_done", "1 once everything was sent and acknowledged, else 0.")
        for reason in REASONS:
            self.rejected.labels(reason)

    def events(self) -> Counter:
        """Events acknowledged. It appears when events begin to flow: until then the dataset is being read."""
        if self._events is None:
            self._events = Counter(
                "freshet_replay_events_total",
                "Events acknowledged by the broker since the process started.",
                registry=self._registry,
            )
        return self._events
