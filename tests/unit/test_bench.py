"""The output of `make bench`: which targets are met, the table, the JSON, and the list of benchmarks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.bench.__main__ import UNUSABLE, benches, main
from tests.bench.figures import Figure, shown, table
from tests.bench.repeats import interleaved


def figure(value: float, *, limit: float | None, wanted: float | None, at_least: bool = True, note: str = "") -> Figure:
    return Figure("reading", value, "events/s", limit, "bare reader", wanted, at_least, note)


def test_with_a_limit_the_ratio_is_judged_without_one_the_value() -> None:
    assert [figure(value, limit=200, wanted=0.5).met for value in (99, 100, 300)] == [False, True, True]
    assert figure(50, limit=200, wanted=None).ratio == 0.25
    assert [figure(value, limit=None, wanted=10, at_least=False).met for value in (9.9, 10, 10.1)] == [
        True,
        True,
        False,
    ]
    assert figure(50, limit=None, wanted=None).ratio is None
    assert figure(50, limit=None, wanted=None).met is None
    nothing = figure(50, limit=0.0, wanted=0.5)
    assert nothing.ratio is not None
    assert math.isnan(nothing.ratio)
    assert nothing.met is False


def test_the_table_says_all_of_a_figure() -> None:
    lines = table(
        [
            figure(1500, limit=2000, wanted=0.5, note="noise"),
            figure(7.25, limit=None, wanted=5, at_least=False),
            figure(1, limit=None, wanted=None),
        ]
    ).splitlines()
    assert lines[0].split() == ["figure", "measured", "limit", "ratio", "wanted", "met", "note"]
    assert lines[2].split("  ")[0] == "reading"
    for cell in ("1,500 events/s", "2,000 (bare reader)", "0.75", "≥ 0.5", "✓", "noise"):
        assert cell in lines[2]
    for cell in ("7.25 events/s", "≤ 5 events/s", "✗"):
        assert cell in lines[3]
    assert lines[4].split() == ["reading", "1", "events/s", "-", "-", "-", "-"]
    assert lines[2].index("✓") == lines[3].index("✗")


def test_json_holds_what_the_table_holds() -> None:
    parsed = json.loads(json.dumps(figure(150, limit=200, wanted=0.5, note="noise").as_json()))
    assert parsed == {
        "name": "reading",
        "value": 150,
        "unit": "events/s",
        "limit": 200,
        "limit_name": "bare reader",
        "wanted": 0.5,
        "at_least": True,
        "note": "noise",
        "ratio": 0.75,
        "met": True,
    }


@pytest.mark.parametrize(("value", "text"), [(0.123456, "0.123"), (5.0, "5"), (99.94, "99.9"), (123456.7, "123,457")])
def test_numbers_are_shown_with_the_digits_that_count(value: float, text: str) -> None:
    assert shown(value) == text


def test_what_is_compared_is_measured_by_turns_and_warm_ups_do_not_count() -> None:
    turns = iter(range(100))
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(next(turns))

    lines: list[str] = []
    repeats = interleaved({"a": lambda: measure("a"), "b": lambda: measure("b")}, 3, say=lines.append)
    assert order == ["a", "b"] * 4
    assert repeats["a"].values == [2.0, 4.0, 6.0]
    assert repeats["b"].median == 5.0
    assert str(repeats["b"]) == "3 to 7"
    assert lines[0] == "a: 0 (warm-up)"


def test_every_benchmark_says_what_it_measures() -> None:
    known = benches()
    assert {"recommend", "record_events", "freshness"} <= known.keys()
    assert "figures" not in known
    assert all(len(about) > 20 for about in known.values())


def test_a_name_that_no_benchmark_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["recomend", "--json", str(tmp_path / "bench.json")]) == UNUSABLE
    assert "no benchmark is called 'recomend'; did you mean recommend?" in capsys.readouterr().err
    assert not (tmp_path / "bench.json").exists()
    assert main(["xyz"]) == UNUSABLE
    assert "there are " in capsys.readouterr().err
