"""Which version judges, and when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.evaluator.accuracy import REASONS, EvaluatorMetrics
from services.evaluator.versions import JudgingVersion, reached
from shared.model.format import MANIFEST
from shared.model.serving import SERVING_POINTER
from shared.pb.freshet.v1.events_pb2 import LogPosition, ModelVersion, Pointer
from shared.process.errors import BadEvent
from shared.state.histories import EVENT_FEATURES, Window
from tests.support.versions import tiny_version

PRODUCTS = {"p0": 1.0, "p1": 2.0}
FIRST, SECOND, THIRD = {0: 10, 1: 10}, {0: 20, 1: 20}, {0: 30, 1: 30}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def versions(tmp_path: Path, registry: CollectorRegistry) -> JudgingVersion:
    """Follows versions under `tmp_path`, in rows of its own."""
    rows: dict[str, int] = {}
    row_of = lambda product: rows.setdefault(product, len(rows))  # noqa: E731
    return JudgingVersion(tmp_path, row_of, lambda: len(rows), EvaluatorMetrics(registry))


def made(folder: Path, name: str, positions: dict[int, int], created_ms: int, **more: float) -> ModelVersion:
    version = tiny_version(folder, name, PRODUCTS, positions=positions, applied=positions[0], **more)
    version.created_ms = created_ms
    return version


def announce(versions: JudgingVersion, *announced: ModelVersion) -> None:
    for version in announced:
        versions.apply(f"version/{version.version_id}".encode(), version.SerializeToString())


def pin(versions: JudgingVersion, version_id: str) -> None:
    value = Pointer(version_id=version_id).SerializeToString() if version_id else None
    versions.apply(SERVING_POINTER.encode(), value)


def judging(versions: JudgingVersion, positions: dict[int, int]) -> str:
    versions.choose(positions)
    return versions.scorer.manifest.version_id if versions.scorer else ""


def left_out(registry: CollectorRegistry, reason: str) -> float:
    value = registry.get_sample_value("freshet_evaluator_versions_left_out_total", {"reason": reason})
    assert value is not None, "known from the start"
    return value


def test_positions_are_reached_in_every_partition_or_not_at_all() -> None:
    assert reached({0: 5, 1: 7}, {0: 5, 1: 6})
    assert not reached({0: 5, 1: 7}, {0: 6, 1: 7})
    assert not reached({0: 5}, {0: 5, 1: 1})
    assert reached({}, {0: -1, 1: 0})  # nothing was learned there
    assert reached({}, {})


def test_a_version_is_held_back_until_its_positions_were_reached(versions: JudgingVersion, tmp_path: Path) -> None:
    assert judging(versions, {}) == ""
    announce(versions, made(tmp_path, "v1", FIRST, 1), made(tmp_path, "v2", SECOND, 2), made(tmp_path, "v3", THIRD, 3))
    assert (judging(versions, {0: 9, 1: 99}), versions.held_back) == ("", 3)
    assert (judging(versions, {0: 10, 1: 10}), versions.held_back) == ("v1", 2)
    assert (judging(versions, {0: 35, 1: 29}), versions.held_back) == ("v2", 1)
    assert (judging(versions, {0: 35, 1: 30}), versions.held_back) == ("v3", 0)


def test_of_the_reached_ones_the_newest_judges(versions: JudgingVersion, tmp_path: Path) -> None:
    announce(versions, made(tmp_path, "v1", FIRST, 1), made(tmp_path, "v2", SECOND, 2), made(tmp_path, "v3", THIRD, 3))
    assert judging(versions, {0: 25, 1: 25}) == "v2"


def test_a_version_retained_away_goes_on_rather_than_an_older_one(versions: JudgingVersion, tmp_path: Path) -> None:
    announce(versions, made(tmp_path, "v1", FIRST, 1), made(tmp_path, "v2", SECOND, 2), made(tmp_path, "v3", THIRD, 3))
    assert judging(versions, SECOND) == "v2"
    versions.apply(b"version/v2", None)
    assert judging(versions, SECOND) == "v2"
    assert judging(versions, THIRD) == "v3"


def test_a_pin_decides_once_it_was_reached(versions: JudgingVersion, tmp_path: Path) -> None:
    announce(versions, made(tmp_path, "v1", FIRST, 1), made(tmp_path, "v2", SECOND, 2), made(tmp_path, "v3", THIRD, 3))
    assert judging(versions, SECOND) == "v2"
    pin(versions, "v3")
    assert (judging(versions, SECOND), versions.held_back) == ("v2", 1)
    pin(versions, "v1")
    assert judging(versions, THIRD) == "v1"
    pin(versions, "nobody-knows")
    assert judging(versions, THIRD) == "v1"
    pin(versions, "")
    assert judging(versions, THIRD) == "v3"


def test_what_can_not_be_trusted_is_left_out_and_counted(
    versions: JudgingVersion, registry: CollectorRegistry, tmp_path: Path
) -> None:
    good, bad = made(tmp_path, "good", FIRST, 1), made(tmp_path, "bad", FIRST, 2)
    (tmp_path / "bad" / "items.safetensors").write_bytes(b"x")
    other = made(tmp_path, "other", FIRST, 3)
    (tmp_path / "other" / MANIFEST).write_text("{}")
    lying = made(tmp_path, "lying", SECOND, 4)
    del lying.positions[:]
    lying.positions.append(LogPosition(partition=0, offset=1))
    before = {reason: left_out(registry, reason) for reason in REASONS}
    announce(versions, good, bad, other, lying)
    for _ in range(3):  # counted once, whatever is asked
        assert judging(versions, FIRST) == "good"
    with pytest.raises(BadEvent, match="neither version"):
        versions.apply(b"what?", b"")  # the loop counts it, with those of the other topics
    after = {reason: left_out(registry, reason) for reason in REASONS}
    assert {r: int(after[r] - before[r]) for r in after if after[r] != before[r]} == {
        "hash": 2,
        "positions": 1,
    }


def test_a_folder_that_is_not_there_yet_is_waited_for(
    versions: JudgingVersion, registry: CollectorRegistry, tmp_path: Path
) -> None:
    late = made(tmp_path / "elsewhere", "late", FIRST, 2)
    before = left_out(registry, "missing")
    announce(versions, made(tmp_path, "early", FIRST, 1), late)
    assert judging(versions, FIRST) == "early"
    assert judging(versions, FIRST) == "early"
    assert left_out(registry, "missing") - before == 1
    (tmp_path / "elsewhere" / "late").rename(tmp_path / "late")
    assert judging(versions, FIRST) == "late"


def test_a_version_is_asked_about_no_more_history_than_it_was_trained_on(
    versions: JudgingVersion, tmp_path: Path
) -> None:
    announce(versions, made(tmp_path, "short", FIRST, 1, length=2, vectors=1.0))
    versions.choose(FIRST)
    scorer = versions.scorer
    assert scorer is not None
    features = np.arange(5 * len(EVENT_FEATURES), dtype=np.float32).reshape(1, 5, -1) / 10
    long = Window(np.array([[1, 0, 1, 1, 0]], np.int32), features, np.array([5], np.int32))
    short = Window(long.products[:, 3:], features[:, 3:], np.array([2], np.int32))
    assert scorer.scores(long).tolist() == scorer.scores(short).tolist()
    one = Window(long.products[:, 4:], features[:, 4:], np.array([1], np.int32))
    assert scorer.scores(one).tolist() != scorer.scores(short).tolist()
