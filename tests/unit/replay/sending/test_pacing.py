"""The pace, on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.sending.script import Lateness, PaceOptions, Pacer, ReplayPace, behind
from shared.log.records import DAY_MS

START_MS = 1_300_060_800_000.0


class VirtualTime:
    """A clock that only naps and work move on; naps last a little too long, as real ones do."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    def nap(self, seconds: float) -> None:
        self.now += seconds * 1.01 + 0.0002


def sent_at(
    pace: ReplayPace, spread_ms: list[float], work: dict[int, float] | None = None
) -> list[tuple[float, float]]:
    """When each event went, in seconds after the start, and how late that was; `work` takes time before an event."""
    time = VirtualTime()
    pacer = Pacer(time.clock, time.nap)
    went = []
    for place, at in enumerate(spread_ms):
        pacer.wait(pace.due(place, at), lambda: None)
        went.append((time.now - 1000.0, pacer.behind_seconds))
        time.now += (work or {}).get(place, 0.00001)
    return went


def evenly(days: int, per_day: int) -> list[float]:
    return [START_MS + DAY_MS * (day + n / per_day) for day in range(days) for n in range(per_day)]


def paces() -> Iterator[tuple[str, PaceOptions, float]]:
    """What is asked for 3,650 days with 3 events each, and the time that takes."""
    yield "within", PaceOptions(within_seconds=60), 60
    yield "evenly", PaceOptions(within_seconds=60, evenly=True), 60
    yield "speed", PaceOptions(speed=1_000_000), 3650 * 86400 / 1_000_000
    yield "rate", PaceOptions(rate=400), 3650 * 3 / 400


def test_evenly_goes_by_number_where_within_goes_by_time() -> None:
    back_heavy = [START_MS, START_MS + DAY_MS * 8, START_MS + DAY_MS * 9, START_MS + DAY_MS * 10]
    options = PaceOptions(within_seconds=40, evenly=True)
    pace = ReplayPace.of(options, START_MS, START_MS + 10 * DAY_MS, len(back_heavy))
    assert [pace.due(place, at) for place, at in enumerate(back_heavy)] == [0, 10, 20, 30]


@pytest.mark.parametrize(("options", "seconds"), [(a, s) for _, a, s in paces()], ids=[name for name, _, _ in paces()])
def test_it_keeps_to_the_pace_within_one_percent(options: PaceOptions, seconds: float) -> None:
    events = evenly(3650, 3)
    pace = ReplayPace.of(options, START_MS, START_MS + 3650 * DAY_MS, len(events))
    assert pace.duration_seconds == pytest.approx(seconds)
    assert pace.mean_rate == pytest.approx(len(events) / seconds)
    went = sent_at(pace, events)
    for share in (0.1, 0.25, 0.5, 0.75, 1.0):
        when, _ = went[int(share * len(events)) - 1]
        assert when == pytest.approx(seconds * share, rel=0.01)


def test_without_a_limit_nothing_waits() -> None:
    pace = ReplayPace.of(PaceOptions(), START_MS, START_MS + 10 * DAY_MS, 30)
    assert sent_at(pace, evenly(10, 3), dict.fromkeys(range(30), 0.0)) == [(0.0, 0.0)] * 30
    assert (pace.duration_seconds, pace.mean_rate) == (0, 0)


def test_a_stalled_producer_catches_up_and_keeps_the_pace() -> None:
    events = evenly(600, 10)
    pace = ReplayPace.of(PaceOptions(within_seconds=60), START_MS, START_MS + 600 * DAY_MS, len(events))
    went = sent_at(pace, events, {2000: 10.0})  # due at 20 s
    assert went[2000][1] < 0.01
    assert went[2001] == (pytest.approx(30.0, abs=0.1), pytest.approx(10.0, abs=0.1))
    assert all(behind > 5 for _, behind in went[2001:2400])
    assert went[3100][1] < 0.01
    assert went[-1][0] == pytest.approx(60, rel=0.01)


def test_what_happens_meanwhile_gets_its_turn_and_may_end_the_wait() -> None:
    time = VirtualTime()
    pacer = Pacer(time.clock, time.nap)
    pacer.wait(0.0, lambda: pytest.fail("due at once"))
    turns = []
    pacer.wait(5.0, lambda: turns.append(time.now))
    assert len(turns) > 40

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        pacer.wait(1000.0, stop)


def test_a_resumed_replay_is_not_late() -> None:
    time = VirtualTime()
    pacer = Pacer(time.clock, time.nap)
    pacer.wait(40.0, lambda: pytest.fail("the first one sets the start"))
    assert pacer.behind_seconds == 0


def test_it_is_late_when_the_broker_owes_an_acknowledgement() -> None:
    assert behind(-0.05, 0.0) == 0
    assert behind(-0.05, 0.9) == 0, "brokers take a moment"
    assert behind(-0.05, 9.0) == 9
    assert behind(12.0, 9.0) == 12


@given(st.lists(st.floats(0, 30), min_size=1))
def test_lateness_is_told_once_and_its_end_once(readings: list[float]) -> None:
    lateness = Lateness()
    changes = [turned for reading in readings if (turned := lateness.turned(reading))]
    assert changes[::2] == ["late"] * len(changes[::2])
    assert changes[1::2] == ["caught up"] * len(changes[1::2])
    assert bool(changes) == any(reading > 2 for reading in readings)
