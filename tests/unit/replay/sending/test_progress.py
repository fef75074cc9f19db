"""How late a replay is, on a virtual clock."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from replay.metrics import ReplayMetrics
from replay.order.ordered_copy import Selection
from replay.sending.progress import ReplayPosition, ReplayProgress, ReplayTask, SentEvent
from replay.sending.script import Cue, PaceOptions, ReplayPace, Script
from tests.support import snap
from tests.support.snap import everything, ordered, review


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def progress(folder: Path, options: PaceOptions, metrics: ReplayMetrics, clock: Clock) -> ReplayProgress:
    copy = ordered(snap.write(folder / "reviews", [review(n) for n in range(9)]), folder / "state")
    extent = everything(copy)
    pace = ReplayPace.of(options, extent.first_ms, extent.last_ms + 1, extent.events)
    task = ReplayTask(copy, Selection(), Script("f", extent, pace, 200, 1.0), loops=1)
    return ReplayProgress(
        task, ReplayPosition(fingerprint="f", log_identity="l", selection=Selection()), metrics, clock
    )


@pytest.fixture
def metrics() -> ReplayMetrics:
    return ReplayMetrics(CollectorRegistry())


def behind_seconds(metrics: ReplayMetrics) -> float:
    (sample,) = next(iter(metrics.behind.collect())).samples
    return sample.value


def test_a_broker_that_stands_still_is_told_while_the_queue_keeps_the_pace(
    tmp_path: Path, metrics: ReplayMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    stands = progress(tmp_path, PaceOptions(rate=1.0), metrics, clock)
    caplog.set_level(logging.INFO, logger="replay")
    stretches = []
    for place in range(9):  # each sent when it is due, none acknowledged
        stretches.append(stands.sent(SentEvent(0, Cue(None, 0, b"u", b"", place, place + 1))))
        clock.now += 1.0
        stands.measure(-0.1, in_flight=place + 1)
    assert behind_seconds(metrics) == 9
    assert stands.line(-0.1).endswith(", 9.0 s behind")
    for stretch in stretches:
        stretch.acknowledge()
    stands.measure(-0.1, in_flight=0)
    assert behind_seconds(metrics) == 0
    assert "behind" not in stands.line(-0.1)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "3.0 s behind the pace asked for",
        "caught up with the pace",
    ]


def test_as_fast_as_the_broker_takes_it_is_never_late(tmp_path: Path, metrics: ReplayMetrics) -> None:
    clock = Clock()
    stands = progress(tmp_path, PaceOptions(), metrics, clock)
    stands.sent(SentEvent(0, Cue(None, 0, b"u", b"", 0, 1)))
    clock.now += 9.0
    stands.measure(0.0, in_flight=1)
    assert behind_seconds(metrics) == 0
