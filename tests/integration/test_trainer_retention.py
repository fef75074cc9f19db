"""What the trainer removes of the models folder, with its announcements on a real broker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.trainer.metrics import TrainerMetrics
from services.trainer.publish import KEPT_NEWEST, Retention
from shared.log.clients import CountedProducer, producer_config
from shared.model.format import MANIFEST
from shared.pb.freshet.v1.events_pb2 import ModelVersion
from shared.process.settings import KafkaSettings
from tests.support.versions import announce, tiny_version


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def retention(kafka: KafkaSettings, tmp_path: Path, registry: CollectorRegistry) -> Iterator[Retention]:
    """Of the versions under `tmp_path`."""
    made = Retention(tmp_path, kafka, CountedProducer(producer_config(kafka)), TrainerMetrics(registry))
    yield made
    made.close()


def learned(root: Path, version_id: str) -> ModelVersion:
    """A version that the trainer takes for its own."""
    version = tiny_version(root, version_id, {"p0": 1.0})
    manifest = json.loads((root / version_id / MANIFEST).read_text())
    (root / version_id / MANIFEST).write_text(json.dumps(manifest | {"policy": "freshet"}))
    return version


def turn_until(retention: Retention, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        retention.turn()
        time.sleep(0.01)


def removal_failures(registry: CollectorRegistry) -> float:
    return registry.get_sample_value("freshet_trainer_removal_failures_total") or 0.0


def test_a_version_that_can_not_be_removed_stops_nothing_and_is_tried_again(
    retention: Retention,
    kafka: KafkaSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    registry: CollectorRegistry,
) -> None:
    names = [f"{n:012d}-{n:08x}" for n in range(1, KEPT_NEWEST + 5)]
    made = [learned(tmp_path, name) for name in names]
    announce(kafka, *made)
    linked, blocked, *others = names[:-KEPT_NEWEST]
    (tmp_path / linked).rename(tmp_path / ".elsewhere")
    (tmp_path / linked).symlink_to(".elsewhere", target_is_directory=True)  # which is not followed
    obstacle = tmp_path / f".{blocked}.removed"
    obstacle.write_text("in the way")
    before = removal_failures(registry)
    retention.make_due(made[-1])
    turn_until(retention, lambda: not any((tmp_path / name).exists() for name in others))
    assert removal_failures(registry) > before
    assert f"can't remove {tmp_path / blocked}" in caplog.text
    assert (tmp_path / blocked / MANIFEST).exists(), "whole, since it could not go"
    assert (tmp_path / ".elsewhere" / MANIFEST).exists()
    obstacle.unlink()
    retention.make_due(made[-1])
    turn_until(retention, lambda: not (tmp_path / blocked).exists())
    assert all((tmp_path / name / MANIFEST).exists() for name in names[-KEPT_NEWEST:])


def test_learning_anew_beside_ten_versions_of_the_same_hour_keeps_its_own(
    retention: Retention, kafka: KafkaSettings, tmp_path: Path
) -> None:
    """The new lineage has learned from fewer events than any version of the one before."""
    before = [f"{n:012d}-aaaaaaaa" for n in range(10_000, 10_000 + KEPT_NEWEST)]
    announce(kafka, *(learned(tmp_path, name) for name in before))
    for n in range(1, 4):
        newest = learned(tmp_path, f"{n:012d}-bbbbbbbb")
        retention.make_due(newest)
        retention.turn()
        assert (tmp_path / before[n - 1]).exists(), "its announcement was not read back yet, nor a pin before it"
        announce(kafka, newest)
        turn_until(retention, lambda n=n: not (tmp_path / before[n - 1]).exists())
        kept = sorted(folder.name for folder in tmp_path.iterdir())
        assert kept == [f"{m:012d}-bbbbbbbb" for m in range(1, n + 1)] + before[n:]


def test_versions_that_nobody_announced_go_first_in_the_order_they_were_written(
    retention: Retention, kafka: KafkaSettings, tmp_path: Path
) -> None:
    """As after the log was lost, and one written again since its announcement, which is what counts."""
    lost = [f"{n:012d}-aaaaaaaa" for n in (7000, 9000, 8000)]  # of which the second learned anew from the third
    for days, name in zip((5, 4, 3), lost, strict=True):  # of so long ago none is kept for its hour
        learned(tmp_path, name)
        then = time.time() - days * 86_400
        os.utime(tmp_path / name / MANIFEST, (then, then))
    announced = [f"{n:012d}-bbbbbbbb" for n in range(1, KEPT_NEWEST)]
    made = [learned(tmp_path, name) for name in announced]
    announce(kafka, *made)
    old = time.time() - 1000
    os.utime(tmp_path / announced[0] / MANIFEST, (old, old))
    retention.make_due(made[-1])
    turn_until(retention, lambda: not (tmp_path / lost[1]).exists())
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted([lost[2], *announced])
