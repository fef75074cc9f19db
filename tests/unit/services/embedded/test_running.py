"""Only a folder that the console marked is ever emptied; metrics are read as they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.embedded import running
from services.embedded.running import MARKER, parse
from shared.process.errors import Unusable


def test_a_folder_of_its_own_starts_empty_and_keeps_its_content_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "demo"
    with running.empty_folder(folder):
        (folder / "logs").mkdir()
        (folder / "logs" / "trainer.log").write_text("learned")
    assert (folder / "logs" / "trainer.log").exists()
    with running.empty_folder(folder):
        assert [entry.name for entry in folder.iterdir()] == [MARKER]


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    with running.empty_folder(tmp_path) as folder:
        assert (folder / MARKER).is_file()


def test_a_folder_with_files_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(Unusable, match="holds files that Freshet did not write"), running.empty_folder(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("years of work")
    folder = tmp_path / "demo"
    with running.empty_folder(folder):
        (folder / "link").symlink_to(elsewhere)
    with running.empty_folder(folder):
        pass
    assert (elsewhere / "thesis.txt").exists()
    (tmp_path / "to-demo").symlink_to(folder)
    with pytest.raises(Unusable, match="not a folder of its own"), running.empty_folder(tmp_path / "to-demo"):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="not a folder of its own"), running.empty_folder(tmp_path / "file"):
        pass
    with pytest.raises(Unusable, match="name another folder with --state-dir"):
        running.empty_folder(tmp_path / "file" / "below").__enter__()


def test_a_folder_in_use_is_not_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with running.empty_folder(folder):
        (folder / "precious").write_text("")
        with pytest.raises(Unusable, match="another Freshet runs in"), running.empty_folder(folder):
            pass
        assert (folder / "precious").exists()


def test_lasting_state_is_not_kept_where_it_would_be_emptied(tmp_path: Path) -> None:
    running.require_unmarked(tmp_path)
    with running.empty_folder(tmp_path):
        pass
    with pytest.raises(Unusable, match="is emptied whenever"):
        running.require_unmarked(tmp_path)


def test_metrics_are_read_with_their_labels() -> None:
    text = '# TYPE a_total counter\na_total 3.0\n# TYPE b gauge\nb{z="1",k="x"} 0.5\n'
    assert parse(text) == {"a_total": 3.0, 'b{k="x",z="1"}': 0.5}
