"""A dataset moved in time by whole days."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.options import moved_ms
from shared.log.records import DAY_MS
from shared.process.errors import Unusable

MIDNIGHT = 1_323_388_800_000  # 2011-12-09 UTC
NOON = MIDNIGHT + DAY_MS // 2


@pytest.mark.parametrize(
    ("last_ms", "days"),
    [(MIDNIGHT, 22), (NOON, 22), (MIDNIGHT + DAY_MS - 1, 22), (MIDNIGHT - 1, 23), (MIDNIGHT + 30 * DAY_MS, -8)],
)
def test_the_last_event_lies_on_the_day_asked_for(last_ms: int, days: int) -> None:
    assert moved_ms(date(2011, 12, 31), MIDNIGHT // 2, last_ms, NOON) == days * DAY_MS


@given(st.integers(MIDNIGHT, MIDNIGHT + 10**11), st.integers(MIDNIGHT + 10**11, MIDNIGHT + 2 * 10**11))
def test_now_is_as_late_as_it_can_be_without_lying_in_the_future(last_ms: int, now_ms: int) -> None:
    moved = moved_ms("now", MIDNIGHT, last_ms, now_ms)
    assert moved % DAY_MS == 0
    assert now_ms - DAY_MS < last_ms + moved <= now_ms


@pytest.mark.parametrize("ending", [date(1971, 1, 1), date(2200, 1, 1)])
def test_times_that_no_event_may_have_are_refused(ending: date) -> None:
    with pytest.raises(Unusable, match="leave the years 1970 to 2199"):
        moved_ms(ending, MIDNIGHT - 800 * DAY_MS, MIDNIGHT, NOON)
