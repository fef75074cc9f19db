"""Live accuracy of the learned policy beside trending and markov, as the evaluator measured it. Pure."""

from __future__ import annotations

import math

from services.embedded.running import Figures

POLICIES = ("learned", "trending", "markov")
LEAST_EVENTS = 100  # judged by a version; policies are not compared on fewer


def lines(figures: Figures, recent_events: int, *, unlearned: float = 0.0) -> list[str]:
    """A small table and what it shows, also when a baseline is ahead.

    Args:
        recent_events: how many judged events the evaluator's window of recent ones holds.
        unlearned: events that were sent and not learned yet.
    """
    judged = figures.get("freshet_evaluator_judged_events_total", 0.0)
    if not judged:
        return ["  The evaluator has not judged any event yet."]
    by_version = figures.get("freshet_evaluator_learned_events_total", 0.0)
    unknown = figures.get("freshet_evaluator_unknown_products_total", 0.0)
    masked = figures.get("freshet_evaluator_masked_events_total", 0.0)
    account = [
        f"  Before each event was learned, every policy ranked the whole catalogue:\n"
        f"  {judged:,.0f} events judged, {by_version:,.0f} of them ({by_version / judged:.0%}) by a learned version.",
        "  The others came before the first version, where counts alone answer, or from",
        "  users without a history. So compare the policies by the first row.",
        f"  {unknown:,.0f} were of a product not known before: a miss for each.",
        f"  Left out are {masked:,.0f} events on products that their users had reviewed already.",
        *_others(figures),
    ]
    if unlearned:
        account += [
            f"  The learner had not yet learned {unlearned:,.0f} events. What is served counts them",
            "  all the same; only its network and its weights are older.",
        ]
    account += [
        "",
        f"  {'':<22}{'HR@10':^27}{'NDCG@10':^27}".rstrip(),
        f"  {'':<14}{'events':>8}" + "".join(f"{policy:>9}" for policy in POLICIES * 2),
    ]
    windows = (  # as the evaluator calls them
        ("learned", "by a version", by_version),
        ("all", "as served", judged),
        ("recent", "the last", min(judged, recent_events)),
    )
    account += [
        f"  {name:<14}{events:>8,.0f}"
        + "".join(
            f"{_shown(_figure(figures, metric, policy, window)):>9}"
            for metric in ("hit", "ndcg")
            for policy in POLICIES
        )
        for window, name, events in windows
    ]
    return [*account, "", *(f"  {sentence}" for sentence in _sentences(figures))]


def _others(figures: Figures) -> list[str]:
    """A line about events left out for other reasons, where there are any."""
    reasons = {"guest_events_total": "of guests", "unwanted_events_total": "returns or dislikes", "late_total": "late"}
    counts = {what: figures.get(f"freshet_evaluator_{name}", 0.0) for name, what in reasons.items()}
    named = ", ".join(f"{count:,.0f} {what}" for what, count in counts.items() if count)
    return [f"  So are events that can't be judged: {named}."] if named else []


def _sentences(figures: Figures) -> list[str]:
    """How the learned policy compares with each baseline, on the events that a version judged."""
    by_version = figures.get("freshet_evaluator_learned_events_total", 0.0)
    learned, trending, markov = (_figure(figures, "ndcg", policy, "learned") for policy in POLICIES)
    if math.isnan(learned) or not by_version:
        return ["No learned version has judged an event, so there is nothing to compare."]
    if by_version < LEAST_EVENTS:
        return [f"A version has judged only {by_version:,.0f} events: too few to compare, {LEAST_EVENTS} are needed."]
    beside = " and\n  ".join(
        f"{learned / other:.2f} times that of {policy}" if other > 0 else f"{learned:.4f} beside 0 of {policy}"
        for policy, other in zip(POLICIES[1:], (trending, markov), strict=True)
        if not math.isnan(other)
    )
    sentences = [f"On these {by_version:,.0f} events, the learned policy's NDCG@10 is", f"{beside}."]
    if trending > learned:
        sentences.append("Trending is ahead of it.")
    if markov > learned:
        sentences += [
            "Markov is ahead of it, though both count every event at once:",
            "`freshet evaluate` shows how each of the learned policy's experts does alone.",
        ]
    return sentences


def _figure(figures: Figures, metric: str, policy: str, window: str) -> float:
    return figures.get(f'freshet_evaluator_{metric}_ratio{{k="10",policy="{policy}",window="{window}"}}', math.nan)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
