"""When something happened, as a file says it → milliseconds since 1970."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shared.events import END_MS

SECONDS, MILLISECONDS, ISO = "seconds", "milliseconds", "iso"
_UNITS_MS = {SECONDS: 1000, MILLISECONDS: 1}

# Counted since 1970, a number below is seconds up to the year 5138, one from it on milliseconds from 1973 on.
_LEAST_MILLISECONDS = 1e11

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_DAY = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")  # 20111209: ISO has it too
_HOURS = re.compile(r"%[HIcX]")  # directives of strptime for a time of the day
_MOSTLY = 0.9  # real files are dirty
_CACHED = 2**16  # lines of one minute, or of one basket, share their time


def clock(time_format: str, zone: str) -> Callable[[str], int]:
    """What reads times of one format.

    A time without a zone is one of `zone`; of one that occurs twice as clocks are set back the first is meant. A day
    without a time is a whole day of UTC, as SNAP's are, in any zone. The reader raises ValueError with what is wrong.

    Args:
        time_format: seconds, milliseconds, iso, or as strptime has it.
        zone: a name of the tz database.
    """
    if time_format in _UNITS_MS:
        unit_ms = _UNITS_MS[time_format]

        def numeric(text: str) -> int:
            try:
                time_ms = float(text) * unit_ms
            except ValueError:
                raise ValueError(f"must be {time_format} since 1970, got {ascii(text)[:80]}") from None
            return _plausible(time_ms, text)

        return numeric
    where = zone_of(zone)
    is_of_days = time_format != ISO and _HOURS.search(time_format) is None

    @functools.lru_cache(_CACHED)
    def written(text: str) -> int:
        try:
            when = datetime.fromisoformat(text) if time_format == ISO else _strptime(text, time_format)
            if when.tzinfo is None:
                when = when.replace(tzinfo=UTC if is_of_days or (time_format == ISO and len(text) <= 10) else where)
            return _plausible(when.timestamp() * 1000, text)
        except (ValueError, OverflowError) as error:
            if "2200" in str(error):
                raise
            wanted = "a date and time such as 2011-12-09 12:50:00" if time_format == ISO else f"as in {time_format}"
            raise ValueError(f"must be {wanted}, got {ascii(text)[:80]}") from None

    return written


def _strptime(text: str, time_format: str) -> datetime:
    return datetime.strptime(text, time_format)  # noqa: DTZ007  # the zone comes after, where the text has none


def _plausible(time_ms: float, text: str) -> int:
    if not 0 < time_ms < END_MS:
        raise ValueError(f"must be after 1970 and before 2200, got {ascii(text)[:80]}")
    return int(time_ms)


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; it must be a name such as UTC or Europe/London") from None


def format_of(values: Sequence[str], also: Iterable[str] = ()) -> str | None:
    """The format that nearly all of some values have, None where none is; `also`: formats beside the plain ones."""
    wanted = _MOSTLY * len(values)
    numbers = sorted(abs(float(value)) for value in values if _NUMBER.fullmatch(value))
    if len(numbers) >= wanted and sum(_DAY.fullmatch(value) is not None for value in values) < wanted:
        return MILLISECONDS if numbers[len(numbers) // 2] >= _LEAST_MILLISECONDS else SECONDS
    return next((candidate for candidate in (ISO, *also) if _fitting(candidate, values) >= wanted), None)


def _fitting(time_format: str, values: Iterable[str]) -> int:
    read = clock(time_format, "UTC")
    found = 0
    for value in values:
        with contextlib.suppress(ValueError):
            read(value)
            found += 1
    return found
