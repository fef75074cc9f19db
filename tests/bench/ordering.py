"""Putting a file in order that is four times as large as the memory: what it takes, with the process capped there."""

from __future__ import annotations

import time

from tests.bench.figures import BenchSettings, Figure
from tests.support.capped import ordered_capped, write_reviews

MB = 2**20

# Python, numpy and DuckDB take 150 MB before the first line: a quarter of the file must leave room for the work.
FILE_MB, QUICK_FILE_MB, LEAST_CAP_MB = 1_280, 128, 320
ORDERING_MEMORY_MB = 64
TEXT_CHARACTERS = 2_000


def run(settings: BenchSettings) -> list[Figure]:
    """The most that was resident, beside a quarter of the file's size."""
    size_mb = QUICK_FILE_MB if settings.quick else FILE_MB
    cap_mb = max(LEAST_CAP_MB, size_mb // 4)
    file = settings.folder / "reviews.json"
    settings.say(f"writing {size_mb:,} MB of reviews in no order")
    count = write_reviews(file, size_bytes=size_mb * MB, text_characters=TEXT_CHARACTERS)
    settings.say(f"putting {count:,} reviews in order under a cap of {cap_mb} MB")
    start = time.monotonic()
    ordering = ordered_capped(
        file, settings.folder / "ordered", cap_bytes=cap_mb * MB, ordering_memory_mb=ORDERING_MEMORY_MB
    )
    seconds = time.monotonic() - start
    if ordering.failed or not ordering.in_order or ordering.events != count:
        raise AssertionError(f"not put in order: {ordering}")
    settings.say("the same without runs on the disk, under the same cap")
    whole = ordered_capped(file, settings.folder / "whole", cap_bytes=cap_mb * MB, ordering_memory_mb=10 * size_mb)
    without = f"without runs on the disk it fails ({whole.failed})" if whole.failed else "it fits in memory as well"
    return [
        Figure(
            name="ordering, memory",
            value=ordering.peak_bytes / MB,
            unit="MB",
            limit=size_mb / 4,
            limit_name="a quarter of the file",
            wanted=None if settings.quick else 1.0,
            at_least=False,
            note=f"capped at {cap_mb} MB by RLIMIT_DATA; {without}",
        ),
        Figure(
            name="ordering, speed",
            value=size_mb / seconds,
            unit="MB/s",
            limit=None,
            limit_name="",
            wanted=None,
            at_least=True,
            note=f"{count / seconds:,.0f} reviews/s, read again in order included",
        ),
    ]
