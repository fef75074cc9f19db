"""Checkpoints and versions on disk: whole or not at all, refused where they do not fit, kept as long as promised."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.trainer import checkpoint, publish
from services.trainer import publish as retention
from services.trainer.blocks import MOST_PACKS
from services.trainer.checkpoint import Checkpoint, CheckpointWriter
from services.trainer.learner import Learner
from services.trainer.metrics import TrainerMetrics
from services.trainer.settings import TrainerSettings
from shared.log.ordered import ReaderSnapshot
from shared.model.files import read_version
from shared.process.errors import Unusable
from shared.state.shop import ShopSettings
from tests.support.states import shoppers

READER: ReaderSnapshot = {"positions": {"0": 7}, "watermarks": {"0": 5}, "marks": {}, "ordered": True}
SHOP = ShopSettings()


def small(folder: Path, **more: object) -> TrainerSettings:
    values = {
        "state_dir": folder / "state",
        "hidden": 8,
        "batch": 8,
        "warmup_transitions": 20,
    }
    return TrainerSettings.model_validate(values | more)


def learned(settings: TrainerSettings, events: int, shop: ShopSettings = SHOP) -> Learner:
    learner = Learner(settings, shop)
    for state in shoppers(events):
        learner.apply(state)
    return learner


def writer(settings: TrainerSettings) -> CheckpointWriter:
    return CheckpointWriter(settings, SHOP, TrainerMetrics(CollectorRegistry()))


def checkpoint_of(learner: Learner) -> Checkpoint:
    return Checkpoint(learner.snapshot(), READER, "cluster/topic")


def write(settings: TrainerSettings, events: int) -> Path:
    return writer(settings).write(checkpoint_of(learned(settings, events)))


def write_in_turn(settings: TrainerSettings, *events: int) -> tuple[Learner, list[Path]]:
    """One trainer's checkpoints after so many events each, and its learner."""
    learner, made = Learner(settings, SHOP), []
    one_trainers = writer(settings)
    for count, state in enumerate(shoppers(max(events)), start=1):
        learner.apply(state)
        if count in events:
            made.append(one_trainers.write(checkpoint_of(learner)))
    return learner, made


def packs(folder: Path) -> dict[str, int]:
    """Name → inode, which hard links share."""
    return {file.name: file.stat().st_ino for file in folder.glob("blocks-*")}


def damage(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(500)
        opened.write(b"\x00\xff\x00\xff")


def test_the_newest_checkpoint_is_read_back_and_two_are_kept(tmp_path: Path) -> None:
    settings = small(tmp_path)
    assert checkpoint.newest(settings, SHOP) is None
    for events in (30, 40, 50):
        write(settings, events)
    assert [p.name for p in sorted(settings.state_dir.iterdir())] == [
        "checkpoint-000000000040",
        "checkpoint-000000000050",
    ]
    read_back = checkpoint.newest(settings, SHOP)
    assert read_back is not None
    assert (read_back.reader, read_back.log_identity) == (READER, "cluster/topic")
    assert Learner.restore(settings, SHOP, read_back.learner).snapshot().state == learned(settings, 50).snapshot().state


def test_an_old_checkpoint_that_can_not_be_removed_does_not_undo_the_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = small(tmp_path)
    write(settings, 30).rename(tmp_path / "elsewhere")
    (settings.state_dir / "checkpoint-000000000030").symlink_to(tmp_path / "elsewhere")  # which is not followed
    for events in (40, 50, 60):
        assert write(settings, events).is_dir()
    assert "can't remove" in caplog.text
    assert not (settings.state_dir / "checkpoint-000000000040").exists()


def test_a_damaged_checkpoint_is_put_aside_for_the_one_before(tmp_path: Path) -> None:
    settings = small(tmp_path)
    older, newer = write(settings, 30), write(settings, 40)
    damage(newer / "blocks-000000000040")
    read_back = checkpoint.newest(settings, SHOP)
    assert read_back is not None
    assert read_back.learner.state["stream"]["applied"] == 30
    (older / checkpoint.STATE).write_bytes(b"{")
    with pytest.raises(Unusable, match=r"every checkpoint in .* is damaged"):
        checkpoint.newest(settings, SHOP)
    assert checkpoint.newest(settings, SHOP) is None, "they were put aside"


def test_a_checkpoint_shares_with_the_one_before_what_did_not_change(tmp_path: Path) -> None:
    settings = small(tmp_path)
    _, (older, newer) = write_in_turn(settings, 600, 610)
    assert sorted(packs(newer)) == ["blocks-000000000600", "blocks-000000000610"]
    assert packs(older)["blocks-000000000600"] == packs(newer)["blocks-000000000600"], "one file"
    whole, changes = ((newer / f"blocks-{events:012d}").stat().st_size for events in (600, 610))
    assert changes < 0.6 * whole, "a few of the many blocks of so small a learner, and what every event changes"


def test_a_learner_restored_from_many_checkpoints_packs_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    settings = small(tmp_path)
    learner, made = write_in_turn(settings, *range(20, 20 * (MOST_PACKS + 5), 20))
    assert len(packs(made[-1])) <= MOST_PACKS
    read_back = checkpoint.newest(settings, SHOP)
    assert read_back is not None
    restored, expected = Learner.restore(settings, SHOP, read_back.learner).snapshot(), learner.snapshot()
    assert restored.state == expected.state
    assert restored.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert array.dtype == restored.arrays[name].dtype
        assert array.shape == restored.arrays[name].shape
        assert array.tobytes() == restored.arrays[name].tobytes()


def test_damage_to_what_two_checkpoints_share_damages_both_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = small(tmp_path)
    _, (_, newer) = write_in_turn(settings, 30, 40)
    damage(newer / "blocks-000000000030")
    with pytest.raises(Unusable, match=r"every checkpoint in .* is damaged and was put aside; restore one from"):
        checkpoint.newest(settings, SHOP)
    for events in (30, 40):
        told = f"checkpoint-{events:012d} is damaged: blocks-000000000030 is not what state.json says"
        assert told in caplog.text


@pytest.mark.parametrize("lost", ["folder", "pack"])
def test_where_the_checkpoint_before_is_gone_all_is_written(tmp_path: Path, lost: str) -> None:
    settings = small(tmp_path)
    learner, one_trainers = learned(settings, 30), writer(settings)
    before = one_trainers.write(checkpoint_of(learner))
    if lost == "folder":
        shutil.rmtree(before)
    else:
        (before / "blocks-000000000030").unlink()
    learner.apply(next(iter(shoppers(1))))
    after = one_trainers.write(checkpoint_of(learner))
    assert list(packs(after)) == ["blocks-000000000031"]
    read_back = checkpoint.newest(settings, SHOP)
    assert read_back is not None
    assert read_back.learner.state["stream"]["applied"] == 31


@pytest.mark.parametrize("at", ["hardlink_to", "mkdir", "rename"])
def test_killed_while_it_writes_it_goes_on_from_the_checkpoint_before(
    tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small(tmp_path)
    learner, one_trainers = learned(settings, 30), writer(settings)
    one_trainers.write(checkpoint_of(learner))
    learner.apply(next(iter(shoppers(1))))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)  # a process that was killed cleans nothing up

        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(Path, at, die)
        with pytest.raises(KeyboardInterrupt):
            one_trainers.write(checkpoint_of(learner))
    read_back = checkpoint.newest(settings, SHOP)
    assert read_back is not None
    assert read_back.learner.state["stream"]["applied"] == 30
    resumed = Learner.restore(settings, SHOP, read_back.learner)
    resumed.apply(next(iter(shoppers(1))))
    writer(settings).write(checkpoint_of(resumed))
    whole = checkpoint.newest(settings, SHOP)
    assert whole is not None
    assert whole.learner.state == learner.snapshot().state


def test_a_damaged_checkpoint_that_can_not_be_put_aside_ends_the_start_with_what_to_do(tmp_path: Path) -> None:
    settings = small(tmp_path)
    older, newer = write(settings, 30), write(settings, 40)
    (newer / checkpoint.STATE).write_bytes(b"{")
    in_the_way = settings.state_dir / f"damaged-{newer.name}"
    in_the_way.write_bytes(b"a file, which no folder can replace")
    with pytest.raises(Unusable, match=rf"can't rename the damaged checkpoint {newer} to {in_the_way.name}: .*Remove"):
        checkpoint.newest(settings, SHOP)
    assert (older.is_dir(), newer.is_dir()) == (True, True)
    in_the_way.unlink()
    restored = checkpoint.newest(settings, SHOP)
    assert restored is not None
    assert restored.learner.state["stream"]["applied"] == 30


def test_a_checkpoint_learned_with_other_settings_is_refused_by_the_name_of_the_first(tmp_path: Path) -> None:
    write(small(tmp_path), 30)
    with pytest.raises(Unusable, match=r"FRESHET_TRAINER_DISCOUNT=0.5, now it is 0.9.*FRESHET_TRAINER_STATE_DIR"):
        checkpoint.newest(small(tmp_path, discount=0.9), SHOP)
    assert checkpoint.newest(small(tmp_path, publish_events=5000, log_level="DEBUG"), SHOP) is not None
    with pytest.raises(Unusable, match=r"FRESHET_SHOP_MASKED_KINDS=review,rating,dislike, now it is purchase;"):
        checkpoint.newest(small(tmp_path), ShopSettings(masked_kinds="purchase"))
    elsewhere = ShopSettings(models_dir=tmp_path / "elsewhere", place_new_products=False)
    assert checkpoint.newest(small(tmp_path), elsewhere) is not None, "nothing that is learned depends on these"


@pytest.mark.parametrize("name", ["SCHEMA_VERSION", "MEANING"])
def test_a_checkpoint_of_another_release_is_refused_and_stays(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small(tmp_path)
    folder = write(settings, 30)
    monkeypatch.setattr(checkpoint, name, 99)
    with pytest.raises(Unusable, match=r"this trainer (reads|counts) 99; run the release that wrote it, or move"):
        checkpoint.newest(settings, SHOP)
    assert folder.is_dir()


def test_a_disk_that_fills_up_leaves_the_earlier_checkpoint_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small(tmp_path)
    learner, one_trainers = learned(settings, 30), writer(settings)
    one_trainers.write(checkpoint_of(learner))
    learner.apply(next(iter(shoppers(1))))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shared.process.folders.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        one_trainers.write(checkpoint_of(learner))
    assert [p.name for p in settings.state_dir.iterdir()] == ["checkpoint-000000000030"]
    monkeypatch.undo()
    assert len(packs(one_trainers.write(checkpoint_of(learner)))) == 2, "with room again, what changed is enough"


def test_the_same_learning_gives_the_same_version_byte_for_byte(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        settings = small(tmp_path / name)
        shop = ShopSettings(models_dir=tmp_path / name / "models")
        manifest, sha256 = publish.write(learned(settings, 80), READER, settings, shop)
        read_version(shop.models_dir / manifest.version_id, sha256)
        hashes.append((manifest.version_id, sha256))
    assert hashes[0] == hashes[1]
    other = small(tmp_path / "three", seed=8)
    assert publish.write(learned(other, 80), READER, other, shop)[0].version_id != hashes[0][0]
    shorter = ShopSettings(models_dir=shop.models_dir, history_length=10)
    assert publish.write(learned(settings, 80, shorter), READER, settings, shorter)[0].version_id != hashes[0][0]
    assert publish.applied_of(hashes[0][0]) == 80
    assert publish.applied_of("") == 0, "no version yet"


def test_ten_versions_are_kept_and_the_last_of_each_hour_of_a_day_and_what_is_pinned() -> None:
    hour = 3600.0
    now = 1000 * hour
    versions = [(f"v{n:03d}", now - (60 - n) * hour / 2) for n in range(60)]  # two an hour over thirty hours
    gone = set(retention.expired(versions, pinned=["v001"], now=now))
    kept = [v for v, _ in versions if v not in gone]
    assert kept[-10:] == [f"v{n:03d}" for n in range(50, 60)]
    assert kept[0] == "v001"
    by_hour = [v for v in kept if v not in kept[-10:] and v != "v001"]
    assert by_hour == [f"v{n:03d}" for n in range(13, 50, 2)]
