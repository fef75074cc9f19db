"""A shop of a stated size: its products, its users' histories, and a version as the trainer publishes one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, ModelVersion, StateVector
from shared.policies.freshet.settings import FreshetSettings
from shared.policies.freshet.vectors import DIMENSION
from tests.support.states import review
from tests.support.versions import network_version

HISTORY_LENGTH = 20
HIDDEN = FreshetSettings().hidden


def product_ids(products: int) -> list[str]:
    """Ids as long as Amazon's."""
    return [f"B{n:09d}" for n in range(products)]


def user_ids(users: int) -> list[str]:
    """Ids as long as Amazon's."""
    return [f"A{n:012d}X" for n in range(users)]


def histories(users: int, products: int, seed: int = 5) -> Iterator[StateVector]:
    """Every user's `HISTORY_LENGTH` reviews, all users at once day by day; each masks its product."""
    rng = np.random.default_rng(seed)
    ids, names = product_ids(products), user_ids(users)
    chosen = np.stack([rng.choice(products, HISTORY_LENGTH, replace=False) for _ in range(users)])  # (U, T)
    for day in range(HISTORY_LENGTH):
        for user in range(users):
            yield review(names[user], ids[chosen[user, day]], day, reward=float(rng.uniform(-1, 1)))


def views(count: int, products: int, *, users: int, seed: int = 5) -> Iterator[StateVector]:
    """`count` views, a second apart, by users who mostly go on to the next product on the shelf.

    Each product is viewed once first, so that the whole catalogue takes part from then on.
    """
    rng = np.random.default_rng(seed)
    ids, names = product_ids(products), user_ids(users)
    last = rng.integers(0, products, users)
    for n in range(count):
        user = int(rng.integers(users))
        step = 1 if rng.random() < 0.7 else int(rng.integers(products))
        last[user] = n if n < products else (last[user] + step) % products
        state = review(names[user], ids[int(last[user])], 0, reward=float(rng.uniform(-0.2, 1)))
        state.kind, state.event_time_ms = EVENT_KIND_VIEW, state.event_time_ms + 1 + n * 1000
        yield state


def write_learned(root: Path, products: int, seed: int = 5) -> ModelVersion:
    """Write a version in which both heads count beside every expert of the mixture; its announcement."""
    return network_version(
        root,
        f"bench-{products}",
        product_ids(products),
        hidden=HIDDEN,
        scale=0.1,
        dimension=DIMENSION,
        length=HISTORY_LENGTH,
        seed=seed,
    )
