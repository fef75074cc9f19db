"""What replay tells Prometheus."""

from __future__ import annotations

import functools

from prometheus_client import Counter, Gauge

from replay.reading.records import REASONS

REJECTED = Counter("freshet_replay_rejected_lines_total", "Lines of the dataset left out.", ["reason"])
for _reason in REASONS:
    REJECTED.labels(_reason)
REPEATS = Gauge("freshet_replay_repeated_lines", "Lines left out as exact copies of an earlier one.")
ORDERING_PROGRESS = Gauge("freshet_replay_ordering_progress_ratio", "How far reading and ordering the dataset is.")
ASKED_RATE = Gauge("freshet_replay_asked_rate", "Events per second the asked pace means on average; 0: no limit.")
IN_FLIGHT = Gauge("freshet_replay_in_flight_messages", "Messages sent and not acknowledged yet.")
PROGRESS = Gauge("freshet_replay_progress_ratio", "Share of the events that was acknowledged.")
BEHIND = Gauge(
    "freshet_replay_behind_seconds",
    "How late the next event is by the asked pace; where that is more, how long an acknowledgement is waited for.",
)
EVENT_TIME = Gauge("freshet_replay_event_time_seconds", "Event time reached, Unix time.")
LOOP = Gauge("freshet_replay_loop", "Number of the loop that is being sent, counted from 0.")
READY = Gauge("freshet_replay_ready", "1 once a dataset is being read, ordered or sent, and when that is done, else 0.")
DONE = Gauge("freshet_replay_done", "1 once everything was sent and acknowledged, else 0.")


@functools.cache
def events() -> Counter:
    """Events acknowledged. It appears when events begin to flow: until then the dataset is being read."""
    return Counter("freshet_replay_events_total", "Events acknowledged by the broker since the process started.")
