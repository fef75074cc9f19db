"""What inference tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from shared.telemetry import SECONDS_BUCKETS

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
REPEATS = Counter("freshet_inference_repeats_total", "States left out because they were applied before.")
UNREADABLE = Counter("freshet_inference_unreadable_total", "Records that could not be read.", ["topic"])
LAG = Gauge("freshet_inference_lag_seconds", "Wall time since the last applied event was recorded; 0 at the log's end.")
EVENT_TIME = Gauge("freshet_inference_event_time_seconds", "Newest event time applied, Unix time.")

MODEL_AGE = Gauge("freshet_inference_model_age_seconds", "Age of the serving version; NaN without one.")
MODEL_AGE.set(float("nan"))
MODEL_APPLIED = Gauge("freshet_inference_model_applied_events", "Events the serving version has learned from.")
SWAPS = Counter("freshet_inference_model_swaps_total", "Times another version began to answer.")
REJECTED = Counter("freshet_inference_model_rejected_total", "Versions that were not taken into service.", ["reason"])
