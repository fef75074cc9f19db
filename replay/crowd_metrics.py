"""What simulated users tell Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

COUNTED = ("visits", "recommendations", "empty", "clicks", "purchases", "events", "unanswered")

CROWD = Counter(
    "freshet_replay_crowd_total",
    "Of simulated users: visits made, recommendations seen, empty ones among them, clicks, purchases, events recorded, "
    "and calls that were not answered and made again.",
    ["what"],
)
for _what in COUNTED:
    CROWD.labels(_what)
