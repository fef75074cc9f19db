"""What a benchmark gives: figures, each beside its limit, and the table that shows them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MET = {True: "✓", False: "✗", None: "-"}
TITLES = ("figure", "measured", "limit", "ratio", "wanted", "met", "note")


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """How a benchmark is run.

    Attributes:
        quick: small and rough, to see that it works.
        folder: an empty one of the benchmark's own.
        data: the real reviews, where this machine has them.
        say: shows a line of progress.
    """

    quick: bool
    folder: Path
    data: Path | None
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value beside what bounds it.

    Attributes:
        limit: what the same run measured of the bare thing, in the same unit; None: there is none.
        limit_name: what the bare thing is.
        wanted: of the ratio where there is a limit, else of the value; None: nothing is wanted.
        at_least: whether more is better.
        note: noise, conditions, and where it is missed, why.
    """

    name: str
    value: float
    unit: str
    limit: float | None
    limit_name: str
    wanted: float | None
    at_least: bool
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The value beside its limit, None without one."""
        return None if self.limit is None else self.value / self.limit if self.limit else float("nan")

    @property
    def met(self) -> bool | None:
        """Whether what is wanted was reached, None where nothing is wanted."""
        if self.wanted is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        return measured >= self.wanted if self.at_least else measured <= self.wanted

    def as_json(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self) | {"ratio": self.ratio, "met": self.met}


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned columns, one a line, under their titles."""
    rows = [TITLES, *map(_row, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    widths[-1] = len(TITLES[-1])  # nothing stands to the right of the notes
    rows.insert(1, tuple("─" * width for width in widths))
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def shown(value: float) -> str:
    """A number with three digits that count, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _row(figure: Figure) -> tuple[str, ...]:
    sign = "≥" if figure.at_least else "≤"
    unit = "" if figure.ratio is not None else f" {figure.unit}"
    return (
        figure.name,
        f"{shown(figure.value)} {figure.unit}",
        "-" if figure.limit is None else f"{shown(figure.limit)} ({figure.limit_name})",
        "-" if figure.ratio is None else f"{figure.ratio:.2f}",
        "-" if figure.wanted is None else f"{sign} {shown(figure.wanted)}{unit}",
        MET[figure.met],
        figure.note,
    )
