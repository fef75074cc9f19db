"""How well a user is known."""

from __future__ import annotations

from enum import StrEnum

from shared.times import DAY_MS

# Where one class of users ends and another begins, in events and in days without any.
OCCASIONAL_EVENTS, REGULAR_EVENTS, LAPSED_DAYS = 3, 10, 180


class UserClass(StrEnum):
    """How well a user is known."""

    NEW = "new"  # no event, or fewer than `OCCASIONAL_EVENTS`
    OCCASIONAL = "occasional"  # fewer than `REGULAR_EVENTS`
    REGULAR = "regular"
    LAPSED = "lapsed"  # any number of events, the newest more than `LAPSED_DAYS` ago


USER_CLASSES = tuple(UserClass)


def user_class(events: int, newest_ms: int, now_ms: int) -> UserClass:
    """What class a user with so many events, the newest at `newest_ms`, is of at `now_ms`."""
    if events and now_ms - newest_ms > LAPSED_DAYS * DAY_MS:
        return UserClass.LAPSED
    if events < OCCASIONAL_EVENTS:
        return UserClass.NEW
    return UserClass.OCCASIONAL if events < REGULAR_EVENTS else UserClass.REGULAR
