"""Tiny model versions that are whole and valid, for tests of what serves them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from shared.log.topics import Topics
from shared.model.files import write_version
from shared.model.format import Golden, Manifest, NeighbourPart, Parts
from shared.model.neighbours import Neighbours
from shared.pb.freshet.v1.events_pb2 import LogPosition, ModelVersion, Pointer
from shared.policies.freshet.network import HEADS, Encoder, to_onnx
from shared.process.settings import KafkaSettings
from shared.state.histories import EVENT_FEATURES, Window
from tests.support.writing import writer

DIMENSION = 4
LENGTH = 5


def tiny_version(
    root: Path,
    version_id: str,
    bias: Mapping[str, float],
    *,
    epsilon: float = 0.0,
    vectors: float = 0.0,
    follows: Mapping[str, Mapping[str, float]] | None = None,
    length: int = LENGTH,
    positions: Mapping[int, int] | None = None,
    applied: int = 1,
    parent: str = "",
    seed: int = 1,
) -> ModelVersion:
    """Write a version whose scores are `bias` (product → score) for everybody; its announcement, not yet sent.

    `vectors`: scale of random product vectors, so that above 0 the history counts too; `follows`: product →
    the share of each that follows it, mixed half and half with popularity; `positions`: partition → next
    offset of `freshet.events` it has not learned.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    encoder = Encoder(DIMENSION)
    products = list(bias)
    a = len(products)
    biases = np.array(list(bias.values()), np.float32)
    parts = Parts(
        encoder=to_onnx(encoder),
        input=rng.normal(0, 1, (a, DIMENSION)).astype(np.float32),
        outputs={head: (vectors * rng.normal(0, 1, (a, DIMENSION))).astype(np.float32) for head in HEADS},
        biases={"ce": biases, "q": np.zeros(a, np.float32)},
        products=products,
        neighbours={"next": _neighbours(products, follows)} if follows else {},
    )
    manifest = Manifest(
        version_id=version_id,
        policy="test",
        parent=parent,
        heads={"ce": 1.0, "q": 0.5},
        popularity_weight=0.5 if follows else 1.0,
        neighbours={"next": NeighbourPart(weight=0.5, decay=0.5)} if follows else {},
        history_length=length,
        event_features=list(EVENT_FEATURES),
        dimension=DIMENSION,
        products=a,
        epsilon=epsilon,
        discount=0.5,
        positions={str(p): offset for p, offset in (positions or {}).items()},
        applied_events=applied,
        steps=applied,
        ordered=True,
    )
    _, sha256 = write_version(root, manifest, parts, _golden(encoder, parts, manifest))
    return ModelVersion(
        version_id=version_id,
        policy=manifest.policy,
        manifest_sha256=sha256,
        created_ms=time.time_ns() // 1_000_000,
        positions=[LogPosition(partition=p, offset=offset) for p, offset in sorted((positions or {}).items())],
        applied_events=applied,
        steps=applied,
        epsilon=epsilon,
        ordered=True,
        parent=parent,
        products=a,
    )


def announce(kafka: KafkaSettings, *versions: ModelVersion) -> None:
    """Send announcements to `freshet.models`."""
    _send(kafka, [(f"version/{version.version_id}", version.SerializeToString()) for version in versions])


def withdraw(kafka: KafkaSettings, *version_ids: str) -> None:
    """Send the tombstones of versions that were retained away."""
    _send(kafka, [(f"version/{version_id}", None) for version_id in version_ids])


def point(kafka: KafkaSettings, version_id: str, name: str = "serving") -> None:
    """Set the pointer `live/<name>`; an empty id takes it away."""
    pointer = Pointer(version_id=version_id, set_ms=time.time_ns() // 1_000_000)
    _send(kafka, [(f"live/{name}", pointer.SerializeToString() if version_id else None)])


def _send(kafka: KafkaSettings, records: Sequence[tuple[str, bytes | None]]) -> None:
    producer = writer(kafka)
    for key, value in records:
        producer.send(Topics.of(kafka).models, key=key.encode(), value=value)
    producer.flush(20)


def _golden(encoder: Encoder, parts: Parts, manifest: Manifest) -> Golden:
    """One user's window with the scores that torch gives."""
    t, n, a = manifest.history_length, min(2, manifest.history_length), manifest.products
    window = Window(
        np.full((1, t), -1, np.int32), np.zeros((1, t, len(EVENT_FEATURES)), np.float32), np.array([n], np.int32)
    )
    window.products[0, :n] = np.arange(n) % a
    window.features[0, :n] = 0.5
    with torch.no_grad():
        hidden = encoder.hidden(
            torch.from_numpy(parts.input[window.products[:, :n]]), torch.from_numpy(window.features[:, :n])
        )
        query = hidden[0, n].numpy()  # (D,)
    rows = np.arange(a, dtype=np.int32)
    scores = sum(weight * (parts.outputs[head] @ query + parts.biases[head]) for head, weight in manifest.heads.items())
    return Golden(window, rows[None, :], np.asarray(scores, np.float32)[None, :])


def _neighbours(products: Sequence[str], follows: Mapping[str, Mapping[str, float]]) -> Neighbours:
    pairs = [sorted((products.index(to), share) for to, share in follows.get(p, {}).items()) for p in products]
    return Neighbours(
        starts=np.cumsum([0, *map(len, pairs)]).astype(np.int32),
        products=np.array([row for related in pairs for row, _ in related], np.int32),
        values=np.array([share for related in pairs for _, share in related], np.float32),
    )
