"""The ordered reader on a real log: event-time order over partitions, each event once, from any point on."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from shared.log import ordered
from shared.log.merge import Positioned
from shared.log.ordered import OrderedReader, ReaderSnapshot
from shared.log.records import DAY_MS
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import KafkaSettings
from shared.process.telemetry import FEW, SECONDS
from tests.support.states import review, shoppers, write
from tests.support.writing import writer

COUNT = 600


def reader(kafka: KafkaSettings, snapshot: ReaderSnapshot | None = None, *, silence: float = 1e9) -> OrderedReader:
    return OrderedReader(kafka, Topics.of(kafka).states, snapshot=snapshot, silence_seconds=silence)


def read(source: OrderedReader, count: int, *, most: int = 10_000) -> list[Positioned]:
    """The next `count` events and what ticks lie between; all of them must come."""
    came: list[Positioned] = []
    for _ in range(1000):
        came += source.poll(0.1, most)
        if len(events_of(came)) >= count:
            return came
    raise AssertionError(f"only {len(events_of(came))} of {count} events came")


def events_of(items: Iterable[Positioned]) -> list[pb.StateVector]:
    return [item.state for item in items if item.state.kind != pb.EVENT_KIND_TICK]


def places(items: Iterable[Positioned]) -> list[tuple[int, int]]:
    """Where events stood, in the order they came; ticks of one time may come in any."""
    return [(item.partition, item.offset) for item in items if item.state.kind != pb.EVENT_KIND_TICK]


def test_a_backlog_comes_out_in_order_of_event_time(kafka: KafkaSettings) -> None:
    """Few ticks: each partition alone holds the whole range of time, as after a replay nobody read."""
    written = list(shoppers(COUNT))
    write(kafka, written, tick_every=10**9)
    source = reader(kafka)
    came = read(source, COUNT)
    assert len(events_of(came)) == COUNT
    assert {item.partition for item in came} == set(range(kafka.partitions))
    keys = [(item.state.event_time_ms, item.partition, item.offset) for item in came]
    assert keys == sorted(keys)
    assert sorted(state.sequence for state in events_of(came)) == list(range(1, COUNT + 1))
    assert source.ordered
    assert source.newest_ms == written[-1].event_time_ms + 1
    reached = {str(item.partition): item.state.event_time_ms for item in came}  # of each partition the last
    assert source.snapshot()["watermarks"] == reached
    source.close()


def test_nothing_is_handed_out_before_the_others_have_passed_it(kafka: KafkaSettings) -> None:
    write(kafka, [review(f"u{n}", "p", n) for n in range(30)], tick_every=10**9)
    source = reader(kafka)
    came = read(source, 30)
    assert len(events_of(came)) == 30
    write(kafka, [review("u0", f"q{n}", 40 + n) for n in range(3)], tick_every=10**9, first_offset=100, source="b/0")
    # One partition went on, with a tick in all of them: its events are passed by the ticks.
    assert [state.product_id for state in events_of(read(source, 3))] == ["q0", "q1", "q2"]
    source.close()


@pytest.mark.parametrize("stop_after", [0, 1, 250, COUNT - 1])
def test_a_snapshot_gives_the_rest_exactly(kafka: KafkaSettings, stop_after: int) -> None:
    written = list(shoppers(COUNT))
    for late in written[5::10]:
        late.event_time_ms -= 9 * DAY_MS
    write(kafka, written)
    whole = reader(kafka)
    expected = places(read(whole, COUNT))
    whole.close()
    first = reader(kafka)
    begun = read(first, stop_after, most=7) if stop_after else []
    snapshot: ReaderSnapshot = json.loads(json.dumps(first.snapshot()))
    first.poll(0.1)  # what is handed out afterwards is not in the snapshot
    first.close()
    second = reader(kafka, snapshot)
    rest = read(second, COUNT - len(events_of(begun)))
    assert places(begun) + places(rest) == expected
    assert second.repeats == 0
    second.close()


def test_a_replay_written_twice_counts_once(kafka: KafkaSettings) -> None:
    write(kafka, shoppers(COUNT))
    write(kafka, shoppers(COUNT), first_offset=10_000)  # resumed from its very beginning
    write(kafka, [review("last", "p", 1000)], first_offset=20_000, source="end/0")
    source = reader(kafka)
    came = read(source, COUNT + 1)
    assert len(events_of(came)) == COUNT + 1
    assert source.repeats == COUNT
    # The same again after a restart, from marks instead of memory.
    kept = source.snapshot()
    source.close()
    write(kafka, shoppers(COUNT), first_offset=30_000)
    write(kafka, [review("very last", "p", 1001)], first_offset=40_000, source="end/1")
    again = reader(kafka, kept)
    assert [state.user_id for state in events_of(read(again, 1))] == ["very last"]
    assert again.repeats == COUNT
    again.close()


def test_a_silent_partition_is_waited_for_only_so_long(kafka: KafkaSettings) -> None:
    """No ticks, and one partition without a single record."""
    topic = Topics.of(kafka).states
    producer = writer(kafka)
    for n in range(4):
        state = review(f"u{n}", "p", n)
        state.source, state.sequence, state.source_offset = "test/0", n + 1, n
        producer.send(topic, key=b"u", value=state.SerializeToString(), partition=n % 2)
    producer.flush(20)
    patient = reader(kafka)
    while patient.waiting < 4 or not patient.caught_up:
        assert places(patient.poll(0.1)) == []
    assert places(patient.poll(0.1)) == []
    assert patient.ordered
    patient.close()
    hasty = reader(kafka, silence=0.2)
    assert [state.user_id for state in events_of(read(hasty, 4))] == ["u0", "u1", "u2", "u3"]
    assert not hasty.ordered
    kept = hasty.snapshot()
    hasty.close()
    later = reader(kafka, kept)
    assert not later.ordered, "for good"
    later.close()


def test_live_events_wait_for_nobody(kafka: KafkaSettings) -> None:
    """No ticks, and one partition without a single record; then a replay of years ago, and more of today meanwhile."""
    topic = Topics.of(kafka).states
    producer = writer(kafka)

    def shop(first: int, *, count: int = 3) -> None:
        for n in range(first, first + count):
            state = review("u", f"live{n}", 10_000 + n)
            state.event_id, state.source_offset, state.recorded_ms = f"e{n}", 1000 * n, 1_000_000 + n
            producer.send(topic, key=b"u", value=state.SerializeToString(), partition=n % 2)
        producer.flush(20)

    shop(0)
    source = reader(kafka)
    assert sorted(state.product_id for state in events_of(read(source, 3))) == ["live0", "live1", "live2"]
    write(kafka, shoppers(200), first_offset=10_000)
    shop(20)
    write(kafka, [review("last", "p", 1000)], first_offset=30_000, source="end/0")
    shop(40)
    rest = [state.product_id for state in events_of(read(source, 200 + 3 + 1 + 3))]
    assert sorted(rest[-3:]) == ["live40", "live41", "live42"]
    assert {"live20", "live21", "live22"} < set(rest)
    assert source.ordered
    source.close()


def test_what_can_not_be_read_is_left_out_and_counted(kafka: KafkaSettings) -> None:
    topic = Topics.of(kafka).states
    producer = writer(kafka)
    for junk in (b"\xff junk", b"", None, pb.StateVector(kind=pb.EVENT_KIND_REVIEW).SerializeToString()):
        producer.send(topic, key=b"u", value=junk, partition=1)
    producer.flush(20)
    write(kafka, shoppers(20))
    source = reader(kafka)
    assert len(events_of(read(source, 20))) == 20
    assert source.unreadable == 4
    source.close()


def test_a_partition_far_ahead_is_held_back_and_nothing_is_lost(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordered, "MOST_AHEAD", 40)
    monkeypatch.setattr(ordered, "LEAST_AHEAD", 10)
    # All of one user, so of one partition, then the ticks that let it go.
    write(kafka, [review("u", f"p{n}", n) for n in range(3000)], tick_every=50)
    source = reader(kafka)
    came = read(source, 3000, most=20)
    assert [state.product_id for state in events_of(came)] == [f"p{n}" for n in range(3000)]
    source.close()


def test_a_flood_of_states_that_can_not_be_read_is_counted_and_its_log_is_short(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    topic = Topics.of(kafka).states
    producer = writer(kafka)
    for n in range(100):
        producer.send(topic, key=b"u", value=b"\xff%d" % n, partition=0)
    producer.flush(30)
    source = OrderedReader(kafka, topic, silence_seconds=1e9, clock=lambda: now)
    while source.unreadable < 100:
        source.poll(0.1)
    logged = [record.getMessage() for record in caplog.records if record.name == "ordered"]
    assert [line.partition(" left")[0] for line in logged] == [f"{topic} [0] offset {n}" for n in range(FEW)]
    now += SECONDS
    source.poll(0.0)
    (logged_later,) = [record.getMessage() for record in caplog.records if record.name == "ordered"][FEW:]
    assert logged_later.startswith(f"{100 - FEW} more in 10 s, the newest: {topic} [0] offset 99 left out: ")
    source.close()
