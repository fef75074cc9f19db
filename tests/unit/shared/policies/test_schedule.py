"""When steps are taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.policies.freshet.settings import SHARE, steps_after


def test_steps_grow_rarer_between_the_two_bounds() -> None:
    assert [steps_after(n, 8, 64) for n in (0, 7, 8, 15, 16, 8000)] == [0, 0, 1, 1, 2, 1000]
    assert steps_after(16_000, 8, 64) == 1000 + 693, "ln 2 of a thousand while the number doubles"
    assert steps_after(64_000, 8, 64) == 1000 + 2079
    assert steps_after(64_000 + 6400, 8, 64) == 1000 + 2079 + 100
    assert steps_after(10**9, 8, 8) == 10**9 // 8, "always the same where both are"


@given(st.integers(1, 300), st.integers(1, 50), st.integers(0, 200), st.integers(0, 10**6))
def test_a_step_comes_at_most_every_first_and_at_least_every_most(n: int, first: int, more: int, before: int) -> None:
    most = first + more
    steps = steps_after(before + n, first, most) - steps_after(before, first, most)
    assert n // most - 1 <= steps <= n // first + 1
    if before > most * SHARE:
        assert steps == pytest.approx(n / most, abs=1)
