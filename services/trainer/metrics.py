"""What the trainer tells Prometheus. Learner gauges have no unit."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.log.ordered import ReaderMetrics
from shared.process.telemetry import SECONDS_BUCKETS, Ready, TallyMetrics


class TrainerMetrics:
    """The metrics of one trainer, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.ready = Ready("trainer", registry)
        self.reader = ReaderMetrics("trainer", registry)
        self.tally = TallyMetrics("trainer", registry)
        self.applied = counter("freshet_trainer_applied_events_total", "Events learned from since the process started.")
        self.late = counter(
            "freshet_trainer_late_total", "Events learned from that were older than their user's newest."
        )
        self.steps = counter("freshet_trainer_steps_total", "Gradient steps since the process started.")
        self.steps_skipped = counter(
            "freshet_trainer_steps_skipped_total",
            "Gradient steps skipped since the process started, since events came faster than they were learned from.",
        )
        self.versions = counter("freshet_trainer_versions_total", "Model versions published since the process started.")
        self.version_time = gauge(
            "freshet_trainer_version_time_seconds", "When this process last published a version, Unix time; 0 before."
        )
        self.unpublished = gauge("freshet_trainer_unpublished_events", "Events learned since the newest version.")
        self.publish_events = gauge(
            "freshet_trainer_publish_events", "Events from one version to the next, as the settings say."
        )
        self.checkpoints = counter("freshet_trainer_checkpoints_total", "Checkpoints made durable.")
        self.checkpoint_failures = counter(
            "freshet_trainer_checkpoint_failures_total", "Checkpoints that could not be written."
        )
        self.publish_failures = counter(
            "freshet_trainer_publish_failures_total", "Model versions that could not be written."
        )
        self.removal_failures = counter(
            "freshet_trainer_removal_failures_total", "Old model versions and checkpoints that could not be removed."
        )
        self.checkpoint_seconds = histogram(
            "freshet_trainer_checkpoint_seconds", "Time to make a checkpoint durable.", buckets=SECONDS_BUCKETS
        )
        self.publish_seconds = histogram(
            "freshet_trainer_publish_seconds", "Time to write a version.", buckets=SECONDS_BUCKETS
        )
        self.step_seconds = histogram(
            "freshet_trainer_step_seconds", "Time of one gradient step.", buckets=SECONDS_BUCKETS
        )
        self.loss = gauge("freshet_trainer_loss", "Loss of the last gradient step.")
        self.ce_loss = gauge("freshet_trainer_ce_loss", "Cross-entropy part of it, nats.")
        self.td_loss = gauge("freshet_trainer_td_loss", "Temporal-difference part of it.")
        self.mean_max_q = gauge(
            "freshet_trainer_mean_max_q", "Mean over the last batch of the highest Q of each state."
        )
        self.epsilon = gauge("freshet_trainer_epsilon", "Exploration rate.")
        self.mixture = gauge(
            "freshet_trainer_mixture_ratio",
            "What popularity, next, together, itself and sessions count in the mixture, summing to 1.",
            ["part"],
        )
        self.score = gauge(
            "freshet_trainer_score_ratio",
            "Share of the score of the mixture's logarithm, the choice head (ce) and the value head (q): of the spread "
            "that each gives the candidates, summing to 1.",
            ["part"],
        )
        self.scored_events = gauge(
            "freshet_trainer_scored_events_ratio",
            "Share of all events at which a head had a weight above 0.",
            ["head"],
        )
        self.buffer_size = gauge("freshet_trainer_buffer_size", "Transitions in the replay buffer.")
        self.products = gauge("freshet_trainer_products", "Products that have learned rows.")
        self.users = gauge("freshet_trainer_users", "Users with at least one event.")
