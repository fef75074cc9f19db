"""Files of reviews and products in SNAP's formats, for tests of what reads them."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from replay.metrics import ReplayMetrics
from replay.order.ordered_copy import Extent, OrderedCopy, Selection
from replay.order.ordering import ordered_copy
from replay.reading.mapping import ColumnMapping
from replay.settings import ReplaySettings
from shared.process.terminal import Watch

FIRST_SECONDS = 1_300_060_800  # 2011-03-14, midnight UTC
DAY_SECONDS = 86_400


def review(n: int = 0, **fields: Any) -> dict[str, Any]:
    """A review in the form of 2014; `n` tells it from others, and is its day."""
    whole: dict[str, Any] = {
        "reviewerID": f"A{n}",
        "asin": f"B{n}",
        "helpful": [2, 3],
        "reviewText": f"It is number {n}.",
        "overall": 4.0,
        "summary": "Good",
        "unixReviewTime": FIRST_SECONDS + n * DAY_SECONDS,
    }
    return whole | fields


def shop(count: int, *, users: int = 50, products: int = 30, per_day: int = 5) -> list[dict[str, Any]]:
    """`count` different reviews of some users, the newest first, `per_day` on each day."""
    return [
        review(
            reviewerID=f"A{n % users}",
            asin=f"B{n * 7 % products}",
            reviewText=f"Review {n}",
            unixReviewTime=FIRST_SECONDS + n // per_day * DAY_SECONDS,
        )
        for n in reversed(range(count))
    ]


def write(path: Path, records: Iterable[dict[str, Any] | bytes], *, loose: bool = False) -> Path:
    """Write one record a line; gzip where the name says so; bytes go in as they are."""
    lines = [r if isinstance(r, bytes) else (repr(r) if loose else json.dumps(r)).encode() for r in records]
    content = b"".join(line + b"\n" for line in lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def ordered(
    reviews: Path,
    state_dir: Path,
    metadata: Path | None = None,
    stop: threading.Event | None = None,
    mapping: ColumnMapping | None = None,
    **settings: Any,
) -> OrderedCopy:
    """The ordered copy of a file, as a replay makes it."""
    watch = Watch(stop or threading.Event())
    return ordered_copy(
        reviews,
        metadata,
        ReplaySettings(state_dir=state_dir, **settings),
        watch,
        mapping,
        metrics=ReplayMetrics(CollectorRegistry()),
    )


def everything(copy: OrderedCopy) -> Extent:
    """The extent of the whole copy."""
    return copy.extent(Selection())
