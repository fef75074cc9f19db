"""What inference tells Prometheus."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from shared.model.format import REASONS
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.process.telemetry import SECONDS_BUCKETS

REQUESTS = Counter("freshet_inference_requests_total", "Calls answered.", ["method", "code"])
REQUEST_SECONDS = Histogram(
    "freshet_inference_request_seconds", "Time to answer a call.", ["method"], buckets=SECONDS_BUCKETS
)
RECOMMENDATIONS = Counter("freshet_inference_recommendations_total", "Recommend answers.", ["strategy", "fallback"])
FRESHNESS_SECONDS = Histogram(
    "freshet_inference_freshness_seconds",
    "From an event's record in the log to its being applied here.",
    buckets=(*SECONDS_BUCKETS, 300.0, 3600.0),
)

READY = Gauge("freshet_inference_ready", "1 once products and states were read to their end, else 0.")
USERS = Gauge("freshet_inference_users", "Users with at least one event.")
PRODUCTS = Gauge("freshet_inference_products", "Products known and not removed.")
APPLIED = Counter("freshet_inference_applied_total", "States applied since the process started.")
LATE = Counter("freshet_inference_late_total", "States applied that were older than their user's newest.")
REPEATS = Counter("freshet_inference_repeats_total", "States left out because they were applied before.")
UNREADABLE = Counter("freshet_inference_unreadable_total", "Records that could not be read.", ["topic"])
LAG = Gauge("freshet_inference_lag_seconds", "Wall time since the last applied state was recorded; 0 at the log's end.")
EVENT_TIME = Gauge("freshet_inference_event_time_seconds", "Event time of the event applied last, Unix time.")
EVENT_TIME_LAG = Gauge(
    "freshet_inference_event_time_lag_seconds",
    "Event time between the newest state of any partition and the one applied last; 0 at the log's end.",
)

SNAPSHOTS = Counter("freshet_inference_snapshots_total", "Snapshots written.")
SNAPSHOT_FAILURES = Counter("freshet_inference_snapshot_failures_total", "Snapshots that could not be written.")
SNAPSHOT_SECONDS = Histogram(
    "freshet_inference_snapshot_seconds", "Time to copy and write a snapshot.", buckets=SECONDS_BUCKETS
)
RESTORED = Gauge("freshet_inference_restored_users", "Users that the start took from a snapshot; 0: it read the log.")

MODEL_AGE = Gauge("freshet_inference_model_age_seconds", "Age of the serving version; NaN without one.")
MODEL_AGE.set(float("nan"))
MODEL_APPLIED = Gauge("freshet_inference_model_applied_events", "Events the serving version has learned from.")
SWAPS = Counter("freshet_inference_model_swaps_total", "Times another version began to answer.")
REJECTED = Counter("freshet_inference_model_rejected_total", "Versions that were not taken into service.", ["reason"])

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
# What an answer can be: where it comes from, and why it is not learned or empty.
ANSWERS: tuple[tuple[pb.Strategy.ValueType, pb.Fallback.ValueType], ...] = (
    (pb.STRATEGY_LEARNED, pb.FALLBACK_UNSPECIFIED),
    (pb.STRATEGY_LEARNED, pb.FALLBACK_NOTHING_LEFT),
    (pb.STRATEGY_TRENDING, pb.FALLBACK_NO_MODEL),
    (pb.STRATEGY_TRENDING, pb.FALLBACK_UNKNOWN_USER),
    (pb.STRATEGY_TRENDING, pb.FALLBACK_EMPTY_CATALOGUE),
    (pb.STRATEGY_TRENDING, pb.FALLBACK_NOTHING_LEFT),
)


@cache
def recommendations(strategy: pb.Strategy.ValueType, fallback: pb.Fallback.ValueType) -> Counter:
    """The counter of answers of one kind."""
    return RECOMMENDATIONS.labels(
        pb.Strategy.Name(strategy).removeprefix("STRATEGY_").lower(),
        "" if not fallback else pb.Fallback.Name(fallback).removeprefix("FALLBACK_").lower(),
    )


# Each label value known in advance starts at 0.
for _method in pb.DESCRIPTOR.services_by_name["RecommenderService"].methods_by_name:
    REQUEST_SECONDS.labels(_method)
    for _code in CODES:
        REQUESTS.labels(_method, _code)
for _strategy, _fallback in ANSWERS:
    recommendations(_strategy, _fallback)
for _topic in ("products", "states"):
    UNREADABLE.labels(_topic)
for _reason in REASONS:
    REJECTED.labels(_reason)
