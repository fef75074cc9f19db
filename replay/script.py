"""What is sent, in which order, and when: the events of a dataset with ticks between them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from replay.ordered_copy import Extent, Ordered
from replay.pacing import Pace
from shared.events import END_MS
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Event
from shared.times import DAY_MS


class Cue(NamedTuple):
    """One message and when it is due, in seconds after the start of the first loop; None: at once."""

    due: float | None
    event_time_ms: int
    key: bytes | None  # None: a tick, for every partition
    value: bytes  # an `Event`
    place: int  # of an event among those selected, counted from 0; of a tick the events before it
    sequence: int = 0  # 0: a tick

    @property
    def event(self) -> Event:
        """The message itself."""
        return Event.FromString(self.value)


@dataclass(frozen=True, slots=True)
class Script:
    """Turns the ordered events of a selection into messages, loop after loop.

    A tick says that every event before its time was sent: it has the time of the event that follows it. One comes every
    `tick_events` events, in quiet stretches every `tick_seconds` of the schedule, and one after all events of a loop.
    Where they lie follows from the dataset and the pace alone, never from a clock.

    In loop n all event times are n times (the range and a day) later, so that time goes on; in all of them they are
    `moved_ms` later, or earlier where that is negative.
    """

    fingerprint: str
    extent: Extent
    pace: Pace
    tick_events: int
    tick_seconds: float
    moved_ms: int = 0

    @property
    def shift_ms(self) -> int:
        """What event times grow by from one loop to the next."""
        return self.extent.last_ms - self.extent.first_ms + DAY_MS

    @property
    def most_loops(self) -> int:
        """The loops after which event times would pass what an event may hold."""
        return (END_MS - 2 - self.extent.last_ms - self.moved_ms) // self.shift_ms + 1

    def loop(self, number: int, events: Iterable[Ordered], first_place: int = 0) -> Iterator[Cue]:
        """The messages of one loop, from the event at `first_place` on."""
        source = f"{self.fingerprint}/{number}"
        # Put after a stored event, it says what is new of it: of a field that comes twice, protobuf takes the last.
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


def _tick(due: float | None, event_time_ms: int, source: str, place: int) -> Cue:
    event = Event(kind=EVENT_KIND_TICK, event_time_ms=event_time_ms, source=source)
    return Cue(due, event_time_ms, None, event.SerializeToString(), place)
