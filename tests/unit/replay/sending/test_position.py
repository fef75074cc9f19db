"""A position is what was acknowledged without a gap, and is kept in one step."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.order.ordered_copy import Selection
from replay.sending.progress import POSITION, AcknowledgedPrefix, ReplayPosition
from shared.process.errors import Unusable


@given(st.permutations(range(12)), st.integers(1, 5), st.lists(st.booleans(), min_size=12, max_size=12))
def test_the_prefix_never_passes_what_is_not_acknowledged(order: list[int], stretch: int, look: list[bool]) -> None:
    prefix: AcknowledgedPrefix[int] = AcknowledgedPrefix()
    prefix.STRETCH = stretch  # type: ignore[misc]
    places = [prefix.sent(n, lambda: 0.0) for n in range(12)]
    acknowledged: set[int] = set()
    for n, looks in zip(order, look, strict=True):
        places[n].acknowledge()
        acknowledged.add(n)
        whole = next((k for k in range(13) if k not in acknowledged), 13)
        assert prefix.in_flight == 12 - len(acknowledged)
        if looks:
            newest = -1 if prefix.newest is None else prefix.newest
            assert whole - stretch <= newest + 1 <= whole, "up to a stretch behind, and never ahead"
    assert prefix.newest == 11


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_prefix_is_exact_whenever_nothing_is_in_flight(acknowledge_all: list[bool]) -> None:
    prefix: AcknowledgedPrefix[int] = AcknowledgedPrefix()
    waiting = []
    for n, all_of_them in enumerate(acknowledge_all):
        waiting.append(prefix.sent(n, lambda: 0.0))
        if all_of_them:
            while waiting:
                waiting.pop().acknowledge()
            assert (prefix.newest, prefix.in_flight) == (n, 0)


def test_it_knows_how_long_the_oldest_waits() -> None:
    prefix: AcknowledgedPrefix[str] = AcknowledgedPrefix()
    assert prefix.oldest_seconds(100.0) == 0
    first, second = (prefix.sent(f"item {n}", lambda n=n: 100.0 + n) for n in range(2))  # type: ignore[misc]
    assert prefix.oldest_seconds(105.0) == 5
    first.acknowledge()
    second.acknowledge()
    assert prefix.oldest_seconds(105.0) == 0
    third = prefix.sent("item 2", lambda: 103.0)
    assert prefix.oldest_seconds(105.0) == 2, "not since what came before it"
    third.acknowledge()
    assert prefix.oldest_seconds(105.0) == 0


def test_it_is_kept_and_read(tmp_path: Path) -> None:
    assert ReplayPosition.load(tmp_path) is None
    for sequence in (5, 6):
        position = ReplayPosition(
            fingerprint="f", log_identity="l", selection=Selection(users_share=0.5), loop=2, sequence=sequence
        )
        position.save(tmp_path)
        assert ReplayPosition.load(tmp_path) == position
    assert [file.name for file in tmp_path.iterdir()] == [POSITION]


@pytest.mark.parametrize("content", ["", "{", '{"loop": 1}', "\x00"])
def test_a_damaged_one_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / POSITION).write_text(content)
    with pytest.raises(Unusable, match="delete it"):
        ReplayPosition.load(tmp_path)


@pytest.mark.parametrize(
    ("selection", "options"),
    [
        (Selection(), "everything"),
        (Selection(from_ms=1_300_060_800_000, users_share=0.25), "--from 2011-03-14 --users-sample 0.25"),
        (Selection(until_ms=1_300_060_801_000), "--until 2011-03-14T00:00:01"),
    ],
)
def test_a_selection_is_told_as_the_command_line_has_it(selection: Selection, options: str) -> None:
    assert selection.as_options() == options
