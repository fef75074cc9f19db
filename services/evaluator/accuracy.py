"""Running figures of what was judged: hit ratio, NDCG, reciprocal rank, coverage, novelty. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram

from shared.evaluation.prequential import TOP, Judgement, Outcome
from shared.log.ordered import ReaderMetrics
from shared.model import format, ranking
from shared.process.ready import Ready
from shared.process.telemetry import SECONDS_BUCKETS

# Simple policies that learn each event as it comes.
BASELINES = ("trending", "repeat", "markov")
# `learned` is what is served, so it is trending wherever no version scored the products.
POLICIES = ("learned", *BASELINES)
# All judged events; those that a version judged; the newest so many judged ones.
WINDOWS = ("all", "learned", "recent")
KS = (5, 10, 20)

_COLUMNS = 2 * len(KS) + 1  # hit at each k, NDCG at each k, reciprocal rank


class Accuracy:
    """Means over the three windows, for all policies on the same events."""

    def __init__(self, recent_events: int) -> None:
        self.judged = 0
        self.by_version = 0
        self._recent = recent_events
        self._all: NDArray[np.float64] = np.zeros((len(POLICIES), _COLUMNS))  # sums
        self._learned: NDArray[np.float64] = np.zeros((len(POLICIES), _COLUMNS))  # sums
        # Rings of the newest judged events: N events, P policies.
        self._newest: NDArray[np.float64] = np.zeros((recent_events, len(POLICIES), _COLUMNS))  # (N, P, C)
        self._tops: NDArray[np.int64] = np.full((recent_events, len(POLICIES), TOP), -1, np.int64)  # (N, P, TOP)
        self._bits: NDArray[np.float64] = np.full((recent_events, len(POLICIES)), np.nan)  # (N, P)

    def note(self, judgement: Judgement, *, by_version: bool) -> None:
        """Count one judged event, of which each of `POLICIES` was asked; `by_version`: a learned one scored it."""
        if not judgement.is_judged:
            raise ValueError(f"an event that was not judged: {judgement.outcome}")
        slot = self.judged % self._recent
        for p, own in enumerate(judgement.rankings):
            self._newest[slot, p] = _figures(own.place)
            self._tops[slot, p] = -1
            self._tops[slot, p, : len(own.top)] = own.top
            self._bits[slot, p] = own.bits
        self._all += self._newest[slot]
        self.judged += 1
        if by_version:
            self._learned += self._newest[slot]
            self.by_version += 1

    def hit(self, policy: str, window: str, k: int) -> float:
        """HR@k; NaN before anything was judged."""
        return self._mean(policy, window, KS.index(k))

    def ndcg(self, policy: str, window: str, k: int) -> float:
        """NDCG@k; NaN before anything was judged."""
        return self._mean(policy, window, len(KS) + KS.index(k))

    def mrr(self, policy: str, window: str) -> float:
        """Mean reciprocal rank; NaN before anything was judged."""
        return self._mean(policy, window, 2 * len(KS))

    def coverage(self, policy: str, known: int) -> float:
        """Share of the `known` products among the first `TOP` of the recent window's answers; NaN before any."""
        if not self.judged or not known:
            return float("nan")
        tops = self._tops[: self.judged, POLICIES.index(policy)]
        return len(np.unique(tops[tops >= 0])) / known

    def novelty(self, policy: str) -> float:
        """Mean self-information of the recent window's answers, bits; NaN before any."""
        bits = self._bits[: self.judged, POLICIES.index(policy)]
        bits = bits[~np.isnan(bits)]
        return float(bits.mean()) if len(bits) else float("nan")

    def _mean(self, policy: str, window: str, column: int) -> float:
        p = POLICIES.index(policy)
        if window == "recent":
            newest = self._newest[: self.judged, p, column]
            return float(newest.mean()) if len(newest) else float("nan")
        sums, events = (self._all, self.judged) if window == "all" else (self._learned, self.by_version)
        return float(sums[p, column]) / events if events else float("nan")


def _figures(place: float) -> list[float]:
    """One event's columns."""
    return [*(ranking.hit(place, k) for k in KS), *(ranking.ndcg(place, k) for k in KS), 1.0 / place]


# What the evaluator tells Prometheus. `policy` is learned (what is served) or a baseline, on the same events.

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
REASONS = (*format.REASONS, "positions")
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
