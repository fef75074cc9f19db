"""Live accuracy of the learned policy beside trending and markov, as the evaluator measured it. Pure."""

from __future__ import annotations

import math

from services.console.scrape import Figures

POLICIES = ("learned", "trending", "markov")


def lines(figures: Figures, recent_events: int) -> list[str]:
    """A small table and what it says, also when another is ahead.

    Args:
        recent_events: how many judged events the evaluator's window of recent ones holds.
    """
    judged = figures.get("freshet_evaluator_judged_events_total", 0.0)
    if not judged:
        return ["  The evaluator has not judged any event yet."]
    by_learned = figures.get("freshet_evaluator_learned_events_total", 0.0)
    share = by_learned / judged
    unknown = figures.get("freshet_evaluator_unknown_products_total", 0.0)
    masked = figures.get("freshet_evaluator_masked_events_total", 0.0)
    said = [
        f"  Before each event was learned, all three ranked the whole catalogue: {judged:,.0f} events judged,",
        f"  {by_learned:,.0f} of them ({share:.0%}) by a learned version; the others came before the first",
        "  one, or from users without a history.",
        f"  {unknown:,.0f} were of a product not known before: a miss for each.",
        f"  Left out are {masked:,.0f} events on products that their users had reviewed already.",
        *_others(figures),
        "",
        f"  {'':<28}{'HR@10':^30}{'NDCG@10':^30}",
        f"  {'events':<28}" + "".join(f"{policy:>10}" for policy in POLICIES * 2),
    ]
    windows = (  # as the evaluator calls them
        ("all", "all judged, as served"),
        ("learned", "judged by a learned version"),
        ("recent", f"the last {recent_events:,} judged"),
    )
    said += [
        f"  {name:<28}"
        + "".join(
            f"{_shown(_figure(figures, metric, policy, window)):>10}"
            for metric in ("hit", "ndcg")
            for policy in POLICIES
        )
        for window, name in windows
    ]
    return [*said, "", *(f"  {sentence}" for sentence in _sentences(figures))]


def _others(figures: Figures) -> list[str]:
    """A line about events left out for other reasons, where there are any."""
    reasons = {"guest_events_total": "of guests", "unwanted_events_total": "returns or dislikes", "late_total": "late"}
    counts = {what: figures.get(f"freshet_evaluator_{name}", 0.0) for name, what in reasons.items()}
    named = ", ".join(f"{count:,.0f} {what}" for what, count in counts.items() if count)
    return [f"  So are events that nothing can be asked of: {named}."] if named else []


def _sentences(figures: Figures) -> list[str]:
    """How the learned policy fares beside each other one, on the events that a version judged."""
    learned, trending, markov = (_figure(figures, "ndcg", policy, "learned") for policy in POLICIES)
    if math.isnan(learned) or not figures.get("freshet_evaluator_learned_events_total"):
        return ["No learned version has judged an event, so there is nothing to compare."]
    beside = " and ".join(
        f"{learned / other:.2f} times that of {policy}" if other > 0 else f"{learned:.4f} beside 0 of {policy}"
        for policy, other in zip(POLICIES[1:], (trending, markov), strict=True)
        if not math.isnan(other)
    )
    said = [f"On the same events, the learned policy's NDCG@10 is {beside}."]
    if trending > learned:
        said.append("Trending is ahead of it.")
    if markov > learned:
        said += [
            "Markov is ahead of it: it counts with every event; a version knows nothing that came after it was made.",
            "`freshet evaluate` compares policies that each learn with every event.",
        ]
    return said


def _figure(figures: Figures, metric: str, policy: str, window: str) -> float:
    return figures.get(f'freshet_evaluator_{metric}_ratio{{k="10",policy="{policy}",window="{window}"}}', math.nan)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
