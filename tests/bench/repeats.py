"""Measuring a thing and its limit by turns, so that what else the machine does falls on both."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.figures import shown


@dataclass(frozen=True, slots=True)
class Spread:
    """What repeats of one measurement gave."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The value to report."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{shown(min(self.values))} to {shown(max(self.values))}"


def interleaved(
    measures: Mapping[str, Callable[[], float]], repeats: int, *, warm_ups: int = 1, say: Callable[[str], None]
) -> dict[str, Spread]:
    """Measure A B A B …, `repeats` times each, after `warm_ups` rounds that do not count."""
    values_of: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(-warm_ups, repeats):
        for name, measure in measures.items():
            value = measure()
            say(f"{name}: {shown(value)}{' (warm-up)' if turn < 0 else ''}")
            if turn >= 0:
                values_of[name].append(value)
    return {name: Spread(values) for name, values in values_of.items()}
