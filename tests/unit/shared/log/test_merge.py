"""One order over all partitions, however their records arrive."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.merge import OrderedMerge, Positioned
from shared.pb.freshet.v1 import events_pb2 as pb

PARTITIONS = 3


def nobody(partition: int) -> bool:
    """No partition is silent."""
    return False


def everybody(partition: int) -> bool:
    """Every partition was read to its end."""
    return True


def record(partition: int, offset: int, event_time_ms: int) -> Positioned:
    state = pb.StateVector(event_time_ms=event_time_ms, kind=pb.EVENT_KIND_VIEW, source="replay/0", sequence=1)
    return Positioned(state, partition, offset, 0)


def tick(partition: int, offset: int, event_time_ms: int) -> Positioned:
    state = pb.StateVector(event_time_ms=event_time_ms, kind=pb.EVENT_KIND_TICK, source="replay/0")
    return Positioned(state, partition, offset, 0)


def live(partition: int, offset: int, *, recorded_ms: int, event_time_ms: int = 10**12) -> Positioned:
    state = pb.StateVector(event_time_ms=event_time_ms, kind=pb.EVENT_KIND_VIEW, recorded_ms=recorded_ms)
    return Positioned(state, partition, offset, recorded_ms)


def released(
    merge: OrderedMerge,
    is_silent: Callable[[int], bool] = nobody,
    is_at_end: Callable[[int], bool] = everybody,
) -> list[tuple[int, int, int]]:
    """(event time it counts as, partition, offset) of all that can go now."""
    return [(t, item.partition, item.offset) for t, item in merge.release(is_at_end, is_silent)]


@given(
    st.lists(st.lists(st.integers(1, 12), max_size=12), min_size=PARTITIONS, max_size=PARTITIONS),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
)
def test_every_interleaving_gives_the_same_order(
    times: list[list[int]], rng: random.Random, release_every: int
) -> None:
    """Late events among them; a tick beyond all in each partition at the end."""
    end = 13
    merge = OrderedMerge(dict.fromkeys(range(PARTITIONS), 0))
    logs = [
        [record(partition, offset, t) for offset, t in enumerate([*of_one, end])]
        for partition, of_one in enumerate(times)
    ]
    expected = []
    for log in logs:
        reached = 0
        for item in log:
            reached = max(reached, item.state.event_time_ms)
            expected.append((reached, item.partition, item.offset))
    arrivals = [partition for partition, log in enumerate(logs) for _ in log]
    rng.shuffle(arrivals)
    merged = []
    for n, partition in enumerate(arrivals):
        merge.push(logs[partition].pop(0))
        if n % release_every == 0:
            merged += released(merge)
    merged += released(merge)
    assert [entry for entry in merged if entry[0] < end] == sorted(entry for entry in expected if entry[0] < end)
    assert merge.ordered
    assert sum(merge.waiting(partition) for partition in range(PARTITIONS)) == len(expected) - len(merged)


def test_nothing_goes_before_every_partition_has_passed_it() -> None:
    merge = OrderedMerge({0: 0, 1: 0})
    merge.push(record(0, 0, 5))
    assert released(merge) == []
    merge.push(record(1, 0, 3))
    assert released(merge) == [(3, 1, 0)]
    merge.push(record(1, 1, 5))
    assert released(merge) == [(5, 0, 0)], "partition 0 may still bring records of time 5, which go before those of 1"
    merge.push(record(0, 1, 6))
    assert released(merge) == [(5, 1, 1)]
    assert (merge.waiting(0), merge.waiting(1)) == (1, 0)


def test_a_late_event_counts_as_of_the_time_already_reached() -> None:
    merge = OrderedMerge({0: 0, 1: 0})
    for offset, t in enumerate([10, 4, 11]):
        merge.push(record(0, offset, t))
    merge.push(record(1, 0, 10))
    merge.push(record(1, 1, 12))
    assert released(merge) == [(10, 0, 0), (10, 0, 1), (10, 1, 0), (11, 0, 2)]
    assert merge.ordered


def test_what_was_reached_before_a_pause_still_counts() -> None:
    merge = OrderedMerge({0: 8, 1: 9})
    merge.push(record(0, 70, 5))
    merge.push(record(0, 71, 9))
    merge.push(record(0, 72, 10))
    assert released(merge) == [(8, 0, 70)]
    merge.push(tick(1, 5, 10))
    assert released(merge) == [(9, 0, 71), (10, 1, 5)]


def test_a_silent_partition_is_not_waited_for_and_that_is_remembered() -> None:
    merge = OrderedMerge({0: 0, 1: 0, 2: 0})
    merge.push(record(0, 0, 5))
    merge.push(record(2, 0, 4))
    merge.push(record(2, 1, 6))
    assert released(merge, lambda partition: partition == 1) == [(4, 2, 0), (5, 0, 0)]
    assert not merge.ordered
    merge.push(record(1, 0, 2))  # back again, too late for its place, but not lost
    assert released(merge) == [(2, 1, 0)]
    merge.push(record(1, 1, 7))
    merge.push(record(0, 1, 7))
    assert released(merge) == [(6, 2, 1)]
    assert not merge.ordered, "for good"


def test_silence_that_holds_nothing_back_leaves_the_order_whole() -> None:
    merge = OrderedMerge({0: 0, 1: 0})
    assert released(merge, lambda _: True) == []
    merge.push(record(1, 0, 9))
    merge.push(record(0, 0, 5))
    assert released(merge, lambda partition: partition == 1) == [(5, 0, 0)]
    assert merge.ordered, "the silent partition had passed all that went"
    merge.push(record(0, 1, 10))
    assert released(merge) == [(9, 1, 0)]
    assert released(merge, lambda partition: partition == 1) == [(10, 0, 1)]
    assert not merge.ordered


def test_a_reader_that_stops_in_the_middle_finds_the_rest_next_time() -> None:
    merge = OrderedMerge({0: 0, 1: 0})
    for offset in range(4):
        merge.push(record(0, offset, 5 + offset))
    taken = []
    for t, item in merge.release(everybody, lambda partition: partition == 1):
        taken.append((t, item.partition, item.offset))
        if len(taken) == 2:
            break
    assert taken == [(5, 0, 0), (6, 0, 1)]
    merge.push(record(1, 0, 1))
    assert released(merge, lambda partition: partition == 1) == [(1, 1, 0), (7, 0, 2), (8, 0, 3)]


def test_a_record_of_an_unknown_partition_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        OrderedMerge({0: 0}).push(record(1, 0, 1))


def test_a_partition_not_read_to_its_end_is_waited_for_whatever_comes() -> None:
    merge = OrderedMerge({0: 0, 1: 0})
    merge.push(live(1, 0, recorded_ms=7))
    assert released(merge, everybody, is_at_end=lambda partition: partition == 1) == []
    assert released(merge, nobody) == [(0, 1, 0)]


def test_live_events_of_all_partitions_come_as_they_were_recorded() -> None:
    """As a reader meets them that starts with a backlog, whatever partition it is given first."""
    merge = OrderedMerge({0: 0, 1: 0})
    for offset, recorded_ms in enumerate([1, 4, 6]):
        merge.push(live(1, offset, recorded_ms=recorded_ms))
    merge.push(live(0, 0, recorded_ms=5))
    assert released(merge, is_at_end=nobody) == [(0, 1, 0), (0, 1, 1), (0, 0, 0)]
    assert released(merge) == [(0, 1, 2)], "nothing more lies in partition 0"
    assert merge.ordered


def test_a_live_event_stands_at_its_place_in_the_log_of_a_replay() -> None:
    """Today's event neither waits for the years that a backfill has yet to send, nor holds them up."""
    merge = OrderedMerge({0: 0, 1: 0})
    for partition in (0, 1):
        merge.push(tick(partition, 0, 10))
    merge.push(record(0, 1, 10))
    merge.push(live(0, 2, recorded_ms=5))
    merge.push(live(1, 1, recorded_ms=6))
    assert released(merge) == [(10, 0, 0), (10, 1, 0), (10, 1, 1)], "partition 1 may still bring an event of time 10"
    merge.push(record(1, 2, 11))
    assert released(merge) == [(10, 0, 1), (10, 0, 2)]
    for partition, offset in ((0, 3), (1, 3)):
        merge.push(tick(partition, offset, 12))
    assert released(merge) == [(11, 1, 2), (12, 0, 3), (12, 1, 3)]
    merge.push(live(1, 4, recorded_ms=8))
    assert released(merge) == [(12, 1, 4)], "the replay has ended, and nobody waits for another"
    assert merge.ordered


def test_live_events_change_nothing_in_the_order_of_replayed_ones() -> None:
    rng = random.Random(5)
    orders = []
    for share in (0.0, 0.5):
        merge = OrderedMerge(dict.fromkeys(range(PARTITIONS), 0))
        offsets = [0] * PARTITIONS
        merged = []
        for t in range(1, 200):
            for partition in range(PARTITIONS) if t % 10 == 0 else [t % 7 % PARTITIONS]:
                made = tick(partition, 10_000 + t, t) if t % 10 == 0 else record(partition, t, t // 3 * 3)
                merge.push(made)
                if rng.random() < share:
                    merge.push(live(partition, 20_000 + offsets[partition], recorded_ms=t))
                    offsets[partition] += 1
            merged += released(merge)
        assert merge.ordered
        assert sum(offsets) == sum(offset >= 20_000 for _, _, offset in merged) + sum(
            item.state.source == "" for p in range(PARTITIONS) for _, item in merge._queues[p]
        )
        orders.append([entry for entry in merged if entry[2] < 10_000])
    assert orders[0] == orders[1]


def test_a_replay_killed_between_its_ticks_holds_live_events_up_only_until_it_counts_as_silent() -> None:
    merge = OrderedMerge({0: 0, 1: 0})
    for partition in (0, 1):
        merge.push(tick(partition, 0, 10))
    merge.push(record(0, 1, 15))
    merge.push(live(0, 2, recorded_ms=5))
    assert released(merge) == [(10, 0, 0), (10, 1, 0)]
    assert released(merge, lambda partition: partition == 1) == [(15, 0, 1), (15, 0, 2)]
    assert not merge.ordered
