"""Good values of settings, from how a file's numbers lie."""

from __future__ import annotations

import pytest

from replay.reading.inspection import Spread, round_up, scales


@pytest.mark.parametrize(("value", "up"), [(18.0, 18), (18.01, 19), (0.0123, 0.013), (1212.9, 1300), (99.5, 100)])
def test_scales_are_round_figures(value: float, up: float) -> None:
    assert round_up(value) == pytest.approx(up)
    spread = Spread(least=0, median=0, p99=value, most=value)
    assert scales(spread, None)["FRESHET_FEATURES_PRICE_MAXIMUM"] == pytest.approx(up)
