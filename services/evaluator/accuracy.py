"""How well what was judged was ranked: HR, NDCG, reciprocal rank, coverage, novelty, regret, and the metrics of it."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.evaluation.prequential import TOP, Judgement, Outcome
from shared.log.ordered import ReaderMetrics
from shared.model import format, ranking
from shared.model.single_experts import SINGLE_EXPERTS
from shared.process.telemetry import SECONDS_BUCKETS, Ready, TallyMetrics

# Simple policies that learn each event as it comes.
BASELINES = ("trending", "repeat", "markov")
# `learned` is what is served: where no version answers, the tally's experts by their default weights.
POLICIES = ("learned", *BASELINES)
# All judged events; those that a version judged; the newest so many judged ones.
WINDOWS = ("all", "learned", "recent")
KS = (5, 10, 20)

# Why a version does not judge. Announced at other positions than its manifest's, it could judge what it has learned.
REASONS = (*format.REASONS, "positions")

# What single experts are compared by.
EXPERT_K = 10

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
        # NDCG at `EXPERT_K` of S single experts: sums, sums, and a ring.
        self._experts_all: NDArray[np.float64] = np.zeros(len(SINGLE_EXPERTS))
        self._experts_learned: NDArray[np.float64] = np.zeros(len(SINGLE_EXPERTS))
        self._newest_experts: NDArray[np.float64] = np.zeros((recent_events, len(SINGLE_EXPERTS)))  # (N, S)

    def note(self, judgement: Judgement, *, by_version: bool) -> None:
        """Count one judged event that each of `POLICIES` and each single expert ranked.

        Args:
            by_version: a learned version scored it.
        """
        if not judgement.is_judged:
            raise ValueError(f"an event that was not judged: {judgement.outcome}")
        slot = self.judged % self._recent
        for p, ranked in enumerate(judgement.rankings):
            self._newest[slot, p] = _figures(ranked.place)
            self._tops[slot, p] = -1
            self._tops[slot, p, : len(ranked.top)] = ranked.top
            self._bits[slot, p] = ranked.bits
        self._newest_experts[slot] = [ranking.ndcg(place, EXPERT_K) for place in judgement.experts]
        self._all += self._newest[slot]
        self._experts_all += self._newest_experts[slot]
        self.judged += 1
        if by_version:
            self._learned += self._newest[slot]
            self._experts_learned += self._newest_experts[slot]
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

    def experts(self, window: str) -> NDArray[np.float64]:
        """NDCG@10 of each of `SINGLE_EXPERTS` alone, (S,); NaN before anything was judged."""
        if window == "recent":
            events, sums = min(self.judged, self._recent), self._newest_experts.sum(axis=0)
        elif window == "all":
            events, sums = self.judged, self._experts_all
        else:
            events, sums = self.by_version, self._experts_learned
        return sums / events if events else np.full(len(SINGLE_EXPERTS), np.nan)

    def regret(self, window: str) -> float:
        """How far the window's best single expert is above what is served; NaN before anything was judged."""
        return float(self.experts(window).max()) - self.ndcg("learned", window, EXPERT_K)

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


class EvaluatorMetrics:
    """What one evaluator tells Prometheus, in `registry`.

    `policy` is `learned`, which is what is served, or a baseline on the same events.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.ready = Ready("evaluator", registry)
        self.reader = ReaderMetrics("evaluator", registry)
        self.tally = TallyMetrics("evaluator", registry)
        self.applied = counter("freshet_evaluator_applied_events_total", "Events applied, judged or not.")
        self.judged = counter(
            "freshet_evaluator_judged_events_total", "Events that all policies ranked the catalogue for."
        )
        self.learned = counter(
            "freshet_evaluator_learned_events_total",
            "Judged events for which a learned version scored the user's history.",
        )
        self.unknown = counter(
            "freshet_evaluator_unknown_products_total", "Judged events on products not known before: a miss for all."
        )
        self.masked = counter(
            "freshet_evaluator_masked_events_total", "Events not judged: the product was not to be recommended again."
        )
        self.unwanted = counter(
            "freshet_evaluator_unwanted_events_total",
            "Events not judged: returns and dislikes are no sign of being wanted.",
        )
        self.guest = counter(
            "freshet_evaluator_guest_events_total", "Events not judged: guests' events, of no known user."
        )
        self.late = counter("freshet_evaluator_late_total", "Events not judged: older than their user's newest.")
        self.judge_seconds = histogram(
            "freshet_evaluator_judge_seconds", "Time to judge one event.", buckets=SECONDS_BUCKETS
        )
        # window: all judged events; learned, those that a version judged; recent, the newest ones.
        self.hit = gauge("freshet_evaluator_hit_ratio", "HR@k; NaN before any.", ["k", "policy", "window"])
        self.ndcg = gauge("freshet_evaluator_ndcg_ratio", "NDCG@k; NaN before any.", ["k", "policy", "window"])
        self.mrr = gauge("freshet_evaluator_mrr_ratio", "Mean reciprocal rank; NaN before any.", ["policy", "window"])
        self.expert_ndcg = gauge(
            "freshet_evaluator_expert_ndcg_ratio",
            "NDCG@10 of each expert of the served mixture alone; NaN before any.",
            ["expert", "window"],
        )
        self.regret = gauge(
            "freshet_evaluator_regret_ratio",
            "NDCG@10 of the window's best single expert less that of what is served: above 0, an expert is ahead; NaN "
            "before any.",
            ["window"],
        )
        self.coverage = gauge(
            "freshet_evaluator_coverage_ratio",
            "Share of the known products among the first k of the recent window's answers; NaN before any.",
            ["k", "policy"],
        )
        self.novelty = gauge(
            "freshet_evaluator_novelty_bits",
            "Mean -log2 of the share of popularity of the products in the recent window's answers; NaN before any.",
            ["policy"],
        )
        self.users = gauge("freshet_evaluator_users", "Users with at least one event.")
        self.products = gauge("freshet_evaluator_products", "Products with at least one event, or listed.")
        self.unreadable = counter(
            "freshet_evaluator_unreadable_products_total", "Records of the products topic left out."
        )
        self.position = gauge(
            "freshet_evaluator_position",
            "Next offset of the events topic whose state is not applied yet.",
            ["partition"],
        )
        self.swaps = counter("freshet_evaluator_model_swaps_total", "Times another version began to judge.")
        self.model_applied = gauge(
            "freshet_evaluator_model_applied_events", "Events the judging version has learned from."
        )
        self.held_back = gauge(
            "freshet_evaluator_held_back_versions",
            "Versions that may have learned events still to be judged, and so don't judge yet.",
        )
        self.left_out = counter("freshet_evaluator_versions_left_out_total", "Versions that do not judge.", ["reason"])
        self._not_judged = {
            Outcome.MASKED: self.masked,
            Outcome.UNWANTED: self.unwanted,
            Outcome.GUEST: self.guest,
            Outcome.LATE: self.late,
        }
        for reason in REASONS:
            self.left_out.labels(reason)
        self.show(Accuracy(1), 0)  # NaN, for every label

    def count(self, outcome: Outcome, *, by_version: bool) -> None:
        """Count one event that was judged, or not."""
        self.applied.inc()
        if outcome in (Outcome.JUDGED, Outcome.UNKNOWN):
            self.judged.inc()
            self.learned.inc(by_version)
            self.unknown.inc(outcome is Outcome.UNKNOWN)
        else:
            self._not_judged[outcome].inc()

    def show(self, accuracy: Accuracy, known: int) -> None:
        """Set every figure of accuracy; `known`: products with an event, or listed."""
        for window in WINDOWS:
            for expert, ndcg in zip(SINGLE_EXPERTS, accuracy.experts(window).tolist(), strict=True):
                self.expert_ndcg.labels(expert, window).set(ndcg)
            self.regret.labels(window).set(accuracy.regret(window))
        for policy in POLICIES:
            for window in WINDOWS:
                for k in KS:
                    self.hit.labels(str(k), policy, window).set(accuracy.hit(policy, window, k))
                    self.ndcg.labels(str(k), policy, window).set(accuracy.ndcg(policy, window, k))
                self.mrr.labels(policy, window).set(accuracy.mrr(policy, window))
            self.coverage.labels(str(TOP), policy).set(accuracy.coverage(policy, known))
            self.novelty.labels(policy).set(accuracy.novelty(policy))
