"""What is sent, in which order and when: the events of a dataset, with ticks between them, at a pace.

A `Script` turns ordered events into messages (`Cue`), a `ReplayPace` says when each is due, and a `Pacer` waits for it.
Nothing here has a clock of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from replay.order.ordered_copy import Extent, Ordered
from shared.log.records import AHEAD_MS, DAY_MS, END_MS
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Event

# A replay that is so late says so once; it has caught up when it is no later than this.
LATE_SECONDS = 2.0
CAUGHT_UP_SECONDS = 0.2
# A broker that keeps up acknowledges sooner.
ACKNOWLEDGED_WITHIN_SECONDS = 1.0
_LONGEST_NAP_SECONDS = 0.1
_SHORTEST_NAP_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Script:
    """Turns the ordered events of a selection into messages, loop after loop.

    A tick says that every event before its time was sent; it has the time of the event after it. There is one every
    `tick_events` events, in quiet stretches one every `tick_seconds` of the schedule, and one at the end of a loop.
    Their places follow from the dataset and the pace alone, never from a clock.

    In loop n, from 0, event times are n times (the range and a day) later, so that time goes on. In every loop they are
    `moved_ms` later, or earlier if that is negative.
    """

    fingerprint: str
    extent: Extent
    pace: ReplayPace
    tick_events: int
    tick_seconds: float
    moved_ms: int = 0

    @property
    def shift_ms(self) -> int:
        """How much later event times are from one loop to the next."""
        return self.extent.last_ms - self.extent.first_ms + DAY_MS

    @property
    def most_loops(self) -> int:
        """How many loops fit before event times pass the year 2200."""
        return (END_MS - 2 - self.extent.last_ms - self.moved_ms) // self.shift_ms + 1

    def loops_until(self, now_ms: int) -> int:
        """How many loops hold no event that is due more than a day before its time: features would refuse it.

        At least 1: one loop is the dataset as it is.
        """
        gained_ms = self.shift_ms - self.pace.duration_seconds * 1000  # by event time on the clock, each loop
        if gained_ms <= 0:
            return self.most_loops
        due_seconds = self.pace.due(self.extent.events - 1, self.extent.last_ms) or 0.0
        left_ms = now_ms + due_seconds * 1000 + AHEAD_MS - self.extent.last_ms - self.moved_ms
        return max(1, min(self.most_loops, int(left_ms // gained_ms) + 1))

    def loop(self, number: int, events: Iterable[Ordered], first_place: int = 0) -> Iterator[Cue]:
        """The messages of one loop, from the event at `first_place` on."""
        source = f"{self.fingerprint}/{number}"
        # Appended to a stored event, it sets these fields: of a field that comes twice, protobuf takes the last.
        stamp = Event(source=source)
        shift_ms = self.moved_ms + number * self.shift_ms
        start = number * self.pace.duration_seconds
        ticked: float | None = None
        due: float | None = None
        for place, (sequence, time_ms, key, stored, spread_ms) in enumerate(events, start=first_place):
            stamp.sequence = sequence
            if shift_ms:
                time_ms += shift_ms
                stamp.event_time_ms = time_ms
            due = self.pace.due(place, spread_ms)
            due = None if due is None else start + due
            if ticked is None:
                ticked = due
            while due is not None and ticked is not None and due - ticked > self.tick_seconds:
                ticked += self.tick_seconds
                yield _tick(ticked, time_ms, source, place)
            if place and place % self.tick_events == 0:
                ticked = due
                yield _tick(due, time_ms, source, place)
            yield Cue(due, time_ms, key, stored + stamp.SerializeToString(), place, sequence)
        yield _tick(due, self.extent.last_ms + shift_ms + 1, source, self.extent.events)


class Cue(NamedTuple):
    """A message, and when it is due: seconds after the start of the first loop, None for at once."""

    due: float | None
    event_time_ms: int
    key: bytes | None  # None: a tick, for every partition
    value: bytes  # an `Event`
    place: int  # of an event: its place among those selected, from 0; of a tick: how many events precede it
    sequence: int = 0  # 0: a tick

    @property
    def event(self) -> Event:
        """The message itself."""
        return Event.FromString(self.value)

    def tick_at(self, event_time_ms: int) -> Cue:
        """This tick with another time."""
        return _tick(self.due, event_time_ms, self.event.source, self.place)


def _tick(due: float | None, event_time_ms: int, source: str, place: int) -> Cue:
    event = Event(kind=EVENT_KIND_TICK, event_time_ms=event_time_ms, source=source)
    return Cue(due, event_time_ms, None, event.SerializeToString(), place)


@dataclass(frozen=True, slots=True)
class ReplayPace:
    """The pace for one range of events.

    Attributes:
        start_ms, end_ms: the range of spread event times.
        events: how many the range holds.
        speed: event time / wall time; 0 if the pace does not follow event time.
        rate: events per second; 0 if the pace does not follow the number of events.
    """

    start_ms: float
    end_ms: float
    events: int
    speed: float = 0.0
    rate: float = 0.0

    @classmethod
    def of(cls, options: PaceOptions, start_ms: float, end_ms: float, events: int) -> ReplayPace:
        """The pace that the options mean for this range."""
        speed = options.speed or 0.0
        if options.within_seconds is not None and options.evenly:
            return cls(start_ms, end_ms, events, rate=events / options.within_seconds)
        if options.within_seconds is not None:
            speed = (end_ms - start_ms) / 1000 / options.within_seconds
        return cls(start_ms, end_ms, events, speed, options.rate or 0.0)

    @property
    def duration_seconds(self) -> float:
        """Wall time of the whole range; 0 without a limit."""
        if self.speed:
            return (self.end_ms - self.start_ms) / 1000 / self.speed
        return self.events / self.rate if self.rate else 0.0

    @property
    def mean_rate(self) -> float:
        """Events per second on average; 0 without a limit."""
        return self.events / self.duration_seconds if self.duration_seconds else 0.0

    def due(self, place: int, spread_ms: float) -> float | None:
        """When the event at `place`, from 0, is due: seconds after the start, None for at once."""
        if self.speed:
            return (spread_ms - self.start_ms) / 1000 / self.speed
        return place / self.rate if self.rate else None


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """The pace as options of the command line: one of them at most; without any, as fast as the broker accepts."""

    within_seconds: float | None = None  # the whole range within this time
    evenly: bool = False  # with `within_seconds`: by number of events, not by their times
    speed: float | None = None  # event time / wall time
    rate: float | None = None  # events per second


class Pacer:
    """Waits until something is due. The schedule is absolute, so delays are made up and nothing drifts."""

    def __init__(self, clock: Callable[[], float], nap: Callable[[float], None]) -> None:
        """`nap` sleeps for so many seconds at most."""
        self._clock = clock
        self._nap = nap
        self._start: float | None = None
        self.behind_seconds = 0.0

    def wait(self, due: float | None, meanwhile: Callable[[], None]) -> None:
        """Return when `due` has come; call `meanwhile` after every nap. The first call starts the schedule."""
        if due is None:
            return
        self.look(due)
        while self.behind_seconds < 0:
            self._nap(min(max(-self.behind_seconds, _SHORTEST_NAP_SECONDS), _LONGEST_NAP_SECONDS))
            meanwhile()
            self.look(due)

    def look(self, due: float | None) -> None:
        """Measure how late something due is; below 0 if it is early."""
        if due is None:
            return
        if self._start is None:
            self._start = self._clock() - due
        self.behind_seconds = self._clock() - self._start - due


def behind(pace_seconds: float, unacknowledged_seconds: float) -> float:
    """How late a replay is: by its next event, or by the oldest event that the broker should have acknowledged by now.

    The queue goes on accepting events at the pace long after the broker has stopped.
    """
    owed = unacknowledged_seconds if unacknowledged_seconds > ACKNOWLEDGED_WITHIN_SECONDS else 0.0
    return max(0.0, pace_seconds, owed)


class Lateness:
    """Notices when a replay falls behind, and when it has caught up, once each."""

    def __init__(self) -> None:
        self._is_late = False

    def turned(self, behind_seconds: float) -> Literal["late", "caught up"] | None:
        """What this measurement changes."""
        if not self._is_late and behind_seconds > LATE_SECONDS:
            self._is_late = True
            return "late"
        if self._is_late and behind_seconds < CAUGHT_UP_SECONDS:
            self._is_late = False
            return "caught up"
        return None
