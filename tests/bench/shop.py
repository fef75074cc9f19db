"""A shop of a stated size: its products, its users' histories, and a version as the trainer publishes one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from shared.model.files import write_version
from shared.model.format import Golden, Manifest, Parts
from shared.model.mixture import DEFAULT, EXPERT_NAMES
from shared.pb.freshet.v1.events_pb2 import ModelVersion, StateVector
from shared.policies.freshet.network import HEADS, Encoder, to_onnx
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
    """Write a version in which both heads count beside every expert of the mixture; its announcement."""
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
        mixture=DEFAULT.copy(),
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
