"""Which products go with a product: what is served after it, less popularity, and what is like it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.content.places import Content
from shared.history import Window
from shared.policies.served import Popularity, Scores, Served, logs, served

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SimilarSettings:
    """What makes a product similar."""

    popularity_out: float = 0.1  # of log-popularity, so that the best known products don't go with all others
    likeness: float = 3.0  # what likeness of content adds beside products with few events


SIMILAR = SimilarSettings()


def similar(
    row: int,
    window: Window,
    version: Scores | None,
    popularity: Popularity,
    content: Content,
    settings: SimilarSettings = SIMILAR,
) -> Served:
    """Scores of what goes with one product, itself too; `window`: of somebody who did nothing but look at it.

    Without a version content alone decides: the score is the likeness, and what has nothing in common is out of the
    running, -inf.
    """
    rows, likeness = content.likeness.beside(row)
    have = rows < len(popularity.shares())
    rows, likeness = rows[have], likeness[have]
    if version is None:
        values = np.full_like(popularity.shares(), -np.inf)
        values[rows] = likeness
        return Served(values, popularity.shares(), 0.0, None, None, 0.0, rows, likeness)
    scored = served(version, window, popularity, content)
    values = scored.values - np.float32(settings.popularity_out) * logs(scored.shares)
    added = np.zeros_like(values)
    added[scored.content_rows] = scored.content
    few = np.maximum(content.fading(np.array([row])), content.fading(rows))  # of the product, or of the one beside it
    more = np.float32(settings.likeness) * few * likeness
    added[rows] += more
    values[rows] += more
    placed = np.flatnonzero(added).astype(np.int32)
    return replace(scored, values=values, content_rows=placed, content=added[placed])
