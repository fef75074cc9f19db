"""Folders that a service writes: tried at the start, and what to do about one that can't be written."""

from __future__ import annotations

import errno
import logging
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
