"""The figures of a report: what each shows as a table, and its drawing, a policy in the same colour in all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from shared.evaluation.figures import Means
from shared.pb.freshet.v1.events_pb2 import IMPUTED_SENTIMENT, StateVector
from shared.policies.contract import StepReport

Table = pd.DataFrame

# Compound scores from which a review is positive, and up to which it is negative (Hutto & Gilbert, ICWSM 2014).
POSITIVE, NEGATIVE = 0.05, -0.05
SENTIMENTS = ("positive", "neutral", "negative")

PERIODS = 12  # into which the judged events are cut, as many in each
DRAWS = 300  # of users, for the interval of one point
GAMMA = "\N{GREEK SMALL LETTER GAMMA}"  # the discount

SHOWN = 10  # products of one answer

_STYLE = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#9ca3af", "axes.titlelocation": "left",
    "axes.titlesize": 11, "axes.labelsize": 10, "axes.labelcolor": "#374151", "xtick.color": "#4b5563",
    "ytick.color": "#4b5563", "grid.color": "#e5e7eb", "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.12, "figure.constrained_layout.h_pad": 0.1, "font.family": "DejaVu Sans",
}  # fmt: skip
_SENTIMENT_COLOURS = {"positive": "#3a9a6b", "neutral": "#c3c9d2", "negative": "#d1603d"}
_OURS = "#1d4ed8"  # of the policy `freshet`
_THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")
_LEAST_BARS = 4  # for which a figure has room

Colours = Mapping[str, str]  # policy → colour


# Tables, from what was judged and learned. Pure.


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


def over_time_table(events: Table, metric: str, seed: int, periods: int = PERIODS) -> Table:
    """A metric of each policy in consecutive parts of the judged events, with intervals over users.

    Args:
        events: a row per judged event, policy and seed, as `freshet evaluate --parquet` writes them.

    Returns:
        columns: policy, events (judged up to the middle of the part), mean, low, high.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for policy, part, part_rows in _parts(events, periods):
        users = pd.factorize(part_rows["user"])[0].astype(np.int32)
        estimate = Means(users, part_rows[[metric]].to_numpy(np.float64), rng, DRAWS).estimate(0)
        rows.append((policy, part, estimate.mean, estimate.low, estimate.high))
    return pd.DataFrame(rows, columns=["policy", "events", "mean", "low", "high"])


def training_table(events: Table, rewards: Mapping[int, float], periods: int = PERIODS) -> Table:
    """Precision, recall and cumulative reward of the first ten of each policy over the stream.

    Precision and recall are of questions, of which a user's whole day is one. An event's reward is collected by a
    policy that had its product among its first ten; what its other products would have brought nobody knows.

    Args:
        events: a row per judged event, policy and seed.
        rewards: sequence → reward; empty where they are not known.

    Returns:
        columns: policy, events, precision, recall, reward (NaN where they are not known), summed up to there.
    """
    rows = []
    gained: dict[str, float] = {}
    for policy, part, part_rows in _parts(events, periods):
        runs = part_rows["seed"].nunique()
        counted = part_rows[~part_rows.duplicated(["seed", "question", "product"]) | (part_rows["product"] == "")]
        by_question = counted.groupby(["seed", "question"])[f"in_set@{SHOWN}"].agg(["sum", "size"])
        hit = part_rows[part_rows["place"] <= SHOWN]
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
        part_rows = events[events["policy"] == policy]
        place = np.searchsorted(order, part_rows["sequence"].to_numpy())
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            yield str(policy), end, part_rows[(place >= start) & (place < end)]


def convergence_table(steps: Sequence[StepReport], points: int = 200) -> Table:
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
        (policy, metrics[metric]["mean"], metrics[metric]["low"], metrics[metric]["high"])
        for policy, metrics in document["policies"].items()
        if metric in metrics
    ]
    table = pd.DataFrame(rows, columns=["policy", "mean", "low", "high"])
    return table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def by_slice(document: Mapping[str, Any], names: Sequence[str], metric: str) -> Table:
    """A metric of each policy in slices, such as user classes; those without an event are left out.

    Returns:
        columns: slice, events, policy, mean, low, high.
    """
    rows = [
        (name, part["events"], policy, metrics[metric]["mean"], metrics[metric]["low"], metrics[metric]["high"])
        for name in names
        if (part := document["slices"].get(name)) is not None
        for policy, metrics in part["policies"].items()
    ]
    return pd.DataFrame(rows, columns=["slice", "events", "policy", "mean", "low", "high"])


def coverage_table(document: Mapping[str, Any], metric: str) -> Table:
    """The share of the catalogue that each policy shows, and how often it is right.

    Returns:
        columns: policy, coverage, mean, low, high.
    """
    table = estimates(document, metric)
    shown = {policy: figures["coverage"][f"coverage@{SHOWN}"] for policy, figures in document["catalogue"].items()}
    table.insert(1, "coverage", table["policy"].map(shown))
    return table


def with_gamma(document: Mapping[str, Any]) -> dict[str, Any]:
    """A simulation's figures, with gamma in the names of its learned policies."""

    def named(policy: str) -> str:
        return re.sub(rf" (?:{GAMMA}=)?([0-9.]+)$", rf" {GAMMA} = \1", policy)

    renamed = {
        part: {named(policy): values for policy, values in document[part].items()} for part in ("policies", "curves")
    }
    return {**document, **renamed}


def discounts_table(document: Mapping[str, Any]) -> Table:
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


# Figures, from the tables.


def colours_of(policies: Sequence[str]) -> dict[str, str]:
    """A colour of its own for each policy."""
    others = [policy for policy in policies if policy != "freshet"]
    palette = [c for c in sns.color_palette("colorblind", 10).as_hex() if c != "#0173b2"]
    if len(others) > len(palette):
        palette = sns.color_palette("husl", len(others)).as_hex()
    return dict(zip(others, palette, strict=False)) | {"freshet": _OURS}


def colours_of_learned(policies: Sequence[str]) -> dict[str, str]:
    """Of a simulation's learned policies; the others there have none of their own."""
    palette = sns.color_palette("viridis", len(policies) + 1).as_hex()
    return dict(zip(policies, palette, strict=False))


def training(table: pd.DataFrame, colours: Colours) -> Figure:
    """Precision, recall and cumulative reward, side by side."""
    named = (("precision", "Precision@10"), ("recall", "Recall@10"), ("reward", "Cumulative reward"))
    shown = [(column, title) for column, title in named if table[column].notna().any()]
    with _styled():
        figure = Figure(figsize=(12, 3.9), layout="constrained")
        axes = figure.subplots(1, len(shown), squeeze=False)[0]
        for panel, (column, title) in zip(axes, shown, strict=True):
            for policy, rows in table.groupby("policy", sort=False):
                panel.plot(rows["events"], rows[column], **_line(str(policy), colours))
            panel.set(title=title, xlabel="events judged", ylim=(0, None))
            panel.xaxis.set_major_formatter(_THOUSANDS)
            panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
        _legend_below(figure, axes[0])
    return figure


def sentiment(table: pd.DataFrame) -> Figure:
    """Shares as stacked bars, the whole first."""
    with _styled():
        figure = Figure(figsize=(10, 1.6 + 0.42 * len(table)), layout="constrained")
        axes = figure.subplots()
        labels = [f"{name}  ({count:,.0f})" for name, count in table["reviews"].items()]
        left = np.zeros(len(table))
        for name in SENTIMENTS:
            shares = table[name].to_numpy()
            axes.barh(labels, shares, left=left, color=_SENTIMENT_COLOURS[name], label=name, height=0.74)
            for y, (start, share) in enumerate(zip(left, shares, strict=True)):
                if share >= 0.045:  # narrower ones have no room for it
                    ink = "#1f2937" if name == "neutral" else "white"
                    axes.text(start + share / 2, y, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=9)
            left += shares
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlim=(0, 1), xlabel="share of reviews", ylabel="year (reviews)")
        axes.grid(visible=False)
        _legend_below(figure, axes)
    return figure


def convergence(tables: Mapping[str, pd.DataFrame], colours: Colours) -> Figure:
    """Mean max-Q and TD loss over gradient steps."""
    with _styled():
        figure = Figure(figsize=(11, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for policy, table in tables.items():
            left.plot(table["step"], table["mean_max_q"], **_line(policy, colours))
            right.plot(table["step"], table["td_loss"], **_line(policy, colours))
        left.set(title="Mean max-Q of the batch", xlabel="gradient steps")
        right.set(title="TD loss (log scale)", xlabel="gradient steps", yscale="log")
        for axes in (left, right):
            axes.xaxis.set_major_formatter(_THOUSANDS)
        _legend_below(figure, left)
    return figure


def bars(table: pd.DataFrame, colours: Colours, *, label: str) -> Figure:
    """A share of each policy with its interval, the best on top."""
    with _styled():
        figure = Figure(figsize=(9, 1.2 + 0.42 * max(_LEAST_BARS, len(table))), layout="constrained")
        axes = figure.subplots()
        _bars(axes, table, colours, percent=True)
        axes.set(xlabel=label)
    return figure


def over_time(metrics: Mapping[str, pd.DataFrame], colours: Colours) -> Figure:
    """Metrics in consecutive parts of the stream, with intervals."""
    with _styled():
        figure = Figure(figsize=(12, 4.3), layout="constrained")
        for axes, table, label in zip(figure.subplots(1, len(metrics)), metrics.values(), metrics, strict=True):
            for policy, rows in table.groupby("policy", sort=False):
                axes.fill_between(rows["events"], rows["low"], rows["high"], color=_colour(policy, colours), alpha=0.12)
                axes.plot(rows["events"], rows["mean"], **_line(str(policy), colours))
            axes.set(title=label, xlabel="events judged", ylim=(0, None))
            axes.xaxis.set_major_formatter(_THOUSANDS)
        _legend_below(figure, figure.axes[0])
    return figure


def slices(table: pd.DataFrame, colours: Colours, *, label: str) -> Figure:
    """A metric of each policy in each slice, with intervals, side by side."""
    names = list(dict.fromkeys(table["slice"]))
    policies = list(dict.fromkeys(table["policy"]))
    width = 0.8 / len(policies)
    with _styled():
        figure = Figure(figsize=(12, 4.3), layout="constrained")
        axes = figure.subplots()
        for n, policy in enumerate(policies):
            rows = table[table["policy"] == policy].set_index("slice").reindex(names)
            places = np.arange(len(names)) + (n - (len(policies) - 1) / 2) * width
            error = np.abs(rows[["low", "high"]].to_numpy().T - rows["mean"].to_numpy())
            axes.bar(
                places, rows["mean"], width * 0.92, yerr=error, color=_colour(policy, colours), label=policy,
                error_kw={"elinewidth": 0.9, "ecolor": "#374151"},
            )  # fmt: skip
        events = table.groupby("slice")["events"].first()
        labels = [f"{name.removesuffix(' users')}\n{events[name]:,} events" for name in names]
        axes.set_xticks(np.arange(len(names)), labels)
        axes.set(ylabel=label, ylim=(0, None))
        axes.grid(visible=False, axis="x")
        _legend_below(figure, axes)
    return figure


def coverage(table: pd.DataFrame, colours: Colours, *, label: str) -> Figure:
    """Accuracy against the share of the catalogue shown."""
    with _styled():
        figure = Figure(figsize=(8.5, 5), layout="constrained")
        axes = figure.subplots()
        columns = (table[name].tolist() for name in ("policy", "coverage", "mean", "low", "high"))
        for policy, shown, mean, low, high in zip(*columns, strict=True):
            axes.errorbar(
                shown, mean, yerr=[[mean - low], [high - mean]], fmt="o", color=_colour(policy, colours),
                markersize=8, elinewidth=1.1, capsize=3, label=policy,
            )  # fmt: skip
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel="share of the catalogue in any user's first ten", ylabel=label, xlim=(0, 1.02), ylim=(0, None))
        _legend_below(figure, axes)
    return figure


def discounts(table: pd.DataFrame, curves: pd.DataFrame, colours: Colours) -> Figure:
    """What policies earn in the simulator's test period, and how the learned ones came to it."""
    with _styled():
        figure = Figure(figsize=(12, 1.6 + 0.42 * max(6, len(table))), layout="constrained")
        left, right = figure.subplots(1, 2)
        _bars(left, table, colours, percent=False)
        left.set(title="Judged in the later period", xlabel="cumulative reward a visit")
        for policy, rows in curves.groupby("policy", sort=False):
            right.plot(rows["step"], rows["reward_per_slate"], label=policy, color=colours[str(policy)], linewidth=1.8)
        right.set(title="Learning in the earlier period, first seed", xlabel="gradient steps", ylabel="reward a slate")
        right.xaxis.set_major_formatter(_THOUSANDS)
        _legend_below(figure, right)
    return figure


def _bars(axes: Axes, table: pd.DataFrame, colours: Colours, *, percent: bool) -> None:
    mean = table["mean"].to_numpy()
    error = np.abs(table[["low", "high"]].to_numpy().T - mean)
    axes.barh(
        table["policy"], mean, xerr=error, color=[_colour(p, colours) for p in table["policy"]], height=0.7,
        error_kw={"elinewidth": 1.1, "capsize": 3, "ecolor": "#374151"},
    )  # fmt: skip
    span = max(float(table["high"].max()), 0.0) - min(float(table["low"].min()), 0.0) or 1.0
    for y, (value, end) in enumerate(zip(mean, table["high"], strict=True)):
        label = f"{value:.1%}" if percent else f"{value:.3f}"
        axes.text(max(end, 0.0) + 0.02 * span, y, label, va="center", fontsize=9, color="#374151")
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, float(table["low"].min())) * 1.05, max(0.0, float(table["high"].max())) + 0.14 * span)
    axes.grid(visible=False, axis="y")
    if percent:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))


def _line(policy: str, colours: Colours) -> dict[str, Any]:
    ours = policy == "freshet"
    return {"label": policy, "color": _colour(policy, colours), "linewidth": 2.2 if ours else 1.5, "zorder": 3 + ours}


def _colour(policy: object, colours: Colours) -> str:
    return colours.get(str(policy), "#9ca3af")


def _legend_below(figure: Figure, axes: Axes) -> None:
    """Where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(8, max(1, len(labels))))


def _styled() -> AbstractContextManager[None]:
    """The look of all figures."""
    look: dict[Any, Any] = {**sns.axes_style("whitegrid"), **_STYLE}
    return mpl.rc_context(look)
