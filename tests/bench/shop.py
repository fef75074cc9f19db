"""A shop of a stated size: its products, its users' histories, and a version as the trainer publishes one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.model.candidates import HEADS, ActionNetwork, F, outputs
from shared.model.files import write_version
from shared.model.format import GoldenCandidates, Manifest, Parts
from shared.model.mixture import DEFAULT, EXPERT_NAMES
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_VIEW, ModelVersion, StateVector
from shared.policies.contract import no_golden
from shared.policies.freshet.settings import FreshetSettings
from shared.policies.freshet.vectors import DIMENSION
from shared.state.histories import EVENT_FEATURES
from tests.support.states import review

HISTORY_LENGTH = 20


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
    rng = np.random.default_rng(seed)

    def vectors(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    hidden = FreshetSettings().hidden
    network = ActionNetwork(**{name: vectors(*shape) for name, shape in ActionNetwork.shapes(hidden).items()})
    features = vectors(F, 8)
    parts = Parts(
        encoder=b"",
        input=vectors(products, DIMENSION),
        outputs={},
        biases={},
        products=product_ids(products),
        mixture=DEFAULT.copy(),
        network=network,
    )
    manifest = Manifest(
        version_id=f"bench-{products}",
        policy="bench",
        heads=dict.fromkeys(HEADS, 0.5),
        popularity_weight=1.0,
        experts=EXPERT_NAMES,
        history_length=HISTORY_LENGTH,
        event_features=list(EVENT_FEATURES),
        dimension=DIMENSION,
        products=products,
        epsilon=0.0,
        discount=0.5,
        positions={},
        applied_events=1,
        steps=1,
        ordered=True,
    )
    golden = GoldenCandidates(features, outputs(network, features))
    _, sha256 = write_version(root, manifest, parts, no_golden(HISTORY_LENGTH), golden)
    return ModelVersion(
        version_id=manifest.version_id,
        policy=manifest.policy,
        manifest_sha256=sha256,
        created_ms=time.time_ns() // 1_000_000,
        applied_events=1,
        steps=1,
        ordered=True,
        products=products,
    )
