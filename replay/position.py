"""How far a replay has come: only what the broker has acknowledged counts, and it survives kill -9."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from replay.ordered_copy import Selection
from shared.errors import Unusable
from shared.folders import sync_folder

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


class Stretch(Generic[ItemT]):
    """Items sent one after the other, whose acknowledgements are only counted."""

    __slots__ = ("_acknowledged", "last", "sent", "since")

    def __init__(self, now: float) -> None:
        self.since = now  # clock seconds of the first item's sending
        self.last: ItemT | None = None
        self.sent = 0
        self._acknowledged = 0

    @property
    def in_flight(self) -> int:
        """Items not acknowledged yet."""
        return self.sent - self._acknowledged

    def acknowledge(self, _: object = None) -> None:
        """Note that the broker has one of the items; what it reports of it does not matter."""
        self._acknowledged += 1


class AcknowledgedPrefix(Generic[ItemT]):
    """Follows what was sent up to an item before which, itself included, everything was acknowledged.

    It is the last such item, or up to `STRETCH` items before: an acknowledgement then costs no more than an addition.
    """

    STRETCH = 64

    def __init__(self) -> None:
        self._stretches: deque[Stretch[ItemT]] = deque()
        self._newest: ItemT | None = None

    def sent(self, item: ItemT, clock: Callable[[], float]) -> Stretch[ItemT]:
        """Note an item as sent now; where to acknowledge it."""
        stretch = self._stretches[-1] if self._stretches else None
        if stretch is None or stretch.sent == self.STRETCH or not stretch.in_flight:
            stretch = Stretch(clock())
            self._stretches.append(stretch)
        stretch.last = item
        stretch.sent += 1
        return stretch

    @property
    def newest(self) -> ItemT | None:
        """The item up to which the broker has everything; None before any."""
        while self._stretches and not self._stretches[0].in_flight:
            self._newest = self._stretches.popleft().last
        return self._newest

    @property
    def in_flight(self) -> int:
        """Items that the broker may not have."""
        return sum(stretch.in_flight for stretch in self._stretches)

    def oldest_seconds(self, now: float) -> float:
        """How long the oldest stretch without all its acknowledgements has waited for them; 0 where none waits."""
        waiting = next((stretch for stretch in self._stretches if stretch.in_flight), None)
        return 0.0 if waiting is None else now - waiting.since
