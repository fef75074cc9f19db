"""What inference tells Prometheus."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.model.format import REASONS
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.telemetry import SECONDS_BUCKETS, TallyMetrics

# Fine between a millisecond and a second, where the served counts are meant to be; the last two are of a log read anew.
FRESHNESS_BUCKETS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip

CODES = (
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
    "INTERNAL",
)
# Every kind of answer: its strategy, and why it is not learned, or is empty.
ANSWERS: tuple[tuple[pb.Strategy.ValueType, pb.Fallback.ValueType], ...] = (
    (pb.STRATEGY_LEARNED, pb.FALLBACK_UNSPECIFIED),
    (pb.STRATEGY_LEARNED, pb.FALLBACK_NOTHING_LEFT),
    (pb.STRATEGY_COUNTED, pb.FALLBACK_NO_MODEL),
    (pb.STRATEGY_COUNTED, pb.FALLBACK_NOTHING_LEFT),
    (pb.STRATEGY_TRENDING, pb.FALLBACK_NO_MODEL),
    (pb.STRATEGY_TRENDING, pb.FALLBACK_UNKNOWN_USER),
    (pb.STRATEGY_TRENDING, pb.FALLBACK_EMPTY_CATALOGUE),
    (pb.STRATEGY_TRENDING, pb.FALLBACK_NOTHING_LEFT),
)


class InferenceMetrics:
    """The metrics of one process, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.requests = counter("freshet_inference_requests_total", "Calls answered.", ["method", "code"])
        self.request_seconds = histogram(
            "freshet_inference_request_seconds", "Time to answer a call.", ["method"], buckets=SECONDS_BUCKETS
        )
        self._recommendations = counter(
            "freshet_inference_recommendations_total", "Recommend answers.", ["strategy", "fallback"]
        )
        self._answers: dict[tuple[pb.Strategy.ValueType, pb.Fallback.ValueType], Counter] = {}
        self.freshness_seconds = histogram(
            "freshet_inference_freshness_seconds",
            "From an event's record in the log to its being applied here.",
            buckets=FRESHNESS_BUCKETS,
        )
        self.ready = gauge("freshet_inference_ready", "1 once products and states were read to their end, else 0.")
        self.users = gauge("freshet_inference_users", "Users with at least one event.")
        self.products = gauge("freshet_inference_products", "Products known and not removed.")
        self.applied = counter("freshet_inference_applied_total", "States applied since the process started.")
        self.late = counter("freshet_inference_late_total", "States applied that were older than their user's newest.")
        self.repeats = counter("freshet_inference_repeats_total", "States left out because they were applied before.")
        self.unreadable = counter("freshet_inference_unreadable_total", "Records that could not be read.", ["topic"])
        self.lag = gauge(
            "freshet_inference_lag_seconds", "Wall time since the last applied state was recorded; 0 at the log's end."
        )
        self.event_time = gauge(
            "freshet_inference_event_time_seconds", "Event time of the event applied last, Unix time."
        )
        self.event_time_lag = gauge(
            "freshet_inference_event_time_lag_seconds",
            "Event time between the newest state of any partition and the one applied last; 0 at the log's end.",
        )
        self.tally = TallyMetrics("inference", registry)
        self.snapshots = counter("freshet_inference_snapshots_total", "Snapshots written.")
        self.snapshot_failures = counter(
            "freshet_inference_snapshot_failures_total", "Snapshots that could not be written."
        )
        self.snapshot_seconds = histogram(
            "freshet_inference_snapshot_seconds", "Time to copy and write a snapshot.", buckets=SECONDS_BUCKETS
        )
        self.restored = gauge(
            "freshet_inference_restored_users", "Users that the start took from a snapshot; 0: it read the log."
        )
        self.model_age = gauge("freshet_inference_model_age_seconds", "Age of the serving version; NaN without one.")
        self.model_age.set(float("nan"))
        self.model_applied = gauge(
            "freshet_inference_model_applied_events", "Events the serving version has learned from."
        )
        self.swaps = counter("freshet_inference_model_swaps_total", "Times another version began to answer.")
        self.rejected = counter(
            "freshet_inference_model_rejected_total", "Versions that were not taken into service.", ["reason"]
        )
        # Each label value known in advance starts at 0.
        for method in pb.DESCRIPTOR.services_by_name["RecommenderService"].methods_by_name:
            self.request_seconds.labels(method)
            for code in CODES:
                self.requests.labels(method, code)
        for strategy, fallback in ANSWERS:
            self.recommendations(strategy, fallback)
        for topic in ("products", "states"):
            self.unreadable.labels(topic)
        for reason in REASONS:
            self.rejected.labels(reason)

    def recommendations(self, strategy: pb.Strategy.ValueType, fallback: pb.Fallback.ValueType) -> Counter:
        """The counter of answers of one kind."""
        kind = (strategy, fallback)
        if kind not in self._answers:
            self._answers[kind] = self._recommendations.labels(
                pb.Strategy.Name(strategy).removeprefix("STRATEGY_").lower(),
                "" if not fallback else pb.Fallback.Name(fallback).removeprefix("FALLBACK_").lower(),
            )
        return self._answers[kind]
