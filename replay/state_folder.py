"""The folder in which replay keeps ordered copies and positions."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from shared.errors import Unusable


@contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """Hold the state folder for this process; the lock goes with the process, however it ends.

    Raises:
        Unusable: it can't be written to, or another process holds it.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = (state_dir / "lock").open("w")
    except OSError as error:
        raise Unusable(
            f"can't write to {state_dir} ({error.strerror}); name another folder with FRESHET_REPLAY_STATE_DIR"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unusable(
                f"another replay uses {state_dir}; stop it, or name another folder with FRESHET_REPLAY_STATE_DIR"
            ) from error
        yield


@contextmanager
def room_in(state_dir: Path) -> Iterator[None]:
    """Translate what goes wrong where a dataset is put in order in a state folder.

    Raises:
        Unusable: the disk is full or fails, or the memory allowed is too little.
    """
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise Unusable(
            f"the dataset can't be put in order in {state_dir}: {str(error).splitlines()[0]}. It takes about three "
            "times the size of the unpacked file for a while: free some disk, or name a folder elsewhere with "
            "FRESHET_REPLAY_STATE_DIR; where memory is short, set FRESHET_REPLAY_ORDERING_MEMORY_MB higher"
        ) from error
