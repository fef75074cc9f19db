"""Every product's score for one request, and what it is made of. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.inference.knowledge import Knowledge
from shared.history import Window
from shared.pb.freshet.v1 import recommender_pb2 as pb
from shared.policies.served import Places, Served, served
from shared.scoring import Scorer
from shared.similar import SIMILAR, similar

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scored:
    """Every product's score, and what it is made of."""

    served: Served
    boosts: FloatArray | None  # (A,) that were added; None: there were none
    popularity_out: float = 0.0  # of log-popularity, that was taken out

    @property
    def values(self) -> FloatArray:
        """(A,) scores, boosts in them."""
        return self.served.values


def score(
    version: Scorer | None, window: Window | None, wishes: pb.Wishes, knowledge: Knowledge, places: Places | None
) -> Scored:
    """Every product's score; `places`: of new products, None where nothing gives them one."""
    if wishes.explain and version is not None and window is not None:
        version.explains(window)
    return boosted(served(version, window, knowledge, places), wishes, knowledge)


def score_similar(row: int, version: Scorer | None, window: Window, wishes: pb.Wishes, knowledge: Knowledge) -> Scored:
    """How well every product goes with one, after which the window is."""
    if wishes.explain and version is not None:
        version.explains(window)
    found = similar(row, window, version, knowledge, knowledge.catalogue.content)
    return boosted(found, wishes, knowledge, SIMILAR.popularity_out if version is not None else 0.0)


def boosted(found: Served, wishes: pb.Wishes, knowledge: Knowledge, popularity_out: float = 0.0) -> Scored:
    """Add what the wishes boost, in place."""
    added = boosts(wishes, len(found.values), knowledge) if wishes.boosts else None
    if added is not None:
        found.values[:] += added
    return Scored(found, added, popularity_out)


def boosts(wishes: pb.Wishes, rows: int, knowledge: Knowledge) -> FloatArray:
    """What the boosts add to each product's score, (A,): the logarithm of the factors of all that apply."""
    added: FloatArray = np.zeros(rows, np.float32)
    now_ms = knowledge.now_ms()
    for boost in wishes.boosts:
        met = knowledge.masks.met(boost.products, rows, now_ms)
        np.add(added, np.float32(math.log(boost.factor)), out=added, where=met)
    return added
