"""Times as files write them."""

from __future__ import annotations

import pytest

from replay.reading.mapping import ISO, MILLISECONDS, SECONDS, time_format_of, time_reader

DAY = 1_323_388_800_000  # 2011-12-09, midnight UTC
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("time_format", "zone", "text", "time_ms"),
    [
        (SECONDS, "UTC", "1323388800", DAY),
        (SECONDS, "Europe/London", "1323388800.5", DAY + 500),
        (MILLISECONDS, "UTC", "1323388800123", DAY + 123),
        (ISO, "UTC", "2011-12-09", DAY),
        (ISO, "UTC", "2011-12-09 12:50:00", DAY + 12 * HOUR + 3_000_000),
        (ISO, "UTC", "2011-12-09T01:00:00.250", DAY + HOUR + 250),
        (ISO, "UTC", "2011-12-09T01:00:00Z", DAY + HOUR),
        (ISO, "America/New_York", "2011-12-09T01:00:00+01:00", DAY),
        (ISO, "America/New_York", "2011-12-09 00:00", DAY + 5 * HOUR),
        (ISO, "UTC", "20111209", DAY),
        (ISO, "America/New_York", "2011-12-09", DAY),
        ("%d.%m.%Y", "America/New_York", "09.12.2011", DAY),
        ("%d.%m.%Y %H:%M", "UTC", "09.12.2011 01:00", DAY + HOUR),
        ("%m/%d/%Y %H:%M", "Europe/Berlin", "12/9/2011 1:00", DAY),
        ("%Y-%m-%d %H:%M:%S%z", "Europe/Berlin", "2011-12-09 00:00:00-0100", DAY + HOUR),
        (ISO, "Europe/London", "2011-07-01 01:00", 1_309_478_400_000),  # an hour ahead in summer
        (ISO, "Europe/London", "2011-10-30 01:30", 1_319_934_600_000),  # twice that night: the first, still summer time
    ],
)
def test_good(time_format: str, zone: str, text: str, time_ms: int) -> None:
    assert time_reader(time_format, zone)(text) == time_ms


@pytest.mark.parametrize(
    ("time_format", "text", "message"),
    [
        (SECONDS, "2011-12-09", "must be seconds since 1970, got '2011-12-09'"),
        (SECONDS, "0", "after 1970 and before 2200"),
        (SECONDS, "-5", "after 1970 and before 2200"),
        (SECONDS, "1323388800123", "after 1970 and before 2200"),
        (SECONDS, "nan", "after 1970 and before 2200"),
        (MILLISECONDS, "inf", "after 1970 and before 2200"),
        (ISO, "yesterday", "a date and time such as 2011-12-09 12:50:00, got 'yesterday'"),
        (ISO, "2011-13-09", "a date and time such as"),
        (ISO, "1969-12-31", "after 1970 and before 2200"),
        (ISO, "2200-01-01", "after 1970 and before 2200"),
        (ISO, "9999-12-31T23:59:59-23:00", "must be "),
        (ISO, "0001-01-01T00:00:00+23:00", "must be "),
        ("%d.%m.%Y", "12/09/2011", r"must be as in %d\.%m\.%Y, got '12/09/2011'"),
    ],
)
def test_bad(time_format: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        time_reader(time_format, "UTC")(text)


@pytest.mark.parametrize(
    ("values", "time_format"),
    [
        (["1303862400", "1219017600.0"], SECONDS),
        (["1303862400123", "5"], MILLISECONDS),
        (["2010-12-01 08:26:00", "2010-12-01"], ISO),
        (["20111209", "20111210"], ISO),
        (["2010-12-01 08:26:00"] * 9 + ["soon"], ISO),
        (["12/1/2010 8:26"], "%m/%d/%Y %H:%M"),
        (["13/1/2010 8:26"], None),
        (["soon", "later"], None),
    ],
)
def test_the_format_of_nearly_all_is_told(values: list[str], time_format: str | None) -> None:
    assert time_format_of(values, ["%m/%d/%Y %H:%M"]) == time_format
