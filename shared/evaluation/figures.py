"""From what was judged to figures per policy: accuracy, what of the catalogue is shown, slices, speed. Pure.

HR, NDCG, MRR and novelty are means over judged events: each has one right answer. Precision and recall are means over
questions, where a user's whole day is one question: precision is the right share of the first k products answered when
it was first asked, recall the share of the right products that is among these.

Intervals are percentiles of a bootstrap over users (Efron & Tibshirani, An Introduction to the Bootstrap, 1993). Users
are drawn again and again, the same ones for every policy: a user's events stay together, since they are no independent
evidence, and two policies are compared draw by draw (Koehn, EMNLP 2004).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.evaluation.contest import KS, MOST, Answers, JudgedEvents
from shared.model.single_experts import SINGLE_EXPERTS
from shared.state.histories import USER_CLASSES

FloatArray = NDArray[np.float64]

# The metric by which policies are compared, and those of each slice.
PRIMARY = "ndcg@10"
# A policy, and itself without its network.
NETWORK = "freshet", "mixture"
SESSION_GAIN = f"session_ndcg@{MOST}"  # only where it was measured
SLICED = (PRIMARY, "hr@10", "hr@100", "mrr")

# Users and products with fewer events before are cold.
COLD_EVENTS = 5
# Products with fewer events are new; users with fewer are a slice for each number of events.
NEW_EVENTS = 3
UNSEEN = "0-event products"  # the slice of first events, whose products are known only where they were listed
DEEP = 100  # places down to which first events are looked for
DECILES = 10
REGRETS = 10  # times at which regret is taken

LEVEL = 0.95  # of the intervals
DRAWS = 2000
_AT_ONCE = 50  # draws that memory holds


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over events, and its interval at `LEVEL`."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one policy is above another, with the interval at `LEVEL` and the two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class CatalogueUse:
    """What a policy shows of the catalogue, in the first ten places of its answers unless a key says otherwise."""

    coverage: dict[str, float]  # coverage@k: share of the products that were among the first k at least once
    gini: float  # of how often each product was shown, 0: all equally often, towards 1: one alone
    recommended: list[float]  # share of the places that each tenth of the products got, the least popular first
    promoted: float  # share of the places that products of spam reviews got; NaN: there was no spam


@dataclass(frozen=True, slots=True)
class Regret:
    """How far the best single expert of the first so many judged events is above the mixture, on these."""

    events: int
    mixing: float  # `primary` of the policy whose mixture it is
    best: str
    expert: float  # `primary` of that expert

    @property
    def regret(self) -> float:
        """Above 0 the expert is ahead: it would have been better to follow it alone from the beginning."""
        return self.expert - self.mixing


@dataclass(frozen=True, slots=True)
class Experts:
    """Each expert of a policy's mixture judged alone, on the events that the policies were judged on."""

    mixing: str  # the policy
    estimates: dict[str, Estimate]  # expert → `primary`
    differences: dict[str, Difference]  # expert → how far the policy is above it
    regrets: list[Regret]  # after each tenth of the judged events

    @property
    def best(self) -> str:
        """The best single expert of all events."""
        return max(self.estimates, key=lambda name: self.estimates[name].mean)


@dataclass(frozen=True, slots=True)
class Speed:
    """What one policy took; the only figures that differ from run to run."""

    rank_p50_ms: float
    rank_p99_ms: float
    updates_per_second: float


@dataclass(frozen=True, slots=True)
class Figures:
    """All of a run, per policy."""

    judged: int
    questions: int
    primary: str  # the metric by which policies are compared
    policies: dict[str, dict[str, Estimate]]  # policy → metric
    slices: dict[str, dict[str, dict[str, Estimate]]]  # slice → policy → metric
    slice_events: dict[str, int]
    best_baseline: str
    differences: dict[str, Difference]  # policy → how far its `primary` is above the best baseline's
    catalogue: dict[str, CatalogueUse]
    consumed: list[float]  # share of the judged events that each tenth of the products got, the least popular first
    experts: Experts | None  # None: no policy mixes experts
    network: Difference | None  # how far the first of `NETWORK` is above the second; None: not both were judged


def figures_of(
    record: JudgedEvents,
    answers: Mapping[str, Sequence[Answers]],
    *,
    baselines: Sequence[str],
    promoted: Sequence[int],
    seed: int,
    draws: int = DRAWS,
    primary: str = PRIMARY,
) -> Figures:
    """The figures of one stream, the mean over runs with different seeds.

    Args:
        record: of the first run.
        answers: of each policy in each run, to the same events.
        baselines: policies among which is the best baseline.
        promoted: rows of products that spam reviews praised in the first run.
        seed: of the draws.
        primary: the metric by which policies are compared.
    """
    events, names = record.events, list(answers)
    rng = np.random.default_rng(seed)
    questions = Questions.of_events(events)
    by_event = _columns({name: [_of_events(run) for run in runs] for name, runs in answers.items()})
    by_question = _columns({name: [questions.metrics(run.in_set) for run in runs] for name, runs in answers.items()})
    bits = _columns(
        {name: [{"novelty": run.bits.astype(np.float64)} for run in runs] for name, runs in answers.items()}
    )
    answered = ~np.isnan(bits["novelty"]).any(axis=1)
    policies: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    means = _estimate(events["user"], by_event, policies, rng, draws)
    _estimate(questions.users, by_question, policies, rng, draws)
    _estimate(events["user"][answered], {"novelty": bits["novelty"][answered]}, policies, rng, draws)
    best = max((name for name in names if name in baselines), key=lambda name: policies[name][primary].mean, default="")
    parts = {name: part for name, part in slices(events).items() if part.any()}
    rows = events["product"]
    consumed = np.bincount(rows[rows >= 0], minlength=len(record.product_events))
    return Figures(
        judged=record.size,
        questions=len(questions.users),
        primary=primary,
        policies=policies,
        slices={name: _slice(events["user"], by_event, names, part, rng, draws) for name, part in parts.items()},
        slice_events={name: int(part.sum()) for name, part in parts.items()},
        best_baseline=best,
        differences=_differences(means, list(by_event).index(primary), names, best),
        catalogue={name: _catalogue(runs, record.product_events, promoted) for name, runs in answers.items()},
        consumed=decile_shares(consumed, record.product_events),
        experts=_experts(record, by_event[primary][:, names.index(record.mixing)], primary, rng, draws)
        if record.mixing in names
        else None,
        network=_between(means, list(by_event).index(primary), names, *NETWORK),
    )


def speed_of(runs: Sequence[Answers], updates: int, seconds: float) -> Speed:
    """What one policy took for its rankings, and for `updates` events that it learned in `seconds`."""
    ms = 1000.0 * np.concatenate([run.seconds for run in runs])
    p50, p99 = np.quantile(ms, [0.5, 0.99]) if len(ms) else (np.nan, np.nan)
    return Speed(float(p50), float(p99), updates / seconds if seconds > 0 else float("nan"))


def event_metrics(place: NDArray[np.float32]) -> dict[str, FloatArray]:
    """Each metric that an event has by itself; all arrays are (N,)."""
    places = place.astype(np.float64)
    gain = 1.0 / np.log2(1.0 + places)  # 0 where the place is infinite
    metrics = {f"hr@{k}": (places <= k).astype(np.float64) for k in KS}
    metrics |= {f"ndcg@{k}": np.where(places <= k, gain, 0.0) for k in KS}
    metrics |= {f"mrr@{k}": np.where(places <= k, 1.0 / places, 0.0) for k in KS}
    metrics[f"hr@{DEEP}"] = (places <= DEEP).astype(np.float64)
    metrics["mrr"] = 1.0 / places
    return metrics


def _of_events(run: Answers) -> dict[str, FloatArray]:
    """Each metric that an event of a run has by itself, (N,)."""
    metrics = event_metrics(run.place)
    if not np.isnan(run.session_gain).all():
        metrics[SESSION_GAIN] = run.session_gain.astype(np.float64)
    return metrics


@dataclass(frozen=True, slots=True)
class Questions:
    """Which events make a question; of Q questions, who asks and how many right answers there are."""

    users: NDArray[np.int32]  # (Q,)
    counted: NDArray[np.bool_]  # (N,) without a product that came already that day
    of: NDArray[np.int64]  # (C,) number of the question of each event that is counted
    right: FloatArray  # (Q,)

    @classmethod
    def of_events(cls, events: Mapping[str, NDArray[Any]]) -> Questions:
        """Group events by their question."""
        counted = ~events["again"]
        numbers, first, of = np.unique(events["question"][counted], return_index=True, return_inverse=True)
        right = np.bincount(of, minlength=len(numbers)).astype(np.float64)
        return cls(events["user"][counted][first], counted, of, right)

    def metrics(self, in_set: NDArray[np.bool_]) -> dict[str, FloatArray]:
        """Precision and recall of each question, (Q,); `in_set`: (N, K)."""
        hits = np.zeros((len(self.users), len(KS)))
        np.add.at(hits, self.of, in_set[self.counted])
        metrics = {f"precision@{k}": hits[:, i] / k for i, k in enumerate(KS)}
        return metrics | {f"recall@{k}": hits[:, i] / self.right for i, k in enumerate(KS)}


def slices(events: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.bool_]]:
    """Which of the N events belong to each slice."""
    cold_user = events["user_events"] < COLD_EVENTS
    cold_product = events["product_events"] < COLD_EVENTS
    parts = {
        "cold users": cold_user,
        "warm users": ~cold_user,
        "cold products": cold_product,
        "warm products": ~cold_product,
    }
    parts["new products"] = events["product_events"] < NEW_EVENTS
    counts = {f"{n}-event users": events["user_events"] == n for n in range(NEW_EVENTS)}
    classes = {f"{name} users": events["user_class"] == number for number, name in enumerate(USER_CLASSES)}
    return parts | classes | counts | {UNSEEN: events["product_events"] == 0}


def gini(counts: NDArray[np.int64]) -> float:
    """How unequal counts are: 0 all equal, (n - 1) / n all in one of n; NaN where there are none."""
    total = counts.sum()
    if not total:
        return float("nan")
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float((2.0 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def decile_shares(counts: NDArray[np.int64], popularity: NDArray[np.int64]) -> list[float]:
    """Share of the counts that each tenth of the products has, the least popular first; ties in popularity by row."""
    order = np.argsort(popularity, kind="stable")
    total = max(1, int(counts.sum()))
    return [float(counts[part].sum() / total) for part in np.array_split(order, DECILES)]


class Means:
    """Means over events of M columns, as measured and in every draw of users."""

    def __init__(self, users: NDArray[np.int32], values: FloatArray, rng: np.random.Generator, draws: int) -> None:
        """Draw users.

        Args:
            users: (N,) whose event it was.
            values: (N, M)
        """
        distinct, of = np.unique(users, return_inverse=True)
        u, m = len(distinct), values.shape[1]
        events = np.bincount(of, minlength=u).astype(np.float64)  # (U,)
        sums = np.stack([np.bincount(of, values[:, c], minlength=u) for c in range(m)], axis=1)  # (U, M)
        self.measured: FloatArray = sums.sum(axis=0) / events.sum() if u else np.full(m, np.nan)
        self.drawn: FloatArray = np.empty((draws if u else 0, m))  # (R, M)
        start = 0
        for weights in _draws(u, draws if u else 0, rng):
            end = start + len(weights)
            self.drawn[start:end] = (weights @ sums) / (weights @ events)[:, None]
            start = end

    def estimate(self, column: int) -> Estimate:
        """One column's mean."""
        return Estimate(float(self.measured[column]), *_percentiles(self.drawn[:, column]))

    def difference(self, column: int, other: int) -> Difference:
        """One column's mean beside another's."""
        measured = float(self.measured[column] - self.measured[other])
        drawn = self.drawn[:, column] - self.drawn[:, other]
        if not len(drawn):
            return Difference(measured, float("nan"), float("nan"), float("nan"))
        rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
        p = min(1.0, 2.0 * (1 + rarer) / (1 + len(drawn)))
        return Difference(measured, *_percentiles(drawn), p)


def holm(ps: dict[str, float]) -> dict[str, float]:
    """p-values of several comparisons, corrected for their number (Holm 1979)."""
    corrected: dict[str, float] = {}
    worst = 0.0
    for place, (name, p) in enumerate(sorted(ps.items(), key=lambda entry: entry[1])):
        worst = max(worst, min(1.0, (len(ps) - place) * p))
        corrected[name] = worst
    return corrected


def _draws(users: int, draws: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each user was drawn, (r, U), a few draws at a time."""
    for start in range(0, draws, _AT_ONCE):
        drawn = rng.integers(users, size=(min(_AT_ONCE, draws - start), users))
        yield np.stack([np.bincount(row, minlength=users) for row in drawn]).astype(np.float64)


def _percentiles(drawn: FloatArray) -> tuple[float, float]:
    if not len(drawn) or np.isnan(drawn).any():
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _columns(runs_of: Mapping[str, Sequence[dict[str, FloatArray]]]) -> dict[str, FloatArray]:
    """Each metric, (N, P): the mean over a policy's runs."""
    metrics = next(iter(runs_of.values()))[0]
    return {
        metric: np.stack([np.mean([run[metric] for run in runs], axis=0) for runs in runs_of.values()], axis=1)
        for metric in metrics
    }


def _estimate(
    users: NDArray[np.int32],
    metrics: Mapping[str, FloatArray],
    into: dict[str, dict[str, Estimate]],
    rng: np.random.Generator,
    draws: int,
) -> Means:
    """Put the mean of every metric and policy into a table; columns of the result are metric by metric."""
    means = Means(users, np.concatenate(list(metrics.values()), axis=1), rng, draws)
    for m, metric in enumerate(metrics):
        for p, name in enumerate(into):
            into[name][metric] = means.estimate(m * len(into) + p)
    return means


def _slice(
    users: NDArray[np.int32],
    by_event: Mapping[str, FloatArray],
    names: Sequence[str],
    part: NDArray[np.bool_],
    rng: np.random.Generator,
    draws: int,
) -> dict[str, dict[str, Estimate]]:
    table: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    _estimate(users[part], {metric: by_event[metric][part] for metric in SLICED}, table, rng, draws)
    return table


def _experts(record: JudgedEvents, mixing: FloatArray, primary: str, rng: np.random.Generator, draws: int) -> Experts:
    """Judge each expert alone beside the policy, whose `primary` of each event is `mixing`, (N,)."""
    of_event = event_metrics(record.experts)[primary]  # (N, S)
    means = Means(record.events["user"], np.column_stack([mixing, of_event]), rng, draws)
    columns = {name: column for column, name in enumerate(SINGLE_EXPERTS, start=1)}
    differences = {name: means.difference(0, column) for name, column in columns.items()}
    corrected = holm({name: difference.p for name, difference in differences.items()})
    return Experts(
        record.mixing,
        {name: means.estimate(column) for name, column in columns.items()},
        {name: Difference(d.mean, d.low, d.high, corrected[name]) for name, d in differences.items()},
        _regrets(mixing, of_event),
    )


def _regrets(mixing: FloatArray, of_event: FloatArray) -> list[Regret]:
    """Regret after each tenth of N events; `of_event`: (N, S)."""
    regrets = []
    for events in sorted({len(mixing) * part // REGRETS for part in range(1, REGRETS + 1)} - {0}):
        alone = of_event[:events].mean(axis=0)
        best = int(alone.argmax())
        regrets.append(Regret(events, float(mixing[:events].mean()), SINGLE_EXPERTS[best], float(alone[best])))
    return regrets


def _differences(means: Means, metric: int, names: Sequence[str], best: str) -> dict[str, Difference]:
    if not best:
        return {}
    start = metric * len(names)
    baseline = start + names.index(best)
    measured = {name: means.difference(start + p, baseline) for p, name in enumerate(names) if name != best}
    corrected = holm({name: difference.p for name, difference in measured.items()})
    return {name: Difference(d.mean, d.low, d.high, corrected[name]) for name, d in measured.items()}


def _between(means: Means, metric: int, names: Sequence[str], name: str, other: str) -> Difference | None:
    if name not in names or other not in names:
        return None
    start = metric * len(names)
    return means.difference(start + names.index(name), start + names.index(other))


def _catalogue(runs: Sequence[Answers], popularity: NDArray[np.int64], promoted: Sequence[int]) -> CatalogueUse:
    products = len(popularity)
    shown = [run.recommended[:products] for run in runs]
    praised = [float(counts[list(promoted)].sum() / max(1, counts.sum())) for counts in shown] if promoted else []
    return CatalogueUse(
        coverage={f"coverage@{k}": float(np.mean([run.covered[i].mean() for run in runs])) for i, k in enumerate(KS)},
        gini=float(np.mean([gini(counts) for counts in shown])),
        recommended=np.mean([decile_shares(counts, popularity) for counts in shown], axis=0).tolist(),
        promoted=float(np.mean(praised)) if praised else float("nan"),
    )
