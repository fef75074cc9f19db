"""Draws the figures of a report from their tables, each policy in the same colour in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from services.console.report_data import SENTIMENTS

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

Colours = Mapping[str, str]


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
        for own, (column, title) in zip(axes, shown, strict=True):
            for policy, rows in table.groupby("policy", sort=False):
                own.plot(rows["events"], rows[column], **_line(str(policy), colours))
            own.set(title=title, xlabel="events judged", ylim=(0, None))
            own.xaxis.set_major_formatter(_THOUSANDS)
            own.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
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
        for axes, own, label in zip(figure.subplots(1, len(metrics)), metrics.values(), metrics, strict=True):
            for policy, rows in own.groupby("policy", sort=False):
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
            own = table[table["policy"] == policy].set_index("slice").reindex(names)
            places = np.arange(len(names)) + (n - (len(policies) - 1) / 2) * width
            error = np.abs(own[["low", "high"]].to_numpy().T - own["mean"].to_numpy())
            axes.bar(
                places, own["mean"], width * 0.92, yerr=error, color=_colour(policy, colours), label=policy,
                error_kw={"elinewidth": 0.9, "ecolor": "#374151"},
            )  # fmt: skip
        events = table.groupby("slice")["events"].first()
        said = [f"{name.removesuffix(' users')}\n{events[name]:,} events" for name in names]
        axes.set_xticks(np.arange(len(names)), said)
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
        axes.set(
            xlabel="share of the catalogue among anybody's first ten", ylabel=label, xlim=(0, 1.02), ylim=(0, None)
        )
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
        said = f"{value:.1%}" if percent else f"{value:.3f}"
        axes.text(max(end, 0.0) + 0.02 * span, y, said, va="center", fontsize=9, color="#374151")
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
