"""What the evaluator tells Prometheus. `policy` is learned (what is served) or a baseline, on the same events."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from services.evaluator.accuracy import KS, POLICIES, WINDOWS, Accuracy
from shared import models
from shared.evaluation.prequential import TOP, Outcome
from shared.kafka.reader_metrics import ReaderMetrics
from shared.ready import Ready
from shared.telemetry import SECONDS_BUCKETS

READY = Ready("evaluator")
READER = ReaderMetrics("evaluator")

APPLIED = Counter("freshet_evaluator_applied_events_total", "Events applied, judged or not.")
JUDGED = Counter("freshet_evaluator_judged_events_total", "Events that all policies ranked the catalogue for.")
LEARNED = Counter(
    "freshet_evaluator_learned_events_total", "Judged events for which a learned version scored the user's history."
)
UNKNOWN = Counter(
    "freshet_evaluator_unknown_products_total", "Judged events on products not known before: a miss for all."
)
MASKED = Counter(
    "freshet_evaluator_masked_events_total", "Events not judged: the product was not to be recommended again."
)
UNWANTED = Counter(
    "freshet_evaluator_unwanted_events_total", "Events not judged: returns and dislikes are no sign of being wanted."
)
GUEST = Counter("freshet_evaluator_guest_events_total", "Events not judged: nobody is known to have done them.")
LATE = Counter("freshet_evaluator_late_total", "Events not judged: older than their user's newest.")
NOT_JUDGED = {Outcome.MASKED: MASKED, Outcome.UNWANTED: UNWANTED, Outcome.GUEST: GUEST, Outcome.LATE: LATE}
JUDGE_SECONDS = Histogram("freshet_evaluator_judge_seconds", "Time to judge one event.", buckets=SECONDS_BUCKETS)

# window: all judged events; learned, those that a version judged; recent, the newest ones.
HIT = Gauge("freshet_evaluator_hit_ratio", "HR@k; NaN before any.", ["k", "policy", "window"])
NDCG = Gauge("freshet_evaluator_ndcg_ratio", "NDCG@k; NaN before any.", ["k", "policy", "window"])
MRR = Gauge("freshet_evaluator_mrr_ratio", "Mean reciprocal rank; NaN before any.", ["policy", "window"])
COVERAGE = Gauge(
    "freshet_evaluator_coverage_ratio",
    "Share of the known products among the first k of the recent window's answers; NaN before any.",
    ["k", "policy"],
)
NOVELTY = Gauge(
    "freshet_evaluator_novelty_bits",
    "Mean -log2 of the share of popularity of the products in the recent window's answers; NaN before any.",
    ["policy"],
)

USERS = Gauge("freshet_evaluator_users", "Users with at least one event.")
PRODUCTS = Gauge("freshet_evaluator_products", "Products with at least one event, or listed.")
UNREADABLE = Counter("freshet_evaluator_unreadable_products_total", "Records of the products topic left out.")
POSITION = Gauge(
    "freshet_evaluator_position", "Next offset of the events topic whose state is not applied yet.", ["partition"]
)

SWAPS = Counter("freshet_evaluator_model_swaps_total", "Times another version began to judge.")
MODEL_APPLIED = Gauge("freshet_evaluator_model_applied_events", "Events the judging version has learned from.")
HELD_BACK = Gauge(
    "freshet_evaluator_held_back_versions",
    "Versions that may have learned what would be asked, and so don't judge yet.",
)
LEFT_OUT = Counter("freshet_evaluator_versions_left_out_total", "Versions that do not judge.", ["reason"])

# Another than the manifest's own positions would let a version judge what it has learned.
REASONS = (*models.REASONS, "positions")
for _reason in REASONS:
    LEFT_OUT.labels(_reason)


def count(outcome: Outcome, *, by_version: bool) -> None:
    """Count one event that was judged, or not."""
    APPLIED.inc()
    if outcome in (Outcome.JUDGED, Outcome.UNKNOWN):
        JUDGED.inc()
        LEARNED.inc(by_version)
        UNKNOWN.inc(outcome is Outcome.UNKNOWN)
    else:
        NOT_JUDGED[outcome].inc()


def show(accuracy: Accuracy, known: int) -> None:
    """Set every figure of accuracy; `known`: products with an event, or listed."""
    for policy in POLICIES:
        for window in WINDOWS:
            for k in KS:
                HIT.labels(str(k), policy, window).set(accuracy.hit(policy, window, k))
                NDCG.labels(str(k), policy, window).set(accuracy.ndcg(policy, window, k))
            MRR.labels(policy, window).set(accuracy.mrr(policy, window))
        COVERAGE.labels(str(TOP), policy).set(accuracy.coverage(policy, known))
        NOVELTY.labels(policy).set(accuracy.novelty(policy))


show(Accuracy(1), 0)  # NaN, for every label
