"""What goes with a product: what follows it, less popularity, and what is like it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.content.new_products import Content, ContentSettings
from shared.model import ranking
from shared.model.explained import GROUPS, explain
from shared.model.served import SimilarSettings, similar
from shared.pb.freshet.v1.events_pb2 import Product
from shared.pb.freshet.v1.recommender_pb2 import PART_TRENDING
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.tally import Tally

LOOKED = Window(np.zeros((1, 1), np.int32), np.zeros((1, 1, len(EVENT_FEATURES)), np.float32), np.ones(1, np.int32))
TITLES = ("red guitar", "drum", "guitar strings", "red guitar", "rake")


class Follows:
    """After anything come the drum and, less, the strings."""

    mixture = None
    ranker = None
    popularity_weight = 0.5

    def related(self, window: Window) -> NDArray[np.float32]:
        assert window is LOOKED
        return np.array([0.0, 0.3, 0.1, 0.0, 0.0], np.float32)

    def scores(self, window: Window) -> NDArray[np.float32]:
        assert window is LOOKED
        return np.zeros(5, np.float32)


def shop(*events: int) -> Content:
    content = Content(ContentSettings(events=4, prior=1.0))
    for row, title in enumerate(TITLES):
        content.put(row, Product(product_id=title, title=title))
        for _ in range(events[row] if events else 0):
            content.count(row)
    return content


def popularity(*counts: int) -> Tally:
    trending = Tally(1000.0)
    for row, count in enumerate(counts):
        for _ in range(count):
            trending.add(row, 1, 5)
    return trending


def test_popularity_is_taken_out_in_part() -> None:
    trending, content = popularity(1, 4, 4, 1, 90), shop(4, 4, 4, 4, 4)
    ranked = {
        out: ranking.top_k(
            similar(0, LOOKED, Follows(), trending, content, SimilarSettings(popularity_out=out)).values, 5
        ).tolist()
        for out in (0.0, 1.0)
    }
    assert ranked[0.0][0] == 4, "the best known product goes with all"
    assert ranked[1.0][:2] == [1, 2]
    assert ranked[1.0][-1] == 4


def test_likeness_counts_beside_products_with_few_events_and_the_reasons_add_up() -> None:
    trending, settings = popularity(4, 4, 4, 1, 4), SimilarSettings(popularity_out=0.25, likeness=2.0)
    few, many = (
        similar(0, LOOKED, Follows(), trending, content, settings)
        for content in (shop(4, 4, 4, 1, 4), shop(4, 4, 4, 4, 4))
    )
    assert few.values[3] > many.values[3] + 0.5, "the other red guitar has one event"
    assert np.delete(few.values, 3) == pytest.approx(np.delete(many.values, 3))
    assert many.content_rows.tolist() == []
    rows = np.arange(5)
    reasons = explain(few, FollowsExplained(), LOOKED, rows, trending, popularity_out=0.25)
    assert reasons.scores.sum(axis=0) == pytest.approx(few.values, abs=1e-4)
    assert reasons.scores[PART_TRENDING].all()


class FollowsExplained(Follows):
    """The same, with what each part adds."""

    history_length = 3

    def related_by_event(self, window: Window, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.related(window)[None, rows]

    def by_head(self, window: Window, rows: NDArray[np.int64]) -> NDArray[np.float32]:  # noqa: ARG002
        return np.zeros((len(GROUPS), len(rows), 1, 2), np.float32)
