"""Part two of the demo: the replay flows, the learner learns, versions go live."""

from __future__ import annotations

import time

from services.console import progress
from services.console.progress import lasting
from services.console.running import Running
from services.console.scrape import Figures
from shared.pb.freshet.v1.events_pb2 import ModelVersion

# Readers that have not applied every event are waited for until their figures stand still for so long, and so long the
# last version for its being served.
STILL_SECONDS = 20.0


class Flow:
    """Watches the replay and shows how it goes.

    Args:
        patience_seconds: so long at most the learner is waited for once everything was sent.
    """

    def __init__(self, running: Running, *, patience_seconds: float) -> None:
        self._running = running
        self._patience_seconds = patience_seconds
        self._sending, self._learning = progress.Rate(), progress.Rate()
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
        """Wait until every event was sent and every reader has applied it, and the version that is due then answers.

        A learner that is slower than the replay is waited for no longer than the patience that was given.

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
        if account := progress.of_learner(self._trainer):
            say(account)
        if self._versions:
            say("\n  How well each version ranks events that it has not learned, and popularity\n  on the same:\n")
            for sentence in progress.of_versions(self._versions):
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
            say("  The readers stand still before the rest: `freshet dead-letters show` and\n  the logs say more.")

    def _tick(self) -> None:
        running, now = self._running, time.monotonic()
        self._replay = running.figures("replay") or self._replay
        self._trainer = running.figures("trainer") or self._trainer
        version = running.shop.serving_version()
        if version is not None and version.version_id not in [known.version_id for known in self._versions]:
            self._versions.append(version)
        waited = 0.0 if self._sent_at is None else now - self._sent_at
        left = progress.left_seconds(
            self._replay,
            self.learned,
            self._sending.at(now, self.events),
            self._learning.at(now, self.learned),
            max(0.0, self._patience_seconds - waited),
        )
        width = min(running.terminal.status_columns, progress.MOST)
        running.terminal.status(progress.line(self._replay, self.learned, len(self._versions), left, width))

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
