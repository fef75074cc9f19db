"""How far a replay is: for its position, for people and for Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from replay import metrics
from replay.ordered_copy import OrderedCopy, Selection
from replay.pacing import Lateness, behind
from replay.position import AcknowledgedPrefix, Position, Stretch
from replay.script import Cue, Script

log = logging.getLogger("replay")


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be sent."""

    copy: OrderedCopy
    selection: Selection
    script: Script
    loops: int


class Sent(NamedTuple):
    """An event on its way."""

    loop: int
    cue: Cue


class Standing:
    """Counts what was acknowledged, from a position on."""

    def __init__(self, task: Task, position: Position, clock: Callable[[], float]) -> None:
        self._task = task
        self._clock = clock
        self._started = clock()
        self._prefix: AcknowledgedPrefix[Sent] = AcknowledgedPrefix()
        self._lateness = Lateness()
        self.before = position.loop * task.script.extent.events
        self.before += task.copy.count_up_to(task.selection, position.sequence)
        self._sent = 0  # by this process
        self._counted = 0  # of those acknowledged, told Prometheus

    def start(self) -> None:
        """Events begin to flow."""
        self._started = self._clock()
        metrics.events()
        metrics.ASKED_RATE.set(self._task.script.pace.mean_rate)

    def sent(self, event: Sent) -> Stretch[Sent]:
        """Note an event as sent; where to acknowledge it."""
        self._sent += 1
        return self._prefix.sent(event, self._clock)

    @property
    def acknowledged_now(self) -> int:
        """Events acknowledged to this process, gaps or not."""
        return self._sent - self._prefix.in_flight

    @property
    def newest(self) -> Sent | None:
        """An event sent by this process before which, itself included, the broker has everything."""
        return self._prefix.newest

    @property
    def total(self) -> int:
        """The events of all loops."""
        return self._task.loops * self._task.script.extent.events

    @property
    def acknowledged(self) -> int:
        """The events that the broker has without a gap, those before the position included."""
        newest = self.newest
        return self.before if newest is None else newest.loop * self._task.script.extent.events + newest.cue.place + 1

    @property
    def seconds(self) -> float:
        """Time since events began to flow."""
        return self._clock() - self._started

    @property
    def rate(self) -> float:
        """Events per second since then."""
        return self.acknowledged_now / max(self.seconds, 1e-3)

    def behind_seconds(self, pace_seconds: float) -> float:
        """How late the replay is; `pace_seconds`: how late its next event is. Without a pace nothing is late."""
        paced = self._task.script.pace.mean_rate > 0
        return behind(pace_seconds, self._prefix.oldest_seconds(self._clock())) if paced else 0.0

    def measure(self, pace_seconds: float, in_flight: int) -> None:
        """Tell Prometheus, and once in the log when the replay falls behind or has caught up."""
        behind_seconds = self.behind_seconds(pace_seconds)
        metrics.BEHIND.set(behind_seconds)
        acknowledged = self.acknowledged_now
        metrics.events().inc(acknowledged - self._counted)
        self._counted = acknowledged
        metrics.IN_FLIGHT.set(in_flight)
        metrics.PROGRESS.set(self.acknowledged / self.total)
        if self.newest is not None:
            metrics.EVENT_TIME.set(self.newest.cue.event_time_ms / 1000)
        turned = self._lateness.turned(behind_seconds)
        if turned == "late":
            log.warning("%.1f s behind the asked pace: the broker, or this machine, does not keep up", behind_seconds)
        elif turned == "caught up":
            log.info("caught up with the asked pace")

    def told(self, pace_seconds: float) -> str:
        """One line for people."""
        newest, behind_seconds = self.newest, self.behind_seconds(pace_seconds)
        time_ms = None if newest is None else newest.cue.event_time_ms
        day = "-" if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
        loop = f", loop {newest.loop + 1} of {self._task.loops}" if newest is not None and self._task.loops > 1 else ""
        late = f", {behind_seconds:.1f} s behind" if behind_seconds >= 1 else ""
        return (
            f"{self.acknowledged / self.total:4.0%}  {self.acknowledged:,} events  {self.rate:,.0f} events/s  "
            f"{day}{loop}{late}"
        )
