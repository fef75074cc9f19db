"""How many events and bytes go into one call, and what a recorder holds meanwhile."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshet.batches import FRAME_BYTES, MOST_BYTES, MOST_EVENTS, batches, id_batches
from freshet.errors import error_of
from freshet.events import review, view
from freshet.messages import event_message
from freshet.waiting import Held, Limits, Waiting, parted
from shared.pb.freshet.v1.events_pb2 import Event
from shared.pb.freshet.v1.recommender_pb2 import RecordEventsRequest

AWAY = error_of(grpc.StatusCode.UNAVAILABLE, "away")


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 7), st.integers(1, 700))
def test_batches_keep_the_order_and_both_limits(sizes: list[int], most: int, most_bytes: int) -> None:
    events = [Event(event_id=str(n), text="x" * size) for n, size in enumerate(sizes)]
    parts = list(batches(events, most, most_bytes))
    assert [event for part in parts for event in part] == events
    for part in parts:
        assert 1 <= len(part) <= most
        assert len(part) == 1 or RecordEventsRequest(events=part).ByteSize() <= most_bytes


def test_each_is_as_large_as_the_limits_allow() -> None:
    events = [Event(event_id=str(n)) for n in range(2 * MOST_EVENTS + 1)]
    assert [len(part) for part in batches(events)] == [MOST_EVENTS, MOST_EVENTS, 1]
    large = [event_message(review("ann", "p", text="x" * 900_000)) for _ in range(20)]
    parts = list(batches(large))
    assert [len(part) for part in parts] == [9, 9, 2]
    assert all(RecordEventsRequest(events=part).ByteSize() <= MOST_BYTES for part in parts)
    assert list(batches([])) == []
    assert list(id_batches(map(str, range(5)), 2)) == [["0", "1"], ["2", "3"], ["4"]]


def test_a_frame_is_never_more_than_is_reckoned() -> None:
    for size in (0, 1, 127, 128, 20_000, 3_000_000):
        event = Event(text="x" * size)
        assert RecordEventsRequest(events=[event]).ByteSize() <= event.ByteSize() + FRAME_BYTES


def held(n: int, size: int = 0) -> Held:
    return Held.of(review("ann", str(n), text="x" * size))


def test_a_batch_is_due_when_it_is_full_or_its_first_event_has_waited() -> None:
    waiting = Waiting(Limits(most_events=3, longest_seconds=2.0))
    assert waiting.due_in(0.0) is None
    waiting.add(held(0), 10.0)
    waiting.add(held(1), 11.0)
    assert waiting.due_in(11.5) == pytest.approx(0.5)
    assert waiting.due_in(13.0) == 0.0
    waiting.add(held(2), 11.5)
    waiting.add(held(3), 11.6)
    assert waiting.due_in(11.6) == 0.0
    assert [one.event.product for one in waiting.take()] == ["0", "1", "2"]
    assert waiting.due_in(11.7) == pytest.approx(1.9)


def test_a_batch_is_due_when_its_bytes_are_reached_and_stays_within_them() -> None:
    size = held(0, 1_000).size
    waiting = Waiting(Limits(most_bytes=2 * size + 5))
    for n in range(3):
        assert waiting.due_in(0.0) != 0.0
        waiting.add(held(n, 1_000), 0.0)
    assert waiting.due_in(0.0) == 0.0
    assert len(waiting.take()) == 2
    waiting = Waiting(Limits(most_bytes=10))
    waiting.add(held(0, 1_000), 0.0)
    assert len(waiting.take()) == 1, "one too large for a call is sent alone, and the service says what is wrong"


def test_hurry_makes_due_what_waits_now_and_nothing_later() -> None:
    waiting = Waiting(Limits(most_events=2, longest_seconds=60.0))
    for n in range(3):
        waiting.add(held(n), 0.0)
    waiting.hurry()
    assert len(waiting.take()) == 2
    waiting.add(held(3), 0.0)
    assert waiting.due_in(0.0) == 0.0
    assert len(waiting.take()) == 2
    waiting.add(held(4), 0.0)
    assert waiting.due_in(0.0) == 60.0


def test_memory_is_bounded_in_events_and_in_bytes_until_they_are_settled() -> None:
    waiting = Waiting(Limits(most_events=2, most_held=2))
    assert waiting.has_room_for(held(0))
    waiting.add(held(0), 0.0)
    waiting.add(held(1), 0.0)
    assert not waiting.has_room_for(held(2))
    batch = waiting.take()
    assert not waiting.has_room_for(held(2)), "on their way they are held, too"
    waiting.settle(batch, [(batch[1], AWAY)])
    assert waiting.has_room_for(held(2))
    waiting.add(held(2), 0.0)
    assert not waiting.has_room_for(held(3)), "what failed is held until it is told of"
    error = waiting.undelivered()
    assert error is not None
    assert error.events == (batch[1].event,)
    assert error.causes == (AWAY,)
    assert waiting.undelivered() is None
    assert waiting.has_room_for(held(3))

    size = held(0, 1_000).size
    waiting = Waiting(Limits(most_held_bytes=2 * size))
    assert waiting.has_room_for(held(0, 1_000_000)), "an empty one takes any"
    waiting.add(held(0, 1_000), 0.0)
    assert waiting.has_room_for(held(1, 1_000))
    assert not waiting.has_room_for(held(1, 1_001))


def test_of_a_batch_refused_for_one_event_the_others_are_sent_again() -> None:
    batch = [held(n) for n in range(3)]
    refused = error_of(grpc.StatusCode.INVALID_ARGUMENT, "events[1].rating: 1 to 5, got 9")
    assert parted(batch, refused) == ([batch[1]], [batch[0], batch[2]])
    assert parted(batch, error_of(grpc.StatusCode.INVALID_ARGUMENT, "events[7]: no such")) == (batch, [])
    assert parted(batch, AWAY) == (batch, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"most_events": 0}, {"most_events": 1_001}, {"most_bytes": 0}, {"most_held": 0}, {"most_held_bytes": 0},
        {"longest_seconds": -1.0}, {"timeout": 0.0}, {"when_full": "drop"},
    ],
)  # fmt: skip
def test_limits_that_cannot_be_kept_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]


def test_an_event_added_is_the_event_given_back() -> None:
    event = view("ann", "p")
    assert Held.of(event).event is event
