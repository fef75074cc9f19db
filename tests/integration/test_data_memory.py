"""More than memory holds is put in order: with the process capped, by runs on the disk, and not without them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.capped import ordered_capped, write_reviews

MB = 2**20


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux heeds RLIMIT_DATA as it is meant here")
def test_a_file_is_put_in_order_under_a_cap_that_it_does_not_fit_into(tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.json"
    count = write_reviews(reviews, size_bytes=200 * MB, text_characters=8_000)
    cap = 330 * MB  # Python, numpy and DuckDB take 150 of it before the first line is read
    out_of_core = ordered_capped(reviews, tmp_path / "a", cap_bytes=cap, ordering_memory_mb=64)
    assert out_of_core.failed == ""
    assert (out_of_core.events, out_of_core.in_order) == (count, True)
    in_memory = ordered_capped(reviews, tmp_path / "b", cap_bytes=cap, ordering_memory_mb=10_000)
    assert in_memory.failed, "a MemoryError, or a library in C that does not look whether it got the memory"
