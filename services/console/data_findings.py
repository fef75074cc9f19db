"""What was found in a file, as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replay.findings import Findings, Spread

_COLUMN = 14


def lines_of(found: Findings) -> Iterator[str]:
    """All that is worth saying, the most important first."""
    yield f"{found.file}: {found.format}"
    yield ""
    yield _line("lines", _lines(found))
    if found.holds == "events":
        yield from _of_events(found)
    else:
        yield _line("products", f"{found.products:,}")
    if missing := _missing(found):
        yield _line("missing", missing)
    if found.price is not None:
        yield _line("price", _spread(found.price))
    if found.helpful is not None:
        yield _line("helpful votes", f"{_spread(found.helpful)}; how many voted in all is not told")
    yield ""
    yield from _of_rejected(found)
    yield from _of_settings(found)


def _lines(found: Findings) -> str:
    left_out = sum(found.rejected.values())
    said = f"{found.lines:,}" + (f", {left_out:,} can't be used" if left_out else ", all can be used")
    return said + (f"; {found.repeats:,} are exact copies of an earlier one, left out" if found.repeats else "")


def _of_events(found: Findings) -> Iterator[str]:
    events = sum(found.kinds.values())
    alone = f", {found.one_event_users:,} ({_share(found.one_event_users, found.users)}) with one event only"
    yield _line("users", f"{found.users:,}" + (alone if found.one_event_users else ", all with several events"))
    if found.guests:
        share = _share(found.guests, events)
        yield _line("guests", f"{found.guests:,} events ({share}) have no user: they count for trending only")
    yield _line("products", f"{found.products:,}")
    grain = ", whole days" if found.whole_days else ""
    yield _line("time", f"{_moment(found.first_ms, found)} to {_moment(found.last_ms, found)}{grain}")
    yield _line("kinds", ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.items()))
    if found.stars:
        rated = sum(found.stars.values())
        yield _line("stars", ", ".join(f"{stars}: {_share(count, rated)}" for stars, count in found.stars.items()))
    if found.seen_again:
        yield _line(
            "again",
            f"{found.seen_again:,} reviews or ratings ({_share(found.seen_again, events)}) of a product that the user "
            "had reviewed or rated before",
        )


def _missing(found: Findings) -> str:
    some = [f"{name} {_percent(share)}" for name, share in found.missing.items() if 0 < share < 1]
    everywhere = [name for name, share in found.missing.items() if share == 1]
    return ", ".join([*some, *([f"{', '.join(everywhere)} 100 %"] if everywhere else [])])


def _of_rejected(found: Findings) -> Iterator[str]:
    if found.broken:
        yield f"{found.broken}. What could be read of it is used: download it again to have the rest."
        yield ""
    if not found.rejected:
        return
    yield "Lines that can't be used, by reason, with the first of each:"
    for reason, count in found.rejected.items():
        yield f"  {count:>9,}  {reason}"
        for example in found.examples.get(reason, []):
            yield f"             {example}"
    if found.rejected.get("bad_rating", 0) > 0.1 * found.lines:
        yield "  Stars go from 1 to 5: where the file has another scale, convert it first, or leave the column out."
    yield ""


def _of_settings(found: Findings) -> Iterator[str]:
    if found.scales:
        yield "Good values for this file (99 of 100 stay below), for the environment or .env:"
        for name, value in found.scales.items():
            yield f"  {name}={value:g}"
        yield ""
    elif found.holds == "events" and found.price is None:
        yield "No line has a price. Those of metadata become the events' (--metadata): inspect that for a good scale."
        yield ""


def _spread(values: Spread) -> str:
    return f"{values.least:g} to {values.most:g}, half below {values.median:g}, 99 % below {values.p99:.6g}"


def _moment(time_ms: int, found: Findings) -> str:
    form = "%Y-%m-%d" if found.whole_days else "%Y-%m-%d %H:%M:%S"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime(form)


def _share(count: int, total: int) -> str:
    return _percent(count / max(1, total))


def _percent(share: float) -> str:
    """A share that is never rounded to nothing or to all."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{min(share, 0.999) if share < 1 else 1:.1%}".replace(".0%", "%").replace("%", " %")


def _line(name: str, said: str) -> str:
    return f"  {name:<{_COLUMN}}{said}"
