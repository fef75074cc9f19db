"""How the replay and the learner stand, in one line. Pure."""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime

from services.console.scrape import Figures
from shared.pb.freshet.v1.events_pb2 import ModelVersion

RATE_OVER_SECONDS = 4.0
LONG, SHORT = 110, 79  # characters that the two forms of the line need

_READING, _DONE = "  replay: reading the file", "  replay done"
_COLLECTING = "learner: collecting its first events"


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


def line(replay: Figures, trainer: Figures, events_per_second: float, width: int = LONG) -> str:
    """Both in one line: the long form where `width` has room for it, else one of at most `SHORT` characters."""
    long = f"{_of_replay(replay, trainer, events_per_second)} │ {_of_learner(trainer)}"
    if width >= LONG and len(long) <= width:
        return long
    return f"{_of_replay_shortly(replay, trainer, events_per_second)} │ {_of_learner_shortly(trainer)}"


def _of_replay(figures: Figures, trainer: Figures, events_per_second: float) -> str:
    if "freshet_replay_events_total" not in figures:
        return _READING
    if figures.get("freshet_replay_done") == 1.0:
        return _done(figures, trainer)
    share = figures.get("freshet_replay_progress_ratio", 0.0)
    events = figures["freshet_replay_events_total"]
    behind = figures.get("freshet_replay_behind_seconds", 0.0)
    late = f"  {behind:.0f} s behind" if behind >= 1 else ""
    when = date(figures.get("freshet_replay_event_time_seconds", 0.0))
    return f"  {share:4.0%}  {events:7,.0f} events  {events_per_second:5,.0f}/s  {when}{late}"


def _done(replay: Figures, trainer: Figures) -> str:
    """What is said once everything was sent: how much of it is learned, until all is."""
    sent = replay["freshet_replay_events_total"]
    learned = trainer.get("freshet_trainer_applied_events_total", 0.0)
    return f"  all sent, {learned / sent:.0%} learned" if learned < sent else _DONE


def _of_learner(figures: Figures) -> str:
    steps = figures.get("freshet_trainer_steps_total", 0.0)
    if not steps:
        return _COLLECTING
    loss = _number(figures.get("freshet_trainer_loss", math.nan), 3)
    q = _number(figures.get("freshet_trainer_mean_max_q", math.nan), 3)
    epsilon = _number(figures.get("freshet_trainer_epsilon", math.nan), 2)
    return f"learner: {steps:,.0f} steps  loss {loss}  mean max-Q {q}  ε {epsilon}"


def _of_replay_shortly(figures: Figures, trainer: Figures, events_per_second: float) -> str:
    if "freshet_replay_events_total" not in figures:
        return _READING
    if figures.get("freshet_replay_done") == 1.0:
        return _done(figures, trainer)
    share = figures.get("freshet_replay_progress_ratio", 0.0)
    behind = figures.get("freshet_replay_behind_seconds", 0.0)
    month = date(figures.get("freshet_replay_event_time_seconds", 0.0))[:7]
    when = f"{behind:.0f} s late" if behind >= 1 else month
    return f" {share:4.0%}  {_thousands(events_per_second)}/s  {when}"


def _of_learner_shortly(figures: Figures) -> str:
    steps = figures.get("freshet_trainer_steps_total", 0.0)
    if not steps:
        return _COLLECTING
    loss = figures.get("freshet_trainer_loss", math.nan)
    q = _number(figures.get("freshet_trainer_mean_max_q", math.nan), 2)
    epsilon = _number(figures.get("freshet_trainer_epsilon", math.nan), 2)
    return f"learner {_thousands(steps)} steps  loss {_number(loss, 2 if loss < 9.995 else 1)}  maxQ {q}  ε {epsilon}"


def gone_live(version: ModelVersion) -> str:
    """One line for a version that inference now answers with."""
    ndcg = version.metrics.get("validation_ndcg_at_10", math.nan)
    popularity = version.metrics.get("validation_ndcg_at_10_popularity", math.nan)
    beside = "" if math.isnan(popularity) else f" (popularity alone {popularity:.3f})"
    return (
        f"  ● model {version.version_id} is live: learned from {version.applied_events:,} events, "
        f"validation NDCG@10 {_number(ndcg, 3)}{beside}"
    )


def date(seconds: float) -> str:
    """The day of a Unix time, as YYYY-MM-DD; nothing known is `-`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d") if seconds > 0 else "-"


def _thousands(number: float) -> str:
    return f"{number:,.0f}" if number < 9999.5 else f"{number / 1000:.0f}k"


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
