"""Folders that can't be written are said at the start; a full disk may have room again."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from services.trainer import folders
from services.trainer.settings import TrainerSettings
from shared.errors import Unusable
from shared.settings import load

FULL = Path("/dev/full")


def settings(tmp_path: Path) -> TrainerSettings:
    return load(
        TrainerSettings,
        {
            "FRESHET_TRAINER_STATE_DIR": str(tmp_path / "deep" / "state"),
            "FRESHET_TRAINER_MODELS_DIR": str(tmp_path / "models"),
        },
    )


def test_both_folders_are_made_and_nothing_is_left_in_them(tmp_path: Path) -> None:
    mine = settings(tmp_path)
    folders.prepare(mine)
    folders.prepare(mine)
    assert list(mine.state_dir.iterdir()) == list(mine.models_dir.iterdir()) == []


@pytest.mark.parametrize(("place", "setting"), [("deep", "STATE_DIR"), ("models", "MODELS_DIR")])
def test_one_that_can_not_be_made_is_refused_by_its_setting(tmp_path: Path, place: str, setting: str) -> None:
    (tmp_path / place).write_text("not a folder")
    with pytest.raises(Unusable, match=f"choose another folder by FRESHET_TRAINER_{setting}"):
        folders.prepare(settings(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_one_that_belongs_to_others_is_refused_in_the_systems_words(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir(mode=0o555)
    with pytest.raises(Unusable, match="Permission denied; let this user write there"):
        folders.prepare(settings(tmp_path))


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = settings(tmp_path)
    mine.state_dir.mkdir(parents=True)
    (mine.state_dir / folders.PROBE).symlink_to(FULL)
    with caplog.at_level(logging.ERROR):
        folders.prepare(mine)
    assert "No space left on device; free some space" in caplog.text
    assert list(mine.state_dir.iterdir()) == []


def test_space_is_asked_for_only_where_it_is_missing() -> None:
    assert folders.what_is_wrong(OSError(errno.ENOSPC, "No space left")) == "No space left; free some space"
    assert folders.what_is_wrong(PermissionError(errno.EACCES, "Permission denied")) == "Permission denied"
