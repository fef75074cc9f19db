"""The state folder of a run that starts empty: only a folder that such a run has marked is ever emptied."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import Unusable

MARKER = ".freshet-state"
_TEXT = "Freshet made this folder and empties it whenever a demo or an embedded system starts in it.\n"


@contextmanager
def empty(folder: Path) -> Iterator[Path]:
    """An empty folder, held by this process alone for the length of the block; its content stays afterwards.

    Raises:
        Unusable: it holds files that no such run wrote, another run is using it, or it can't be written.
    """
    try:
        _require_ours(folder)
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / MARKER, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Unusable(f"can't use {folder} ({error.strerror}); name another folder with --state-dir") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unusable(f"another Freshet runs in {folder}; stop it, or name another --state-dir") from error
        _empty(folder)
        os.pwrite(handle, _TEXT.encode(), 0)
        yield folder
    finally:
        os.close(handle)


def require_unmarked(folder: Path) -> None:
    """Refuse to keep lasting state where a later run would empty the folder.

    Raises:
        Unusable: the folder carries the marker.
    """
    if (folder / MARKER).exists():
        raise Unusable(
            f"{folder} is emptied whenever a system with the embedded broker starts in it; "
            "name another --state-dir for a system on a Kafka of your own"
        )


def _require_ours(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise Unusable(f"{folder} is not a folder of its own; name another --state-dir")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise Unusable(
            f"{folder} holds files that Freshet did not write, and it would be emptied; "
            "name another --state-dir, or remove the folder yourself"
        )


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
