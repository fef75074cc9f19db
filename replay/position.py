"""How far a replay has come: only what the broker has acknowledged counts, and it survives kill -9."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from replay.ordered_copy import Selection
from shared.errors import Unusable
from shared.models import sync_folder

POSITION = "position.json"

ItemT = TypeVar("ItemT")


class Position(BaseModel):
    """`position.json`: everything up to `sequence` of `loop` was acknowledged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    log_identity: str  # of freshet.events
    selection: Selection
    moved_ms: int = 0  # what --ending adds to event times, whole days
    products_sent: bool = False
    loop: int = 0
    sequence: int = 0  # in the whole dataset's order; 0: nothing of the loop yet

    def save(self, folder: Path) -> None:
        """Write it in one step."""
        temporary = folder / f".{POSITION}.tmp"
        with temporary.open("w", encoding="utf-8") as sink:
            sink.write(self.model_dump_json(indent=2))
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(folder / POSITION)
        sync_folder(folder)

    @classmethod
    def load(cls, folder: Path) -> Position | None:
        """The position kept in a folder, None when there is none.

        Raises:
            Unusable: it is damaged.
        """
        file = folder / POSITION
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise Unusable(
                f"the position in {file} is damaged ({error}); delete it and replay without --resume: "
                "readers leave out what they have seen"
            ) from error


class AcknowledgedPrefix(Generic[ItemT]):
    """Follows what was sent up to the last item before which, itself included, everything was acknowledged."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[ItemT, float]] = deque()  # each with the clock seconds of its sending
        self._first = 0  # number of the oldest that waits
        self._acknowledged: set[int] = set()
        self.newest: ItemT | None = None

    def sent(self, item: ItemT, now: float) -> int:
        """Note an item as sent at `now`, in clock seconds; the number to acknowledge it by."""
        self._waiting.append((item, now))
        return self._first + len(self._waiting) - 1

    def acknowledge(self, number: int) -> None:
        """Note that the broker has the item of this number."""
        if number != self._first:
            self._acknowledged.add(number)
            return
        self.newest, _ = self._waiting.popleft()
        self._first += 1
        while self._first in self._acknowledged:
            self._acknowledged.remove(self._first)
            self.newest, _ = self._waiting.popleft()
            self._first += 1

    def oldest_seconds(self, now: float) -> float:
        """How long the oldest item without an acknowledgement has waited for it; 0 where none waits."""
        return now - self._waiting[0][1] if self._waiting else 0.0
