"""What the gateway tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.gateway.recommender import GETS, METHODS
from shared.process.telemetry import SECONDS_BUCKETS


class GatewayMetrics:
    """The metrics of one gateway, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # route: the path as it is documented, with braces; none where there is no such path.
        self.requests = Counter(
            "freshet_gateway_requests_total", "HTTP requests answered.", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "freshet_gateway_request_seconds", "Time to answer a request, a stream to its end.", ["route"],
            buckets=SECONDS_BUCKETS, registry=registry,
        )  # fmt: skip
        self.in_flight = Gauge("freshet_gateway_requests_in_flight", "Requests being answered.", registry=registry)
        self.calls_refused = Counter(
            "freshet_gateway_calls_refused_total",
            "Calls refused because every connection to the recommender was full.",
            registry=registry,
        )
        self.ready = Gauge(
            "freshet_gateway_ready",
            "1 while the recommender says that it can do its work, else 0.",
            registry=registry,
        )
        # Each route known in advance starts at 0.
        for route in {*(method.path for method in METHODS.values()), *(get.path for get in GETS)}:
            self.requests.labels(route, 200)
            self.request_seconds.labels(route)
