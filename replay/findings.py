"""What was found in a file, and good values for the settings that follow from it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd

_SCALE_QUANTILE = 0.99


class Spread(BaseModel):
    """How the values of a number lie, from a sample where there are many."""

    model_config = ConfigDict(frozen=True)

    least: float
    median: float
    p99: float
    most: float


class Findings(BaseModel):
    """What was found in a file."""

    model_config = ConfigDict(frozen=True)

    file: str
    bytes: int
    holds: str  # events or products
    format: str
    lines: int  # but blank ones
    usable: int
    repeats: int  # exact copies of an earlier line, left out of what follows
    rejected: dict[str, int]  # reason → lines
    examples: dict[str, list[str]]  # reason → the first few
    broken: str
    products: int
    missing: dict[str, float]  # field → share of the usable records without it
    price: Spread | None
    users: int = 0
    guests: int = 0  # events without a user
    one_event_users: int = 0
    seen_again: int = 0  # events of the masked kinds on a product that the user had reviewed or rated before
    first_ms: int = 0
    last_ms: int = 0
    whole_days: bool = False
    kinds: dict[str, int] = {}
    stars: dict[str, int] = {}
    helpful: Spread | None = None  # where the file does not say how many voted in all
    scales: dict[str, float] = {}  # variable → a good value


def spread(values: pd.Series[float]) -> Spread | None:
    """How some values lie, None where there are none."""
    if values.empty:
        return None
    least, median, p99, most = values.quantile([0.0, 0.5, _SCALE_QUANTILE, 1.0])
    return Spread(least=least, median=median, p99=p99, most=most)


def scales(price: Spread | None, helpful: Spread | None) -> dict[str, float]:
    """Good values of the features service's scales: what 99 in 100 stay below, in round figures."""
    found = {}
    if price is not None:
        found["FRESHET_FEATURES_PRICE_MAXIMUM"] = round_up(price.p99)
    if helpful is not None:
        found["FRESHET_FEATURES_HELPFUL_MAXIMUM"] = max(2.0, round_up(helpful.p99))
    return found


def round_up(value: float) -> float:
    """The next number with two digits that count."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / unit, 6)) * unit:.6g}")
