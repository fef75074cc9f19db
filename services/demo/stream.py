"""Part two of the demo: the replay flows, the learner learns, versions go live."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence

from services.embedded.running import Figures, Running
from shared.pb.freshet.v1.events_pb2 import ModelVersion

RATE_OVER_SECONDS = 10.0
MOST = 79  # characters of the progress line
LEAST_SHARE = 0.02  # of the events, sent before the time left can be estimated
# The readers have settled once their figures have not changed for this long; the last version gets as long to go live.
STILL_SECONDS = 20.0


class Flow:
    """Watches the replay and shows how it goes.

    Args:
        patience_seconds: how long the learner gets at most once everything was sent.
    """

    def __init__(self, running: Running, *, patience_seconds: float) -> None:
        self._running = running
        self._patience_seconds = patience_seconds
        self._sending, self._learning = Rate(), Rate()
        self._versions: list[ModelVersion] = []
        self._replay: Figures = {}
        self._trainer: Figures = {}
        self._sent_at: float | None = None  # monotonic seconds
        self._settled_since = (time.monotonic(), (0.0,) * 3)

    @property
    def events(self) -> float:
        """How many were sent."""
        return self._replay.get("freshet_replay_events_total", 0.0)

    @property
    def learned(self) -> float:
        """How many events the learner has learned."""
        return self._trainer.get("freshet_trainer_applied_events_total", 0.0)

    def follow(self) -> None:
        """Wait until every event was sent and applied by every reader, and the last version is served.

        A learner that is slower than the replay gets no longer than `patience_seconds`.

        Raises:
            Unusable, Unavailable: a program ended for good.
        """
        running, say, forever = self._running, self._running.terminal.say, float("inf")
        running.wait(lambda: self._replay.get("freshet_replay_done") == 1.0, forever, self._tick)
        self._sent_at = time.monotonic()
        if self.events - self.learned > self._publish_events:
            say(
                "  The learner is slower than the replay on this machine. It gets up to\n"
                f"  {lasting(self._patience_seconds)} more; then the demo goes on with what is learned."
            )
        running.wait(self._is_settled, forever, self._tick)
        running.wait(self._is_last_live, STILL_SECONDS, self._tick)
        self._tick()
        say(f"  All {self.events:,.0f} events were sent and acknowledged; {self.learned:,.0f} learned,")
        say(f"  {len(self._versions)} model versions went live.")
        self._say_what_is_missing()
        if account := of_learner(self._trainer):
            say(account)
        if self._versions:
            say("\n  How well each version ranks events that it has not learned, and popularity\n  on the same:\n")
            for sentence in of_versions(self._versions):
                say(sentence)

    def _say_what_is_missing(self) -> None:
        say = self._running.terminal.say
        if self.learned >= self.events:
            return
        if self._is_out_of_patience():
            say(
                f"  The learner got {lasting(self._patience_seconds)} more and has not learned everything yet.\n"
                "  What follows goes by the versions that it made so far."
            )
        else:
            say("  The readers have stopped before the end: `freshet dead-letters show` and\n  the logs say why.")

    def _tick(self) -> None:
        running, now = self._running, time.monotonic()
        self._replay = running.figures("replay") or self._replay
        self._trainer = running.figures("trainer") or self._trainer
        version = running.shop.serving_version()
        if version is not None and version.version_id not in [known.version_id for known in self._versions]:
            self._versions.append(version)
        waited = 0.0 if self._sent_at is None else now - self._sent_at
        left = left_seconds(
            self._replay,
            self.learned,
            self._sending.at(now, self.events),
            self._learning.at(now, self.learned),
            max(0.0, self._patience_seconds - waited),
        )
        width = min(running.terminal.status_columns, MOST)
        running.terminal.status(line(self._replay, self.learned, len(self._versions), left, width))

    @property
    def _publish_events(self) -> int:
        return int(self._running.system.environment["FRESHET_TRAINER_PUBLISH_EVENTS"])

    def _is_last_live(self) -> bool:
        every = self._publish_events
        served = self._versions[-1].applied_events if self._versions else 0
        return served >= self.learned // every * every

    def _is_out_of_patience(self) -> bool:
        return self._sent_at is not None and time.monotonic() - self._sent_at >= self._patience_seconds

    def _is_settled(self) -> bool:
        applied = (
            self.learned,
            self._running.figures("inference").get("freshet_inference_applied_total", 0.0),
            self._running.figures("evaluator").get("freshet_evaluator_applied_events_total", 0.0),
        )
        now = time.monotonic()
        if applied != self._settled_since[1]:
            self._settled_since = (now, applied)
        is_still = now - self._settled_since[0] >= STILL_SECONDS
        others_are_through = min(applied[1:]) >= self.events
        return is_still or (others_are_through and (self.learned >= self.events or self._is_out_of_patience()))


# Progress in one line, and a summary at the end. Pure.


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
    """How long the replay and the learner still need, seconds; None: it can't be estimated yet.

    Args:
        learned: events.
        sending, learning: events per second, lately.
        patience_seconds: how long the learner gets at most, from now or from the end of the replay.
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
        f"{events:,.0f} events, {min(learned, events):,.0f} learned",
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
    lines = [f"  {'version':<24}{'learned from':>16}{'NDCG@10':>12}{'popularity':>14}{'network':>10}"]
    for version in (versions[place] for place in places):
        ndcg = version.metrics.get("validation_ndcg_at_10", math.nan)
        popularity = version.metrics.get("validation_ndcg_at_10_popularity", math.nan)
        events = f"{version.applied_events:,} events"
        network = 1.0 - version.metrics.get("score_share_mixture", math.nan)
        share = "-" if math.isnan(network) else f"{network:.0%}"
        scores = f"{_number(ndcg, 3):>12}{_number(popularity, 3):>14}{share:>10}"
        lines.append(f"  {version.version_id:<24}{events:>16}{scores}")
    return lines


def of_learner(figures: Figures) -> str:
    """The learner's figures in one line; empty before its first step."""
    steps = figures.get("freshet_trainer_steps_total", 0.0)
    if not steps:
        return ""
    loss = _number(figures.get("freshet_trainer_loss", math.nan), 3)
    q = _number(figures.get("freshet_trainer_mean_max_q", math.nan), 3)
    epsilon = _number(figures.get("freshet_trainer_epsilon", math.nan), 2)
    return f"  The learner made {steps:,.0f} steps: loss {loss}, mean max-Q {q}, ε {epsilon}."


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
