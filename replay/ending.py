"""Moves a dataset in time, so that what came years ago ends today and live events follow it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Literal

from shared.errors import Unusable
from shared.events import END_MS
from shared.times import DAY_MS

Ending = date | Literal["now"]


def moved_ms(ending: Ending, first_ms: int, last_ms: int, now_ms: int) -> int:
    """What to add to event times that reach from `first_ms` to `last_ms`, in whole days: hours of the day stay.

    The last event then lies on the day asked for; with `now` as late as it can without lying after `now_ms`.

    Raises:
        Unusable: the first event would lie before 1970, or the last after 2200.
    """
    if ending == "now":
        moved = (now_ms - last_ms) // DAY_MS * DAY_MS
    else:
        day_ms = int(datetime(ending.year, ending.month, ending.day, tzinfo=UTC).timestamp() * 1000)
        moved = day_ms - last_ms // DAY_MS * DAY_MS
    if first_ms + moved <= 0 or last_ms + moved >= END_MS - 1:
        raise Unusable(f"--ending {ending}: event times would leave the years 1970 to 2199; name another day")
    return moved
