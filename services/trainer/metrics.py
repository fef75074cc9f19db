"""What the trainer tells Prometheus. Learner gauges have no unit."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.log.ordered import ReaderMetrics
from shared.process.ready import Ready
from shared.process.telemetry import SECONDS_BUCKETS

READY = Ready("trainer")
READER = ReaderMetrics("trainer")

APPLIED = Counter("freshet_trainer_applied_events_total", "Events learned from since the process started.")
LATE = Counter("freshet_trainer_late_total", "Events learned from that were older than their user's newest.")
STEPS = Counter("freshet_trainer_steps_total", "Gradient steps since the process started.")
VERSIONS = Counter("freshet_trainer_versions_total", "Model versions published since the process started.")
VERSION_TIME = Gauge(
    "freshet_trainer_version_time_seconds", "When this process last published a version, Unix time; 0 before."
)
UNPUBLISHED = Gauge("freshet_trainer_unpublished_events", "Events learned since the newest version.")
PUBLISH_EVENTS = Gauge("freshet_trainer_publish_events", "Events from one version to the next, as the settings say.")
CHECKPOINTS = Counter("freshet_trainer_checkpoints_total", "Checkpoints made durable.")
CHECKPOINT_FAILURES = Counter("freshet_trainer_checkpoint_failures_total", "Checkpoints that could not be written.")
PUBLISH_FAILURES = Counter("freshet_trainer_publish_failures_total", "Model versions that could not be written.")
REMOVAL_FAILURES = Counter(
    "freshet_trainer_removal_failures_total", "Old model versions and checkpoints that could not be removed."
)
CHECKPOINT_SECONDS = Histogram(
    "freshet_trainer_checkpoint_seconds", "Time to make a checkpoint durable.", buckets=SECONDS_BUCKETS
)
PUBLISH_SECONDS = Histogram("freshet_trainer_publish_seconds", "Time to write a version.", buckets=SECONDS_BUCKETS)
STEP_SECONDS = Histogram("freshet_trainer_step_seconds", "Time of one gradient step.", buckets=SECONDS_BUCKETS)

LOSS = Gauge("freshet_trainer_loss", "Loss of the last gradient step.")
CE_LOSS = Gauge("freshet_trainer_ce_loss", "Cross-entropy part of it, nats.")
TD_LOSS = Gauge("freshet_trainer_td_loss", "Temporal-difference part of it.")
MEAN_MAX_Q = Gauge("freshet_trainer_mean_max_q", "Mean over the last batch of the highest Q of each state.")
EPSILON = Gauge("freshet_trainer_epsilon", "Exploration rate.")
MIXTURE = Gauge(
    "freshet_trainer_mixture_ratio", "What popularity and each relation between products count, summing to 1.", ["part"]
)
BUFFER_SIZE = Gauge("freshet_trainer_buffer_size", "Transitions in the replay buffer.")
PRODUCTS = Gauge("freshet_trainer_products", "Products that have learned rows.")
USERS = Gauge("freshet_trainer_users", "Users with at least one event.")
