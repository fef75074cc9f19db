"""Folders that can't be written are said at the start; a full disk may have room again."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from shared import folders
from shared.errors import Unusable

FULL = Path("/dev/full")


SETTING = "FRESHET_TRAINER_STATE_DIR"


def test_a_folder_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    folders.prepare(folder, SETTING)
    folders.prepare(folder, SETTING)
    assert list(folder.iterdir()) == []


def test_one_that_can_not_be_made_is_refused_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("not a folder")
    with pytest.raises(Unusable, match=f"choose another folder by {SETTING}"):
        folders.prepare(tmp_path / "deep" / "state", SETTING)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_one_that_belongs_to_others_is_refused_in_the_systems_words(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o555)
    with pytest.raises(Unusable, match="Permission denied; let this user write there"):
        folders.prepare(tmp_path / "state", SETTING)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / folders.PROBE).symlink_to(FULL)
    with caplog.at_level(logging.ERROR):
        folders.prepare(tmp_path, SETTING)
    assert "No space left on device; free some space" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_space_is_asked_for_only_where_it_is_missing() -> None:
    assert folders.what_is_wrong(OSError(errno.ENOSPC, "No space left")) == "No space left; free some space"
    assert folders.what_is_wrong(PermissionError(errno.EACCES, "Permission denied")) == "Permission denied"
