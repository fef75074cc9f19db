"""What inference tells Prometheus before anything happened, and how far behind it says it is."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from services.inference.log.follower import Lag
from services.inference.metrics import ANSWERS, InferenceMetrics
from shared.model.format import REASONS
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2 import DESCRIPTOR, Strategy

SERVICE = DESCRIPTOR.services_by_name["RecommenderService"]


class Shown:
    """The metrics of a process, and what Prometheus sees of them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = InferenceMetrics(self._registry)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"freshet_inference_{name}", labels)


def test_every_series_known_in_advance_is_there_from_the_start() -> None:
    series = Shown()
    for method in SERVICE.methods_by_name:
        for code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"):
            assert series("requests_total", method=method, code=code) is not None, (method, code)
    assert series("recommendations_total", strategy="learned", fallback="") is not None
    assert series("recommendations_total", strategy="trending", fallback="empty_catalogue") is not None
    assert series("recommendations_total", strategy="trending", fallback="") is None, "such an answer there is not"
    for fallback in ("no_model", "nothing_left"):
        assert series("recommendations_total", strategy="counted", fallback=fallback) is not None, fallback
    assert series("recommendations_total", strategy="counted", fallback="") is None, "a version would have answered"
    assert {kind[0] for kind in ANSWERS} == set(Strategy.values()[1:]), "every strategy"
    assert series("unreadable_total", topic="states") is not None
    assert all(series("model_rejected_total", reason=reason) is not None for reason in REASONS)


def test_staleness_is_told_apart_from_a_millisecond_to_an_hour() -> None:
    series = Shown()
    for seconds in (0.0008, 0.012, 0.018, 0.9, 59.0, 3000.0):
        series.metrics.freshness_seconds.observe(seconds)
    ends = ("0.001", "0.01", "0.015", "0.02", "1.0", "60.0", "300.0", "3600.0")  # the alerts ask for 1.0
    assert [series("freshness_seconds_bucket", le=end) for end in ends] == [1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0]


def test_lag_grows_while_what_is_in_the_log_does_not_come() -> None:
    series = Shown()
    lag = Lag(series.metrics)
    recorded_ms = round(time.time() * 1000) - 100_000
    lag.nothing_came()  # before any: nothing to measure from
    lag.applied(pb.StateVector(event_time_ms=9000, recorded_ms=recorded_ms, kind=pb.EVENT_KIND_TICK))
    lag.applied(pb.StateVector(event_time_ms=4000, recorded_ms=recorded_ms))
    assert series("event_time_lag_seconds") == 5.0, "a tick of another partition says how far event time has come"
    series.metrics.lag.set(0.0)
    lag.nothing_came()
    assert (series("lag_seconds") or 0.0) >= 100.0
    lag.at_end()
    assert (series("lag_seconds"), series("event_time_lag_seconds")) == (0.0, 0.0)
