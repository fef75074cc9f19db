"""What the command line says, as values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from replay import options


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (options.duration, "90s", 90.0),
        (options.duration, "1.5m", 90.0),
        (options.duration, "2h", 7200.0),
        (options.duration, "1d", 86400.0),
        (options.duration, "250ms", 0.25),
        (options.speed, "max", None),
        (options.speed, "1e5", 100_000.0),
        (options.positive, "0.5", 0.5),
        (options.count, "3", 3),
        (options.share, "1", 1.0),
        (options.ending, "now", "now"),
        (options.ending, "2013-01-31", date(2013, 1, 31)),
        (options.moment_ms, "2013-01-31", 1_359_590_400_000),
        (options.moment_ms, "2013-01-31T01:00:00", 1_359_594_000_000),
        (options.moment_ms, "2013-01-31T01:00:00+01:00", 1_359_590_400_000),
    ],
)
def test_good(read: Callable[[str], Any], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((options.duration, text) for text in ("", "5", "0s", "-5m", "5 parsecs", "infs")),
        *((options.speed, text) for text in ("fast", "0", "nan", "inf", "-1")),
        *((options.positive, text) for text in ("", "0", "x")),
        *((options.count, text) for text in ("0", "-1", "1.5", "²")),
        *((options.share, text) for text in ("0", "1.1", "50%")),
        *((options.ending, text) for text in ("", "today", "2013-02-30", "2013-01-31T12:00")),
        *((options.moment_ms, text) for text in ("", "yesterday", "2013-02-30")),
    ],
)
def test_bad(read: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        read(text)
