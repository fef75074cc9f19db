"""What the trainer removes of the models folder, with its announcements on a real broker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.trainer.retention import KEPT_NEWEST, Retention
from shared.kafka.clients import CountedProducer, producer_config
from shared.models import MANIFEST
from shared.pb.freshet.v1.events_pb2 import ModelVersion
from shared.settings import KafkaSettings
from tests.support.versions import announce, tiny_version


@pytest.fixture
def retention(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Retention]:
    """Of the versions under `tmp_path`."""
    made = Retention(tmp_path, kafka, CountedProducer(producer_config(kafka)))
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


def removal_failures() -> float:
    return REGISTRY.get_sample_value("freshet_trainer_removal_failures_total") or 0.0


def test_a_version_that_can_not_be_removed_stops_nothing_and_is_tried_again(
    retention: Retention, kafka: KafkaSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{n:012d}-{n:08x}" for n in range(1, KEPT_NEWEST + 5)]
    announce(kafka, *(learned(tmp_path, name) for name in names))
    linked, blocked, *others = names[:-KEPT_NEWEST]
    (tmp_path / linked).rename(tmp_path / ".elsewhere")
    (tmp_path / linked).symlink_to(".elsewhere", target_is_directory=True)  # which is not followed
    obstacle = tmp_path / f".{blocked}.removed"
    obstacle.write_text("in the way")
    before = removal_failures()
    retention.make_due()
    turn_until(retention, lambda: not any((tmp_path / name).exists() for name in others))
    assert removal_failures() > before
    assert f"can't remove {tmp_path / blocked}" in caplog.text
    assert (tmp_path / blocked / MANIFEST).exists(), "whole, since it could not go"
    assert (tmp_path / ".elsewhere" / MANIFEST).exists()
    obstacle.unlink()
    retention.make_due()
    turn_until(retention, lambda: not (tmp_path / blocked).exists())
    assert all((tmp_path / name / MANIFEST).exists() for name in names[-KEPT_NEWEST:])
