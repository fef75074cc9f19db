"""Part two of the demo: the replay flows, the learner learns, versions go live."""

from __future__ import annotations

import time

from services.console import progress
from services.console.running import Running
from services.console.scrape import Figures
from shared.pb.freshet.v1.events_pb2 import ModelVersion

# Readers that have not applied every event are waited for until their figures stand still for so long, and so long the
# last version for its being served.
STILL_SECONDS = 20.0


class Flow:
    """Watches the replay and shows how it goes."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._rate = progress.Rate()
        self._serving: ModelVersion | None = None
        self._replay: Figures = {}
        self._settled_since = (time.monotonic(), (0.0,) * 3)

    def follow(self, *, most_seconds: float = float("inf")) -> int:
        """Wait until every event was sent, every reader has applied it and the version that is due then answers.

        Returns:
            The number of versions that went live.

        Raises:
            Unusable, Unavailable: a program ended for good.
        """
        running = self._running
        self._versions = 0
        running.wait(lambda: self._replay.get("freshet_replay_done") == 1.0, most_seconds, self._tick)
        running.wait(self._is_settled, most_seconds, self._tick)
        running.wait(self._is_last_live, STILL_SECONDS, self._tick)
        self._tick()
        events = self._replay.get("freshet_replay_events_total", 0.0)
        learned = running.figures("trainer").get("freshet_trainer_applied_events_total", 0.0)
        running.terminal.say(
            f"  All {events:,.0f} events were sent and acknowledged; {learned:,.0f} learned, "
            f"{self._versions} model versions went live."
        )
        if learned < events:
            running.terminal.say(
                "  The readers stand still before the rest: `freshet dead-letters show` and the logs say more."
            )
        return self._versions

    def _tick(self) -> None:
        running = self._running
        self._replay = running.figures("replay") or self._replay
        trainer = running.figures("trainer")
        version = running.shop.serving_version()
        if version is not None and (self._serving is None or version.version_id != self._serving.version_id):
            self._serving = version
            self._versions += 1
            running.terminal.say(progress.gone_live(version))
        events = self._replay.get("freshet_replay_events_total", 0.0)
        rate, width = self._rate.at(time.monotonic(), events), running.terminal.status_columns
        running.terminal.status(progress.line(self._replay, trainer, rate, width))

    def _is_last_live(self) -> bool:
        every = int(self._running.system.environment["FRESHET_TRAINER_PUBLISH_EVENTS"])
        learned = self._running.figures("trainer").get("freshet_trainer_applied_events_total", 0.0)
        served = 0 if self._serving is None else self._serving.applied_events
        return served >= learned // every * every

    def _is_settled(self) -> bool:
        applied = (
            self._running.figures("trainer").get("freshet_trainer_applied_events_total", 0.0),
            self._running.figures("inference").get("freshet_inference_applied_total", 0.0),
            self._running.figures("evaluator").get("freshet_evaluator_applied_events_total", 0.0),
        )
        now = time.monotonic()
        if applied != self._settled_since[1]:
            self._settled_since = (now, applied)
        is_still = now - self._settled_since[0] >= STILL_SECONDS
        return is_still or min(applied) >= self._replay.get("freshet_replay_events_total", 0.0)
