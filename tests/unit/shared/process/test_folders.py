"""Folders: refused at the start where they can't be written, whole or absent, checked as they are read."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shared.process import folders
from shared.process.errors import Unusable
from shared.process.folders import Digest

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


def manifest(digests: Mapping[str, Digest]) -> bytes:
    return json.dumps({name: [digest.sha256, digest.size_bytes] for name, digest in digests.items()}).encode()


def write(folder: Path) -> dict[str, Digest]:
    """The digests that the manifest of a written folder holds."""
    files = {"whole": b"one", "pieces": iter([b"tw", memoryview(b"o"), b""]), "empty": b""}
    folders.write_folder(folder, files, "manifest.json", manifest)
    return {name: Digest(*values) for name, values in json.loads((folder / "manifest.json").read_bytes()).items()}


def test_what_is_read_is_what_was_written_with_the_hash_of_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "version"
    digests = write(folder)
    assert digests == {
        "whole": Digest(hashlib.sha256(b"one").hexdigest(), 3),
        "pieces": Digest(hashlib.sha256(b"two").hexdigest(), 3),
        "empty": Digest(hashlib.sha256(b"").hexdigest(), 0),
    }
    content = {"whole": b"one", "pieces": b"two", "empty": b""}
    assert folders.read_folder(folder, "manifest.json", digests) == content
    sizes_unknown = {name: Digest(digest.sha256) for name, digest in digests.items()}
    assert folders.read_folder(folder, "manifest.json", sizes_unknown) == content
    assert [path.name for path in folder.parent.iterdir()] == ["version"]


def test_a_shared_file_is_one_file_in_both_folders_and_outlives_either(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write(one)
    folders.write_folder(two, {"more": b"m"}, "manifest.json", manifest, shared=[one / "whole"])
    assert (one / "whole").stat().st_ino == (two / "whole").stat().st_ino
    assert sorted(json.loads((two / "manifest.json").read_bytes())) == ["more"], (
        "the caller knows the digests of others"
    )
    shutil.rmtree(one)
    assert (two / "whole").read_bytes() == b"one"
    with pytest.raises(FileNotFoundError):
        folders.write_folder(tmp_path / "three", {}, "manifest.json", manifest, shared=[one / "whole"])
    assert [folder.name for folder in tmp_path.iterdir()] == ["two"]


def test_a_file_that_was_changed_cut_or_lost_is_named(tmp_path: Path) -> None:
    digests = write(tmp_path / "version")
    file = tmp_path / "version" / "pieces"
    file.write_bytes(b"owt")
    with pytest.raises(ValueError, match=r"^pieces is not what manifest.json says$"):
        folders.read_folder(file.parent, "manifest.json", digests)
    file.write_bytes(b"tw")
    with pytest.raises(ValueError, match=r"^pieces has not the size that manifest.json says$"):
        folders.read_folder(file.parent, "manifest.json", digests)
    file.unlink()
    with pytest.raises(FileNotFoundError) as missing:
        folders.read_folder(file.parent, "manifest.json", digests)
    assert missing.value.filename == str(file)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyError("float16"), KeyboardInterrupt()])
def test_a_folder_that_can_not_be_written_whole_is_not_there(error: BaseException, tmp_path: Path) -> None:
    def breaks_off() -> Iterator[bytes]:
        yield b"half"
        assert not (tmp_path / "version").exists()
        assert [path.name for path in tmp_path.iterdir()] == [".version.tmp"]
        raise error

    (tmp_path / ".version.tmp").mkdir()
    (tmp_path / ".version.tmp" / "rest").write_bytes(b"of a process that was killed")
    with pytest.raises(type(error)):
        folders.write_folder(tmp_path / "version", {"whole": b"one", "half": breaks_off()}, "manifest.json", manifest)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "version")
    assert sorted(path.name for path in (tmp_path / "version").iterdir()) == [
        "empty",
        "manifest.json",
        "pieces",
        "whole",
    ]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not name open files")
def test_nothing_is_renamed_before_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)

    monkeypatch.setattr(os, "fsync", note)
    write(tmp_path / "version")
    assert sorted(synced[:4]) == ["empty", "manifest.json", "pieces", "whole"]
    assert synced[4:] == [".version.tmp", tmp_path.name]


def test_a_file_takes_the_place_of_an_earlier_one_whole(tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    folders.write_file(file, b"one")
    folders.write_file(file, b"another")
    assert file.read_bytes() == b"another"
    assert list(tmp_path.iterdir()) == [file]


def test_where_a_file_can_not_be_written_the_earlier_one_stays(tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    folders.write_file(file, b"one")
    (tmp_path / ".position.json.tmp").mkdir()  # in the way of what is written first
    with pytest.raises(OSError, match="Is a directory"):
        folders.write_file(file, b"another")
    assert file.read_bytes() == b"one"
