"""Live accuracy of the learned policy beside trending, as the evaluator measured it. Pure."""

from __future__ import annotations

import math

from services.console.scrape import Figures


def lines(figures: Figures, recent_events: int) -> list[str]:
    """A small table and what it says, also when trending is ahead.

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
        f"  Before each event was learned, both policies ranked the whole catalogue: {judged:,.0f} events judged,",
        f"  {by_learned:,.0f} of them ({share:.0%}) by a learned version; the others came before the first",
        "  one, or from users without a history.",
        f"  {unknown:,.0f} were of a product not known before: a miss for both.",
        f"  Left out are {masked:,.0f} events on products that their users had reviewed already.",
        *_others(figures),
        "",
        f"  {'':<30}{'HR@10':^22}{'NDCG@10':^22}",
        f"  {'events':<30}{'learned':>10}{'trending':>10}  {'learned':>10}{'trending':>10}",
    ]
    windows = (  # as the evaluator calls them
        ("all", "all judged, as served"),
        ("learned", "judged by a learned version"),
        ("recent", f"the last {recent_events:,} judged"),
    )
    said += [
        f"  {name:<30}" + "  ".join(_pair(figures, metric, window) for metric in ("hit", "ndcg"))
        for window, name in windows
    ]
    return [*said, "", "  " + _sentence(figures)]


def _others(figures: Figures) -> list[str]:
    """A line about events left out for other reasons, where there are any."""
    reasons = {"guest_events_total": "of guests", "unwanted_events_total": "returns or dislikes", "late_total": "late"}
    counts = {what: figures.get(f"freshet_evaluator_{name}", 0.0) for name, what in reasons.items()}
    named = ", ".join(f"{count:,.0f} {what}" for what, count in counts.items() if count)
    return [f"  So are events that nothing can be asked of: {named}."] if named else []


def _pair(figures: Figures, metric: str, window: str) -> str:
    learned, trending = (_figure(figures, metric, policy, window) for policy in ("learned", "trending"))
    return f"{_shown(learned):>10}{_shown(trending):>10}"


def _sentence(figures: Figures) -> str:
    learned = _figure(figures, "ndcg", "learned", "learned")
    trending = _figure(figures, "ndcg", "trending", "learned")
    if math.isnan(learned) or math.isnan(trending) or not figures.get("freshet_evaluator_learned_events_total"):
        return "No learned version has judged an event, so there is nothing to compare."
    if learned > trending:
        ahead = f"{learned / trending:.2f} times" if trending > 0 else "ahead of"
        return f"On the same events, the learned policy's NDCG@10 is {ahead} that of trending."
    if learned < trending:
        return "On the same events, trending is ahead of the learned policy."
    return "On the same events, both are equal."


def _figure(figures: Figures, metric: str, policy: str, window: str) -> float:
    return figures.get(f'freshet_evaluator_{metric}_ratio{{k="10",policy="{policy}",window="{window}"}}', math.nan)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
