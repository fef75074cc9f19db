"""Folders that a service writes: tried at the start, whole or not at all, and what to do where that can't be done."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from shared.errors import Unusable

log = logging.getLogger("folders")

PROBE = ".probe"


def prepare(folder: Path, setting: str) -> None:
    """Make a folder and try to write there; a full disk is only logged.

    Args:
        setting: the variable that names the folder.

    Raises:
        Unusable: it can't be written.
    """
    probe = folder / PROBE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise Unusable(
                f"can't write in {folder}: {error.strerror or error}; let this user write there, or choose another "
                f"folder by {setting}"
            ) from error
        log.error("can't write in %s: %s", folder, what_is_wrong(error))  # noqa: TRY400  # the disk's answer says all


def what_is_wrong(error: OSError) -> str:
    """The system's own words, and what to do where the disk is full."""
    words = error.strerror or str(error)
    return f"{words}; free some space" if error.errno == errno.ENOSPC else words


def write_folder(folder: Path, files: Mapping[str, bytes | Iterable[bytes | memoryview]]) -> None:
    """Write files, each at once or piece by piece, into a new folder that appears whole or not at all.

    Even across a power cut.

    Raises:
        OSError: the disk is full, say; nothing half written stays behind.
    """
    root = folder.parent
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".{folder.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, content in files.items():
            with (temporary / name).open("wb") as sink:
                for piece in [content] if isinstance(content, bytes) else content:
                    sink.write(piece)
                sink.flush()
                os.fsync(sink.fileno())
        sync_folder(temporary)
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(root)


def sync_folder(folder: Path) -> None:
    """Make a folder's own entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
