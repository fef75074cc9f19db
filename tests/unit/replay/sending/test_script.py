"""Events and the ticks between them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.order.ordered_copy import Extent, Ordered
from replay.sending.script import Cue, PaceOptions, ReplayPace, Script
from shared.log.records import DAY_MS, END_MS
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_REVIEW, EVENT_KIND_TICK, Event

START_MS = 1_300_060_800_000


def event(n: int, event_time_ms: int) -> Event:
    return Event(kind=EVENT_KIND_REVIEW, user_id=f"u{n}", product_id="p", event_time_ms=event_time_ms)


def ordered(times_ms: Sequence[int], first: int = 1) -> list[Ordered]:
    return [Ordered(n, t, b"u%d" % n, event(n, t).SerializeToString(), t) for n, t in enumerate(times_ms, start=first)]


def script(times_ms: Sequence[int], options: PaceOptions, *, tick_events: int = 3, tick_seconds: float = 1e9) -> Script:
    extent = Extent(len(times_ms), 1, len(times_ms), times_ms[0], times_ms[-1])
    pace = ReplayPace.of(options, times_ms[0], times_ms[-1] + DAY_MS, len(times_ms))
    return Script("abc", extent, pace, tick_events, tick_seconds)


def shown(cues: list[Cue]) -> list[str]:
    """`3@20` for the event of sequence 3 and day 20, `tick@20` for a tick."""
    return [
        f"{'tick' if cue.event.kind == EVENT_KIND_TICK else cue.event.sequence}"
        f"@{(cue.event.event_time_ms - START_MS) // DAY_MS}"
        for cue in cues
    ]


DAYS = [START_MS + day * DAY_MS for day in (0, 0, 1, 5, 5, 9, 9, 9)]


def test_a_tick_comes_every_so_many_events_and_at_the_end() -> None:
    cues = list(script(DAYS, PaceOptions()).loop(0, ordered(DAYS)))
    assert shown(cues) == ["1@0", "2@0", "3@1", "tick@5", "4@5", "5@5", "6@9", "tick@9", "7@9", "8@9", "tick@9"]
    assert cues[-1].event.event_time_ms == DAYS[-1] + 1
    assert {cue.event.source for cue in cues} == {"abc/0"}
    assert {cue.due for cue in cues} == {None}


def test_resumed_it_has_its_ticks_at_the_same_places() -> None:
    whole = list(script(DAYS, PaceOptions()).loop(0, ordered(DAYS)))
    for after in range(len(DAYS)):
        rest = list(script(DAYS, PaceOptions()).loop(0, ordered(DAYS[after:], after + 1), after))
        assert shown(rest) == shown(whole)[-len(rest) :]


def test_quiet_stretches_have_ticks_that_look_ahead_to_the_next_event() -> None:
    times = [START_MS, START_MS + 10 * DAY_MS]
    cues = list(script(times, PaceOptions(speed=86_400), tick_seconds=4).loop(0, ordered(times)))
    assert shown(cues) == ["1@0", "tick@10", "tick@10", "2@10", "tick@10"]
    assert [cue.due for cue in cues] == [0, 4, 8, 10, 10]


def test_in_another_loop_time_goes_on_and_nothing_counts_as_a_repeat() -> None:
    options = script(DAYS, PaceOptions(within_seconds=10))
    cues = list(options.loop(2, ordered(DAYS)))
    assert {cue.event.source for cue in cues} == {"abc/2"}
    assert (cues[0].event.event_time_ms - START_MS) / DAY_MS == 2 * 10
    assert cues[0].due == 20
    assert options.loop(1, ordered(DAYS)) is not None
    last = list(options.loop(1, ordered(DAYS)))[-1].event.event_time_ms
    assert last <= cues[0].event.event_time_ms


def test_moved_in_time_only_event_times_are_others() -> None:
    plain = list(script(DAYS, PaceOptions(speed=86_400)).loop(1, ordered(DAYS)))
    moved = list(
        dataclasses.replace(script(DAYS, PaceOptions(speed=86_400)), moved_ms=-3 * DAY_MS).loop(1, ordered(DAYS))
    )  # fmt: skip
    assert [cue.event.event_time_ms - 3 * DAY_MS for cue in plain] == [cue.event.event_time_ms for cue in moved]
    assert [(cue.due, cue.event.source, cue.event.sequence) for cue in plain] == [
        (cue.due, cue.event.source, cue.event.sequence) for cue in moved
    ]


def test_loops_end_before_event_times_leave_the_range_that_events_may_have() -> None:
    options = script(DAYS, PaceOptions())
    most = options.most_loops
    assert dataclasses.replace(options, moved_ms=2 * options.shift_ms).most_loops == most - 2
    assert list(options.loop(most - 1, ordered(DAYS)))[-1].event.event_time_ms < END_MS
    assert DAYS[-1] + most * options.shift_ms + 1 >= END_MS


def test_loops_without_end_stop_before_event_times_pass_the_clock_by_more_than_a_day() -> None:
    options = script(DAYS, PaceOptions())  # each loop is 10 days later, and sent at once
    last_of_third_ms = DAYS[-1] + 2 * options.shift_ms
    assert options.loops_until(last_of_third_ms) == 3
    assert options.loops_until(last_of_third_ms - DAY_MS) == 3
    assert options.loops_until(last_of_third_ms - DAY_MS - 1) == 2
    assert options.loops_until(START_MS) == 1, "the dataset as it is"
    assert options.loops_until(END_MS * 2) == options.most_loops
    # Here a loop takes as long as event time goes on in it, so the clock keeps up.
    assert script(DAYS, PaceOptions(speed=1)).loops_until(DAYS[-1]) == options.most_loops
    # A loop takes 8 of its 10 days: the clock loses 2 a loop, and has 9 days and a day to lose.
    in_eight_days = script(DAYS, PaceOptions(rate=len(DAYS) / (8 * 86_400)))
    assert in_eight_days.loops_until(DAYS[0] + 2 * DAY_MS) == 1
    assert in_eight_days.loops_until(DAYS[-1]) == 5


def test_a_tick_can_be_given_another_time() -> None:
    tick = list(script(DAYS, PaceOptions(rate=2)).loop(0, ordered(DAYS)))[-1]
    earlier = tick.tick_at(START_MS)
    assert (earlier.event.event_time_ms, earlier.event.kind) == (START_MS, EVENT_KIND_TICK)
    assert (earlier.due, earlier.place, earlier.event.source) == (tick.due, tick.place, "abc/0")


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.integers(1, 10),
    st.floats(0.1, 20),
    st.sampled_from([PaceOptions(), PaceOptions(speed=86_400), PaceOptions(rate=2), PaceOptions(within_seconds=30)]),
)
def test_no_tick_ever_claims_more_than_was_sent(
    days: list[int], tick_events: int, tick_seconds: float, options: PaceOptions
) -> None:
    times = [START_MS + day * DAY_MS for day in sorted(days)]
    cues = list(script(times, options, tick_events=tick_events, tick_seconds=tick_seconds).loop(0, ordered(times)))
    events = [cue.event for cue in cues if cue.event.kind != EVENT_KIND_TICK]
    assert [event.sequence for event in events] == list(range(1, len(times) + 1))
    later = START_MS * 2
    for cue in reversed(cues):
        if cue.event.kind == EVENT_KIND_TICK:
            assert cue.event.event_time_ms <= later
        else:
            later = cue.event.event_time_ms
    dues = [cue.due for cue in cues if cue.due is not None]
    assert dues == sorted(dues)
    assert len(dues) in (0, len(cues))
    gaps = [b - a for a, b in itertools.pairwise(dues)]
    assert all(gap == pytest.approx(tick_seconds) or gap < tick_seconds for gap in gaps)
