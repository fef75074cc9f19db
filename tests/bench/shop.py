"""A shop of a stated size: its products, its users' histories, and a version as the trainer publishes one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.model.files import write_version
from shared.model.format import Golden, Manifest, NeighbourPart, Parts
from shared.model.neighbours import Neighbours
from shared.pb.freshet.v1.events_pb2 import ModelVersion, StateVector
from shared.policies.counts import KEPT
from shared.policies.freshet.network import HEADS, Encoder, to_onnx
from shared.policies.freshet.policy import RELATIONS
from shared.state.histories import EVENT_FEATURES, Window
from tests.support.states import review

HISTORY_LENGTH = 20
DIMENSION = 64


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


def write_learned(root: Path, products: int, seed: int = 5) -> ModelVersion:
    """Write a version in which every part counts and every product has all its neighbours; its announcement."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    encoder = Encoder(DIMENSION)

    def vectors(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    parts = Parts(
        encoder=to_onnx(encoder),
        input=vectors(products, DIMENSION),
        outputs={head: vectors(products, DIMENSION) for head in HEADS},
        biases={head: vectors(products) for head in HEADS},
        products=product_ids(products),
        neighbours={relation.name: _neighbours(rng, products) for relation in RELATIONS},
    )
    share = 0.6 / len(RELATIONS)
    manifest = Manifest(
        version_id=f"bench-{products}",
        policy="bench",
        heads=dict.fromkeys(HEADS, 0.5),
        popularity_weight=0.4,
        neighbours={relation.name: NeighbourPart(weight=share, decay=relation.decay) for relation in RELATIONS},
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
    no_user = Window(
        np.zeros((0, HISTORY_LENGTH), np.int32),
        np.zeros((0, HISTORY_LENGTH, len(EVENT_FEATURES)), np.float32),
        np.zeros(0, np.int32),
    )
    golden = Golden(no_user, np.zeros((0, 1), np.int32), np.zeros((0, 1), np.float32))
    _, sha256 = write_version(root, manifest, parts, golden)
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


def _neighbours(rng: np.random.Generator, products: int) -> Neighbours:
    kept = min(KEPT, products)
    rows = np.sort(np.stack([rng.choice(products, kept, replace=False) for _ in range(products)]), axis=1)
    values = rng.dirichlet(np.full(kept, 0.3), products)
    return Neighbours(
        np.arange(0, kept * products + 1, kept, dtype=np.int32),
        rows.astype(np.int32).ravel(),
        values.astype(np.float32).ravel(),
    )
