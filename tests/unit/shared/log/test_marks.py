"""Each cause of repeats has its own mark."""

from __future__ import annotations

import json

from shared.log.merge import RECENT_EVENT_IDS, AppliedMarks
from shared.pb.freshet.v1 import events_pb2 as pb


def live(offset: int, event_id: str) -> pb.StateVector:
    return pb.StateVector(kind=pb.EVENT_KIND_REVIEW, source_offset=offset, event_id=event_id)


def replayed(offset: int, sequence: int, source: str = "file/0") -> pb.StateVector:
    return pb.StateVector(kind=pb.EVENT_KIND_REVIEW, source_offset=offset, source=source, sequence=sequence)


def tick(offset: int) -> pb.StateVector:
    return pb.StateVector(kind=pb.EVENT_KIND_TICK, source_offset=offset, source="file/0")


def test_a_features_worker_that_sends_its_last_batch_again_changes_nothing() -> None:
    marks = AppliedMarks()
    assert marks.source_offset == -1
    batch = [live(0, "a"), tick(1), replayed(2, 1)]
    assert [marks.accept(state) for state in batch] == [True] * 3
    assert [marks.accept(state) for state in batch] == [False] * 3
    assert marks.source_offset == 2
    assert marks.accept(live(3, "b"))


def test_a_replay_that_sends_its_last_events_again_changes_nothing() -> None:
    marks = AppliedMarks()
    accepted = [marks.accept(replayed(offset, sequence)) for offset, sequence in enumerate([5, 9, 5, 9, 12, 9])]
    assert accepted == [True, True, False, False, True, False]
    assert marks.source_offset == 5, "what is left out has been seen"


def test_each_source_counts_for_itself_and_the_next_loop_is_another_source() -> None:
    marks = AppliedMarks()
    assert marks.accept(replayed(0, 8))
    assert marks.accept(replayed(1, 1, "file/1"))
    assert marks.accept(replayed(2, 1, "other/0"))
    assert not marks.accept(replayed(3, 8))


def test_a_client_that_retries_changes_nothing() -> None:
    marks = AppliedMarks()
    assert [marks.accept(live(offset, event_id)) for offset, event_id in enumerate("abaAb")] == [
        True,
        True,
        False,
        True,
        False,
    ]


def test_only_the_newest_event_ids_are_remembered() -> None:
    marks = AppliedMarks()
    for n in range(RECENT_EVENT_IDS + 1):
        assert marks.accept(live(n, f"e{n}"))
    assert not marks.accept(live(RECENT_EVENT_IDS + 1, "e1"))
    assert marks.accept(live(RECENT_EVENT_IDS + 2, "e0"))
    assert len(marks.snapshot()["event_ids"]) == RECENT_EVENT_IDS


def test_a_tick_is_no_event_and_needs_no_sequence() -> None:
    marks = AppliedMarks()
    assert marks.accept(replayed(0, 3))
    assert marks.accept(tick(1))
    assert marks.accept(tick(2))
    assert marks.snapshot() == {"source_offset": 2, "sequences": {"file/0": 3}, "event_ids": []}


def test_marks_survive_json() -> None:
    marks = AppliedMarks()
    for state in (live(4, "a"), replayed(7, 2), live(8, "b")):
        marks.accept(state)
    kept = AppliedMarks(json.loads(json.dumps(marks.snapshot())))
    assert kept.snapshot() == marks.snapshot()
    assert not kept.accept(live(8, "c"))
    assert not kept.accept(live(9, "a"))
    assert not kept.accept(replayed(10, 2))
    assert kept.accept(replayed(11, 3))
    assert marks.snapshot()["source_offset"] == 8, "the copy shares nothing with the original"
