"""What each figure of a report shows, as tables, from what was judged and learned. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.evaluation.bootstrap import Means
from shared.pb.freshet.v1.events_pb2 import IMPUTED_SENTIMENT, StateVector
from shared.policies.policy import StepReport

Table = pd.DataFrame

# Compound scores from which a review is positive, and up to which it is negative (Hutto & Gilbert, ICWSM 2014).
POSITIVE, NEGATIVE = 0.05, -0.05
SENTIMENTS = ("positive", "neutral", "negative")

PERIODS = 12  # into which the judged events are cut, as many in each
DRAWS = 300  # of users, for the interval of one point
GAMMA = "\N{GREEK SMALL LETTER GAMMA}"  # the discount

SHOWN = 10  # products of one answer


def sentiment_shares(states: Iterable[StateVector], most_periods: int = PERIODS) -> Table:
    """Share of positive, neutral and negative reviews, whole and by year, those without a text left out.

    Returns:
        index: "all", then years (the rarest, earliest ones summed up, so that at most `most_periods` are there);
        columns: `SENTIMENTS`, and `reviews`.
    """
    scored = [s for s in states if IMPUTED_SENTIMENT not in s.imputed]
    sentiment = np.array([s.sentiment for s in scored], np.float64)
    years = np.array([s.event_time_ms for s in scored], "datetime64[ms]").astype("datetime64[Y]").astype(int) + 1970
    rows = {"all": _shares(sentiment)} if len(sentiment) else {}
    newest = sorted(set(years.tolist()))[-(most_periods - 1) :]
    early = years < newest[0] if newest else np.zeros(0, bool)
    if early.any():
        rows[f"before {newest[0]}"] = _shares(sentiment[early])
    rows |= {str(year): _shares(sentiment[years == year]) for year in newest}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*SENTIMENTS, "reviews"])


def _shares(sentiment: NDArray[np.float64]) -> list[float]:
    positive, negative = (sentiment >= POSITIVE).mean(), (sentiment <= NEGATIVE).mean()
    return [float(positive), float(1.0 - positive - negative), float(negative), float(len(sentiment))]


def over_time(events: Table, metric: str, seed: int, periods: int = PERIODS) -> Table:
    """A metric of each policy in consecutive parts of the judged events, with intervals over users.

    Args:
        events: a row per judged event, policy and seed, as `freshet evaluate --parquet` writes them.

    Returns:
        columns: policy, events (judged up to the middle of the part), mean, low, high.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for policy, part, own in _parts(events, periods):
        users = pd.factorize(own["user"])[0].astype(np.int32)
        estimate = Means(users, own[[metric]].to_numpy(np.float64), rng, DRAWS).estimate(0)
        rows.append((policy, part, estimate.mean, estimate.low, estimate.high))
    return pd.DataFrame(rows, columns=["policy", "events", "mean", "low", "high"])


def training(events: Table, rewards: Mapping[int, float], periods: int = PERIODS) -> Table:
    """Precision, recall and cumulative reward of the first ten of each policy over the stream.

    Precision and recall are of questions, of which a user's whole day is one. An event's reward is collected by a
    policy that had its product among its first ten; what would have come of what else it shows nobody knows.

    Args:
        events: a row per judged event, policy and seed.
        rewards: sequence → reward; empty where they are not known.

    Returns:
        columns: policy, events, precision, recall, reward (NaN where they are not known), summed up to there.
    """
    rows = []
    gained: dict[str, float] = {}
    for policy, part, own in _parts(events, periods):
        runs = own["seed"].nunique()
        counted = own[~own.duplicated(["seed", "question", "product"]) | (own["product"] == "")]
        by_question = counted.groupby(["seed", "question"])[f"in_set@{SHOWN}"].agg(["sum", "size"])
        hit = own[own["place"] <= SHOWN]
        reward = hit["sequence"].map(rewards).fillna(0.0).sum() / runs if rewards else float("nan")
        gained[policy] = gained.get(policy, 0.0) + reward
        precision = (by_question["sum"] / SHOWN).mean()
        recall = (by_question["sum"] / by_question["size"]).mean()
        rows.append((policy, part, precision, recall, gained[policy]))
    return pd.DataFrame(rows, columns=["policy", "events", "precision", "recall", "reward"])


def _parts(events: Table, periods: int) -> Iterable[tuple[str, int, pd.DataFrame]]:
    """Of each policy, in their order, each part of the stream: judged events up to its end, and its rows."""
    order = np.unique(events["sequence"].to_numpy())
    edges = np.unique(np.linspace(0, len(order), periods + 1).astype(int))
    for policy in events["policy"].unique():
        own = events[events["policy"] == policy]
        place = np.searchsorted(order, own["sequence"].to_numpy())
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            yield str(policy), end, own[(place >= start) & (place < end)]


def convergence(steps: Sequence[StepReport], points: int = 200) -> Table:
    """Mean max-Q and TD loss over gradient steps, each the mean of the steps since the point before.

    Returns:
        columns: step, mean_max_q, td_loss.
    """
    table = pd.DataFrame(
        {
            "step": np.arange(1, len(steps) + 1),
            "mean_max_q": [step.mean_max_q for step in steps],
            "td_loss": [step.td_loss for step in steps],
        }
    )
    group = (table["step"] - 1) * min(points, len(steps)) // max(1, len(steps))
    return table.groupby(group).agg({"step": "last", "mean_max_q": "mean", "td_loss": "mean"}).reset_index(drop=True)


def estimates(document: Mapping[str, Any], metric: str) -> Table:
    """A metric of each policy with its interval, the best first; of an evaluation's JSON, or of a simulation's.

    Returns:
        columns: policy, mean, low, high.
    """
    rows = [
        (policy, own[metric]["mean"], own[metric]["low"], own[metric]["high"])
        for policy, own in document["policies"].items()
        if metric in own
    ]
    table = pd.DataFrame(rows, columns=["policy", "mean", "low", "high"])
    return table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def by_slice(document: Mapping[str, Any], names: Sequence[str], metric: str) -> Table:
    """A metric of each policy in slices, such as user classes; those without an event are left out.

    Returns:
        columns: slice, events, policy, mean, low, high.
    """
    rows = [
        (name, part["events"], policy, own[metric]["mean"], own[metric]["low"], own[metric]["high"])
        for name in names
        if (part := document["slices"].get(name)) is not None
        for policy, own in part["policies"].items()
    ]
    return pd.DataFrame(rows, columns=["slice", "events", "policy", "mean", "low", "high"])


def coverage(document: Mapping[str, Any], metric: str) -> Table:
    """Of each policy the share of the catalogue it shows, and how often it is right.

    Returns:
        columns: policy, coverage, mean, low, high.
    """
    table = estimates(document, metric)
    shown = {policy: own["coverage"][f"coverage@{SHOWN}"] for policy, own in document["catalogue"].items()}
    table.insert(1, "coverage", table["policy"].map(shown))
    return table


def with_gamma(document: Mapping[str, Any]) -> dict[str, Any]:
    """A simulation's figures, with the discount in the names of its learned policies told for what it is."""

    def named(policy: str) -> str:
        return re.sub(rf" (?:{GAMMA}=)?([0-9.]+)$", rf" {GAMMA} = \1", policy)

    renamed = {part: {named(policy): own for policy, own in document[part].items()} for part in ("policies", "curves")}
    return {**document, **renamed}


def discounts(document: Mapping[str, Any]) -> Table:
    """Learning curves of a simulation's learned policies.

    Returns:
        columns: policy, step, reward_per_slate.
    """
    rows = [
        (policy, point["step"], point["reward_per_slate"])
        for policy, curve in document["curves"].items()
        for point in curve
    ]
    return pd.DataFrame(rows, columns=["policy", "step", "reward_per_slate"])
