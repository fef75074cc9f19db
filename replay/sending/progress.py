"""How far a replay has come, for its position, for people and for Prometheus.

Only what the broker has acknowledged without a gap counts, so a position on disk is true even after kill -9.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from replay.metrics import ReplayMetrics
from replay.order.ordered_copy import OrderedCopy, Selection
from replay.sending.script import Cue, Lateness, Script, behind
from shared.process.errors import Unusable
from shared.process.folders import write_file

log = logging.getLogger("replay")
POSITION = "position.json"
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class ReplayTask:
    """What a replay sends."""

    copy: OrderedCopy
    selection: Selection
    script: Script
    loops: int


class ReplayPosition(BaseModel):
    """`position.json`: the broker has acknowledged everything up to `sequence` of `loop`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    log_identity: str  # of freshet.events
    selection: Selection
    moved_ms: int = 0  # what --ending adds to event times, in whole days
    products_sent: bool = False
    loop: int = 0
    sequence: int = 0  # place in the whole dataset's order, from 1; 0: nothing of the loop yet

    def save(self, folder: Path) -> None:
        """Write it whole, and durably."""
        write_file(folder / POSITION, self.model_dump_json(indent=2).encode())

    @classmethod
    def load(cls, folder: Path) -> ReplayPosition | None:
        """The position saved in a folder; None if there is none.

        Raises:
            Unusable: it is damaged.
        """
        file = folder / POSITION
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise Unusable(
                f"the position in {file} is damaged ({error}); delete it and replay without --resume: "
                "readers skip what they have seen"
            ) from error


class SentEvent(NamedTuple):
    """An event that was sent, with its loop."""

    loop: int
    cue: Cue


class ReplayProgress:
    """Counts acknowledged events, from a position on."""

    def __init__(
        self, task: ReplayTask, position: ReplayPosition, metrics: ReplayMetrics, clock: Callable[[], float]
    ) -> None:
        self._metrics = metrics
        self._task = task
        self._clock = clock
        self._started = clock()
        self._prefix: AcknowledgedPrefix[SentEvent] = AcknowledgedPrefix()
        self._lateness = Lateness()
        self.before = position.loop * task.script.extent.events
        self.before += task.copy.count_up_to(task.selection, position.sequence)
        self._sent = 0  # by this process
        self._counted = 0  # acknowledged events that Prometheus knows of

    def start(self) -> None:
        """Start the clock of the rate: events begin to flow."""
        self._started = self._clock()
        self._metrics.events()
        self._metrics.asked_rate.set(self._task.script.pace.mean_rate)

    def sent(self, event: SentEvent) -> Stretch[SentEvent]:
        """Note that an event was sent; returns where its acknowledgement goes."""
        self._sent += 1
        return self._prefix.sent(event, self._clock)

    @property
    def acknowledged_now(self) -> int:
        """Events of this process that the broker acknowledged, with or without a gap before them."""
        return self._sent - self._prefix.in_flight

    @property
    def newest(self) -> SentEvent | None:
        """The newest event up to which the broker has everything that this process sent."""
        return self._prefix.newest

    @property
    def total(self) -> int:
        """The events of all loops."""
        return self._task.loops * self._task.script.extent.events

    @property
    def acknowledged(self) -> int:
        """Events that the broker has without a gap, those before the position included."""
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
        """How late the replay is, 0 without a pace; `pace_seconds` says how late its next event is."""
        paced = self._task.script.pace.mean_rate > 0
        return behind(pace_seconds, self._prefix.oldest_seconds(self._clock())) if paced else 0.0

    def measure(self, pace_seconds: float, in_flight: int) -> None:
        """Set the metrics, and log once when the replay falls behind or has caught up."""
        behind_seconds = self.behind_seconds(pace_seconds)
        self._metrics.behind.set(behind_seconds)
        acknowledged = self.acknowledged_now
        self._metrics.events().inc(acknowledged - self._counted)
        self._counted = acknowledged
        self._metrics.in_flight.set(in_flight)
        self._metrics.progress.set(self.acknowledged / self.total)
        if self.newest is not None:
            self._metrics.event_time.set(self.newest.cue.event_time_ms / 1000)
        turned = self._lateness.turned(behind_seconds)
        if turned == "late":
            log.warning("%.1f s behind the pace asked for: the broker, or this machine, can't keep up", behind_seconds)
        elif turned == "caught up":
            log.info("caught up with the pace")

    def line(self, pace_seconds: float) -> str:
        """One line of progress, for people."""
        newest, behind_seconds = self.newest, self.behind_seconds(pace_seconds)
        time_ms = None if newest is None else newest.cue.event_time_ms
        day = "-" if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
        loop = f", loop {newest.loop + 1} of {self._task.loops}" if newest is not None and self._task.loops > 1 else ""
        late = f", {behind_seconds:.1f} s behind" if behind_seconds >= 1 else ""
        return (
            f"{self.acknowledged / self.total:4.0%}  {self.acknowledged:,} events  {self.rate:,.0f} events/s  "
            f"{day}{loop}{late}"
        )


class AcknowledgedPrefix(Generic[ItemT]):
    """Finds the newest item up to which everything was acknowledged.

    It may be up to `STRETCH` items too old: so an acknowledgement costs one addition.
    """

    STRETCH = 64

    def __init__(self) -> None:
        self._stretches: deque[Stretch[ItemT]] = deque()
        self._newest: ItemT | None = None

    def sent(self, item: ItemT, clock: Callable[[], float]) -> Stretch[ItemT]:
        """Note that an item is sent now; returns where its acknowledgement goes."""
        stretch = self._stretches[-1] if self._stretches else None
        if stretch is None or stretch.sent == self.STRETCH or not stretch.in_flight:
            stretch = Stretch(clock())
            self._stretches.append(stretch)
        stretch.last = item
        stretch.sent += 1
        return stretch

    @property
    def newest(self) -> ItemT | None:
        """The item up to which the broker has everything; None if there is none yet."""
        while self._stretches and not self._stretches[0].in_flight:
            self._newest = self._stretches.popleft().last
        return self._newest

    @property
    def in_flight(self) -> int:
        """Items not acknowledged yet."""
        return sum(stretch.in_flight for stretch in self._stretches)

    def oldest_seconds(self, now: float) -> float:
        """How long the oldest incomplete stretch has waited for acknowledgements; 0 if none waits."""
        waiting = next((stretch for stretch in self._stretches if stretch.in_flight), None)
        return 0.0 if waiting is None else now - waiting.since


class Stretch(Generic[ItemT]):
    """Consecutive items, of whose acknowledgements only the number is kept."""

    __slots__ = ("_acknowledged", "last", "sent", "since")

    def __init__(self, now: float) -> None:
        self.since = now  # clock seconds of the first item's sending
        self.last: ItemT | None = None
        self.sent = 0
        self._acknowledged = 0

    @property
    def in_flight(self) -> int:
        """Items not acknowledged yet."""
        return self.sent - self._acknowledged

    def acknowledge(self, _: object = None) -> None:
        """Count one acknowledgement; which item it is for does not matter."""
        self._acknowledged += 1
