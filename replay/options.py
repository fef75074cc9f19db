"""Options that several commands share, and argparse types: functions from a text to a value."""

from __future__ import annotations

import argparse
import math
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal

from shared.log.records import DAY_MS, END_MS
from shared.process.errors import Unusable

Ending = date | Literal["now"]
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def add_dataset(
    parser: argparse.ArgumentParser, *, data: str = "reviews, or a shop's export", metadata: str | None = None
) -> None:
    """Add DATA, --mapping, and --metadata where it is used.

    Args:
        data: what DATA may be.
        metadata: what is read from it; None: there is no such option.
    """
    parser.add_argument("data", type=Path, metavar="DATA", help=data)
    if metadata is not None:
        parser.add_argument("--metadata", type=Path, metavar="FILE", help=f"{metadata}, as SNAP publishes it")
    parser.add_argument("--mapping", type=Path, metavar="MAP.toml", help="which column of a CSV is what")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add --from, --until and --users-sample, which `replay.order.ordered_copy.selection_of` reads."""
    parser.add_argument(
        "--from", dest="from_", type=moment_ms, metavar="DATE", help="leave out events before this time (UTC)"
    )
    parser.add_argument("--until", type=moment_ms, metavar="DATE", help="leave out events from this time on (UTC)")
    parser.add_argument(
        "--users-sample", type=share, default=1.0, metavar="SHARE",
        help="only this share of the users, the same ones every time, with all their events; each event of a guest "
        "counts as a user (default: all)",
    )  # fmt: skip


def duration(text: str) -> float:
    """`90s`, `5m`, `2h`, `1d` as seconds."""
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time above 0 such as 90s, 5m, 2h or 1d")
    return seconds


def positive(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def speed(text: str) -> float | None:
    """Event time / wall time; None for `max`."""
    if text.strip() == "max":
        return None
    try:
        return positive(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor max") from None


def count(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"[0-9]{1,15}", text.strip()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def share(text: str) -> float:
    """A share above 0 and up to 1."""
    number = positive(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: above 0, up to 1")
    return number


def moment_ms(text: str) -> int:
    """`2013-01-31` or `2013-01-31T12:00:00` as ms since 1970; UTC unless it names a zone."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2013-01-31 or 2013-01-31T12:00:00") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def moment(time_ms: int) -> str:
    """A time as `moment_ms` reads it: a day, with the time of day where it isn't midnight."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().removesuffix("+00:00").removesuffix("T00:00:00")


def ending(text: str) -> Ending:
    """`now`, or a day such as `2013-01-31`."""
    if text.strip() == "now":
        return "now"
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither now nor a day such as 2013-01-31") from None


def moved_ms(ending: Ending, first_ms: int, last_ms: int, now_ms: int) -> int:
    """What --ending adds to event times from `first_ms` to `last_ms`: whole days, so hours of the day stay.

    The last event then lies on the day named, or, with `now`, as late as it can without lying after `now_ms`.

    Raises:
        Unusable: the first event would lie before 1970, or the last after 2200.
    """
    if ending == "now":
        moved = (now_ms - last_ms) // DAY_MS * DAY_MS
    else:
        day_ms = int(datetime(ending.year, ending.month, ending.day, tzinfo=UTC).timestamp() * 1000)
        moved = day_ms - last_ms // DAY_MS * DAY_MS
    if first_ms + moved <= 0 or last_ms + moved >= END_MS - 1:
        raise Unusable(
            f"--ending {ending}: event times would leave the years 1970 to 2199; name another day, or leave out with "
            "--until what lies ahead of the clock"
        )
    return moved
