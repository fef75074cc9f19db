"""The popularity of the last days beside the one that halves slowly."""

from __future__ import annotations

import numpy as np
import pytest

from shared.policies.freshet.mixture import Trend
from shared.state.shop import StreamSettings
from shared.state.stream import Seen, Stream
from tests.support.states import review


def seen_by(trend: Trend, stream: Stream, product: str, day: int) -> Seen:
    seen = stream.apply(review("", product, day))
    if seen.popularity:
        trend.note(seen)
    trend.add(seen)
    return seen


def months(*, fashions: bool) -> tuple[Trend, Stream]:
    """A year of ten events a day among twelve products: every month another one, or all the year round."""
    trend, stream = Trend(), Stream(StreamSettings(trending_half_life_days=300.0))
    for n in range(3600):
        product = n // 300 if fashions else n % 12
        seen_by(trend, stream, f"p{product}", n // 10)
    return trend, stream


def test_what_rose_in_the_last_days_gains_where_fashions_pass() -> None:
    trend, stream = months(fashions=True)
    scores = trend.scores(stream.trending.shares())
    assert int(scores.argmax()) == stream.rows["p11"]
    assert scores[stream.rows["p11"]] > 1.0
    assert scores[stream.rows["p0"]] < -1.0


def test_it_says_little_where_all_is_as_ever() -> None:
    trend, stream = months(fashions=False)
    assert np.abs(trend.scores(stream.trending.shares())).max() < 0.05


def test_an_event_shapes_only_what_is_said_after_it() -> None:
    trend, stream = months(fashions=True)
    before = trend.scores(stream.trending.shares())
    seen = stream.apply(review("", "p3", 360))
    popularity = stream.trending.shares()
    trend.note(seen)
    assert trend.scores(popularity) == pytest.approx(before, abs=0.05)
    trend.add(seen)
    assert trend.scores(popularity)[3] > before[3] + 0.05


def test_it_goes_on_from_what_it_kept_and_gives_new_products_a_place() -> None:
    trend, stream = months(fashions=True)
    again = Trend()
    again.restore(trend.to_arrays())
    stream.known.products.row_of("new")
    assert len(trend.scores(stream.trending.shares())) == 12, "without an event it has no place"
    for either in (trend, again):
        either.grow_to(13)
        assert np.isfinite(either.scores(stream.trending.shares())).all()
    assert np.array_equal(trend.scores(stream.trending.shares()), again.scores(stream.trending.shares()))
