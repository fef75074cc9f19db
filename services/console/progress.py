"""How far the replay and the learner are, in one line, and what came of it. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from services.console.scrape import Figures
from shared.pb.freshet.v1.events_pb2 import ModelVersion

RATE_OVER_SECONDS = 10.0
MOST = 79  # characters of the line
LEAST_SHARE = 0.02  # of the events, sent before it can be told how long the rest takes


class Rate:
    """Events per second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()  # (seconds, events)

    def at(self, seconds: float, events: float) -> float:
        """The rate after one more reading."""
        self._seen.append((seconds, events))
        while seconds - self._seen[0][0] > RATE_OVER_SECONDS:
            self._seen.popleft()
        (since, before) = self._seen[0]
        return (events - before) / (seconds - since) if seconds > since else 0.0


def left_seconds(
    replay: Figures, learned: float, sending: float, learning: float, patience_seconds: float
) -> float | None:
    """How long the replay and the learner still need, seconds; None: it can't be told yet.

    Args:
        learned: events.
        sending, learning: events per second, lately.
        patience_seconds: so long at most the learner is waited for, from now on or from the end of the replay on.
    """
    events, share = replay.get("freshet_replay_events_total", 0.0), replay.get("freshet_replay_progress_ratio", 0.0)
    is_done = replay.get("freshet_replay_done") == 1.0
    if not events or not (is_done or (share >= LEAST_SHARE and sending)):
        return None
    whole = events if is_done else events / share
    until_sent = 0.0 if is_done else (whole - events) / sending
    until_learned = (whole - learned) / learning if learning else math.inf
    return max(until_sent, min(until_learned, until_sent + patience_seconds))


def line(replay: Figures, learned: float, versions: int, left: float | None, width: int = MOST) -> str:
    """How far the replay and the learner are, and what is left, in one line of `width` characters at most."""
    events = replay.get("freshet_replay_events_total")
    if events is None:
        return "  Reading the file …"
    if replay.get("freshet_replay_done") == 1.0:
        head = "  all sent" if learned < events else "  all sent and learned"
    else:
        head = f"  {replay.get('freshet_replay_progress_ratio', 0.0):4.0%} sent"
    parts = [head]
    if left is not None and left >= 1:
        parts.append(f"about {lasting(left)} left")
    parts += [
        f"{events:,.0f} events, {learned:,.0f} learned",
        f"{versions:,} version{'' if versions == 1 else 's'} live",
    ]
    while len(text := ", ".join(parts)) > width and len(parts) > 1:
        parts.pop()
    return text[:width]


def lasting(seconds: float) -> str:
    """A length of time for people."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def of_versions(versions: Sequence[ModelVersion], most: int = 5) -> list[str]:
    """A table of versions that went live: the first, the last, and some between where there are more than `most`."""
    last = len(versions) - 1
    places = range(len(versions)) if last < most else [round(n * last / (most - 1)) for n in range(most)]
    lines = [f"  {'version':<24}{'learned from':>16}{'NDCG@10':>12}{'popularity':>14}"]
    for version in (versions[place] for place in places):
        ndcg = version.metrics.get("validation_ndcg_at_10", math.nan)
        popularity = version.metrics.get("validation_ndcg_at_10_popularity", math.nan)
        events = f"{version.applied_events:,} events"
        lines.append(f"  {version.version_id:<24}{events:>16}{_number(ndcg, 3):>12}{_number(popularity, 3):>14}")
    return lines


def of_learner(figures: Figures) -> str:
    """What the learner says of itself, in one line; empty before its first step."""
    steps = figures.get("freshet_trainer_steps_total", 0.0)
    if not steps:
        return ""
    loss = _number(figures.get("freshet_trainer_loss", math.nan), 3)
    q = _number(figures.get("freshet_trainer_mean_max_q", math.nan), 3)
    epsilon = _number(figures.get("freshet_trainer_epsilon", math.nan), 2)
    return f"  The learner made {steps:,.0f} steps: loss {loss}, mean max-Q {q}, ε {epsilon}."


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
