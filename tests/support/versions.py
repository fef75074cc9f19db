"""Tiny model versions that are whole and valid, for tests of what serves them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.log.topics import Topics
from shared.model.candidates import HEADS, F
from shared.model.files import write_version
from shared.model.format import Golden, GoldenCandidates, Manifest, NeighbourPart, Parts
from shared.model.mixture import DEFAULT
from shared.model.neighbours import Neighbours
from shared.pb.freshet.v1.events_pb2 import LogPosition, ModelVersion, Pointer
from shared.policies.contract import no_golden
from shared.policies.freshet.network import TorchActionNetwork
from shared.process.settings import KafkaSettings
from shared.state.histories import EVENT_FEATURES, Window
from tests.support.encoders import Encoder, encoded, to_onnx
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
    manifest = _manifest(
        version_id, parts, length=length, epsilon=epsilon, positions=positions, applied=applied, parent=parent
    )
    if follows:
        related = {"next": NeighbourPart(weight=0.5, decay=0.5)}
        manifest = manifest.model_copy(update={"popularity_weight": 0.5, "neighbours": related})
    _, sha256 = write_version(root, manifest, parts, _golden(encoder, parts, manifest))
    return _announcement(manifest, sha256)


def network_version(
    root: Path,
    version_id: str,
    products: Sequence[str],
    *,
    hidden: int = 4,
    scale: float = 1.0,
    dimension: int = DIMENSION,
    length: int = LENGTH,
    seed: int = 1,
    **more: Any,
) -> ModelVersion:
    """Write a version whose action network puts the candidates of the mixture in order; its announcement, as above.

    `scale`: of the last layer's random weights; 0: it changes no order.
    """
    rng = np.random.default_rng(seed)
    network = action_network(hidden, scale, seed)
    parts = Parts(
        encoder=b"",
        input=rng.normal(0, 1, (len(products), dimension)).astype(np.float32),
        outputs={},
        biases={},
        products=products,
        mixture=DEFAULT.copy(),
        network=network.compiled(),
    )
    manifest = _manifest(version_id, parts, length=length, **more)
    features = rng.uniform(-1, 1, (5, F)).astype(np.float32)
    golden = GoldenCandidates(np.ascontiguousarray(features.T), judged(network, features))
    _, sha256 = write_version(root, manifest, parts, no_golden(length), golden)
    return _announcement(manifest, sha256)


def action_network(hidden: int, scale: float = 1.0, seed: int = 1) -> TorchActionNetwork:
    """One whose last layer has weights, too."""
    torch.manual_seed(seed)
    network = TorchActionNetwork(hidden)
    torch.nn.init.normal_(network.w_last, std=scale)
    torch.nn.init.normal_(network.b_last, std=scale)
    return network


def judged(network: TorchActionNetwork, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """What torch says of K candidates, (K, F) → (2, K)."""
    with torch.no_grad():
        return np.ascontiguousarray(network(torch.from_numpy(features)).numpy())


def _manifest(
    version_id: str,
    parts: Parts,
    *,
    length: int,
    epsilon: float = 0.0,
    positions: Mapping[int, int] | None = None,
    applied: int = 1,
    parent: str = "",
) -> Manifest:
    return Manifest(
        version_id=version_id,
        policy="test",
        parent=parent,
        heads={"ce": 1.0, "q": 0.5},
        history_length=length,
        event_features=list(EVENT_FEATURES),
        dimension=parts.input.shape[1],
        products=len(parts.products),
        epsilon=epsilon,
        discount=0.5,
        positions={str(p): offset for p, offset in (positions or {}).items()},
        applied_events=applied,
        steps=applied,
        ordered=True,
    )


def _announcement(manifest: Manifest, sha256: str) -> ModelVersion:
    positions = sorted((int(p), offset) for p, offset in manifest.positions.items())
    return ModelVersion(
        version_id=manifest.version_id,
        policy=manifest.policy,
        manifest_sha256=sha256,
        created_ms=time.time_ns() // 1_000_000,
        positions=[LogPosition(partition=p, offset=offset) for p, offset in positions],
        applied_events=manifest.applied_events,
        steps=manifest.steps,
        epsilon=manifest.epsilon,
        ordered=True,
        parent=manifest.parent,
        products=manifest.products,
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
    query = encoded(encoder, parts.input[window.products[0, :n]], window.features[0, :n])[-1]  # (D,)
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
