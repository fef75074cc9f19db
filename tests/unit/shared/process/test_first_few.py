"""A flood of lines is told by its first few and by how many more there were, and none is left out of the count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.process.telemetry import FEW, SECONDS, FirstFew


class Log:
    """Lines said through a `FirstFew` whose clock stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self.logged: list[str] = []
        self.lines = FirstFew(self.logged.append, lambda: self.now)

    def fresh(self) -> list[str]:
        """What was said since the last call."""
        logged = self.logged[:]
        self.logged.clear()
        return logged


@pytest.fixture
def log() -> Log:
    return Log()


def test_the_first_few_are_said_and_the_others_counted_once_a_period(log: Log) -> None:
    for n in range(FEW + 1000):
        log.lines.add("states", f"line {n}")
    assert log.fresh() == [f"line {n}" for n in range(FEW)]
    log.now += SECONDS - 1
    log.lines.due()
    assert log.fresh() == []
    log.now += 1
    log.lines.due()
    assert log.fresh() == [f"1,000 more in 10 s, the newest: line {FEW + 999}"]
    log.lines.due()
    assert log.fresh() == []


def test_a_flood_that_goes_on_is_only_counted_until_it_has_ended(log: Log) -> None:
    for n in range(FEW + 1):
        log.lines.add("states", f"line {n}")
    log.now += SECONDS
    log.fresh()
    log.lines.add("states", "late")
    assert log.fresh() == [f"1 more in 10 s, the newest: line {FEW}"]
    log.now += 2 * SECONDS
    log.lines.due()
    assert log.fresh() == ["1 more in 20 s, the newest: late"]
    log.now += SECONDS
    log.lines.add("states", "anew")
    assert log.fresh() == ["anew"]


def test_few_in_each_period_are_all_said(log: Log) -> None:
    for n in range(50):
        log.lines.add("states", f"line {n}")
        log.now += SECONDS / FEW
    assert log.fresh() == [f"line {n}" for n in range(50)]


def test_a_flood_of_one_kind_hides_no_other(log: Log) -> None:
    for n in range(100):
        log.lines.add("states", f"line {n}")
    log.lines.add("products", "another")
    assert log.fresh()[-1] == "another"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0.0, 15.0)), max_size=60))
def test_each_line_is_said_or_counted_once(steps: list[tuple[str, float]]) -> None:
    log = Log()
    for kind, pause in steps:
        log.lines.add(kind, "line")
        log.now += pause
    log.now += SECONDS
    log.lines.due()
    assert sum(1 if line == "line" else int(line.split()[0]) for line in log.logged) == len(steps)
