"""What the gateway tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from services.gateway.methods import GETS, METHODS
from shared.telemetry import SECONDS_BUCKETS

# route: the path as it is documented, with braces; none where there is no such path.
REQUESTS = Counter("freshet_gateway_requests_total", "HTTP requests answered.", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "freshet_gateway_request_seconds", "Time to answer a request, a stream to its end.", ["route"],
    buckets=SECONDS_BUCKETS,
)  # fmt: skip
IN_FLIGHT = Gauge("freshet_gateway_requests_in_flight", "Requests being answered.")
CALLS_REFUSED = Counter(
    "freshet_gateway_calls_refused_total", "Calls refused because every connection to the recommender was full."
)
READY = Gauge("freshet_gateway_ready", "1 while the recommender says that it can do its work, else 0.")

# Each route known in advance starts at 0.
for _route in {*(method.path for method in METHODS.values()), *(get.path for get in GETS)}:
    REQUESTS.labels(_route, 200)
    REQUEST_SECONDS.labels(_route)
