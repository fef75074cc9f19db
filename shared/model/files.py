"""Model versions on disk: written whole, read with every part checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from shared.model.candidates import FEATURES, HEADS, ActionNetwork, F
from shared.model.format import (
    ENCODER,
    FILES,
    MANIFEST,
    NEIGHBOURS,
    NETWORK,
    SCHEMA_VERSION,
    Golden,
    GoldenCandidates,
    Manifest,
    Parts,
    StoredFile,
)
from shared.model.mixture import CONTEXTS, EXPERT_NAMES, EXPERTS
from shared.model.neighbours import Neighbours
from shared.process.errors import BadEvent
from shared.process.folders import Digest, read_folder, write_folder
from shared.state.histories import EVENT_FEATURES, Window

MIXTURE = "mixture"  # tensor of the weights of the tally's experts


def write_version(
    root: Path, manifest: Manifest, parts: Parts, golden: Golden, candidates: GoldenCandidates | None = None
) -> tuple[Path, str]:
    """Write a whole version under `root` and return its folder and its manifest's SHA-256.

    Written beside its place, made durable, then renamed: a reader sees all of it or nothing. Writing a version that
    is already there changes nothing.

    Args:
        candidates: by which the action network is checked, where there is one.
    """
    files = {
        "items.safetensors": save_tensors(_items(parts)),
        "golden.safetensors": save_tensors(
            {
                "products": golden.window.products,
                "features": golden.window.features,
                "lengths": golden.window.lengths,
                "rows": golden.rows,
                "scores": golden.scores,
            }
            | ({} if candidates is None else {"candidates": candidates.features, "outputs": candidates.outputs})
        ),
        "products.txt": "".join(f"{product}\n" for product in parts.products).encode(),
    }
    network: dict[str, object] = {}
    if parts.network is None:
        files[ENCODER] = parts.encoder
    else:
        files[NETWORK] = save_tensors(parts.network._asdict())
        network = {"network_features": list(FEATURES), "hidden": parts.network.b_first.shape[1]}
    if parts.neighbours:
        files[NEIGHBOURS] = save_tensors(
            {
                f"{relation}.{name}": tensor
                for relation, rows in parts.neighbours.items()
                for name, tensor in (("starts", rows.starts), ("products", rows.products), ("values", rows.values))
            }
        )

    def content_of_manifest(digests: Mapping[str, Digest]) -> bytes:
        stored = {name: StoredFile(sha256=of.sha256, size_bytes=of.size_bytes or 0) for name, of in digests.items()}
        experts = "" if parts.mixture is None else EXPERT_NAMES
        whole = manifest.model_copy(update={"files": stored, "experts": experts, **network})
        return whole.model_dump_json(indent=1).encode()

    folder = root / manifest.version_id
    if not folder.exists():
        write_folder(folder, files, MANIFEST, content_of_manifest)
    return folder, _sha256((folder / MANIFEST).read_bytes())


def read_manifest(folder: Path, manifest_sha256: str | None = None) -> Manifest:
    """The manifest of a version's folder.

    Raises:
        BadEvent: it is missing, not the announced one, or not a manifest of this schema.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BadEvent("missing", f"{folder / MANIFEST}: {error.strerror}") from error
    if manifest_sha256 is not None and _sha256(content) != manifest_sha256:
        raise BadEvent("hash", f"{folder / MANIFEST} is not the one that was announced")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BadEvent("manifest", f"{folder / MANIFEST}: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise BadEvent(
            "schema",
            f"{folder.name} has schema {manifest.schema_version}, this reads {SCHEMA_VERSION}: run the same version of "
            "Freshet everywhere; the next version that the trainer publishes takes its place",
        )
    if tuple(manifest.event_features) != EVENT_FEATURES:
        raise BadEvent("schema", f"{folder.name} wants event features {manifest.event_features}")
    if manifest.experts not in ("", EXPERT_NAMES):
        raise BadEvent(
            "schema",
            f"{folder.name} weighs the experts {manifest.experts}, this has {EXPERT_NAMES}: run the same version of "
            "Freshet everywhere; the next version that the trainer publishes takes its place",
        )
    if manifest.network_features and (tuple(manifest.network_features) != FEATURES or not manifest.experts):
        raise BadEvent(
            "schema",
            f"{folder.name} has an action network that reads {manifest.network_features} beside the experts "
            f"{manifest.experts or 'of none'}; this has others: run the same version of Freshet everywhere; the next "
            "version that the trainer publishes takes its place",
        )
    if manifest.version_id != folder.name:
        raise BadEvent("manifest", f"{folder.name} calls itself {manifest.version_id}")
    return manifest


def read_version(
    folder: Path, manifest_sha256: str | None = None
) -> tuple[Manifest, Parts, Golden, GoldenCandidates | None]:
    """Read a version and check it: sizes, hashes, names, shapes, types, finite numbers.

    Raises:
        BadEvent: a part of it is not as its manifest says.
    """
    manifest = read_manifest(folder, manifest_sha256)
    has_network = bool(manifest.network_features)
    wanted = [*FILES, NETWORK if has_network else ENCODER, *([NEIGHBOURS] if manifest.neighbours else [])]
    content = _read_files(folder, wanted, manifest.files)
    try:
        neighbours = load_tensors(content[NEIGHBOURS]) if manifest.neighbours else {}
        tensors = load_tensors(content["items.safetensors"])
        network = load_tensors(content[NETWORK]) if has_network else {}
        golden = load_tensors(content["golden.safetensors"])
        products = content["products.txt"].decode().splitlines()
    except (SafetensorError, UnicodeDecodeError) as error:
        raise BadEvent("format", f"{folder.name}: {error}") from error
    a, d, t = manifest.products, manifest.dimension, manifest.history_length
    shapes: dict[str, tuple[int, ...]] = {"input": (a, d)}
    of_encoder = () if has_network else tuple(manifest.heads)
    for head in of_encoder:
        shapes[f"bias.{head}"] = (a,)
        if f"output.{head}" in tensors:
            shapes[f"output.{head}"] = (a, d)
    if manifest.experts:
        shapes[MIXTURE] = (CONTEXTS, EXPERTS)
    _check(folder.name, tensors, shapes, np.float32)
    if has_network:
        _check(folder.name, network, ActionNetwork.shapes(manifest.hidden), np.float32)
        of_golden = golden["candidates"].shape[-1] if "candidates" in golden else 0
        _check(folder.name, golden, {"candidates": (F, of_golden), "outputs": (len(HEADS), of_golden)}, np.float32)
    if manifest.experts and not (tensors[MIXTURE] >= 0.0).all():
        raise BadEvent("shape", f"{folder.name}: {MIXTURE} holds weights below 0")
    g = golden["lengths"].size if "lengths" in golden else 0
    k = golden["rows"].shape[1] if "rows" in golden and golden["rows"].ndim == 2 else 0
    _check(folder.name, golden, {"features": (g, t, len(EVENT_FEATURES)), "scores": (g, k)}, np.float32)
    _check(folder.name, golden, {"products": (g, t), "lengths": (g,), "rows": (g, k)}, np.int32)
    for name in ("products", "rows"):
        if golden[name].size and not (golden[name].min() >= -1 and golden[name].max() < a):
            raise BadEvent("shape", f"{folder.name}: golden {name} name products beyond {a}")
    if g and not (golden["lengths"].min() >= 0 and golden["lengths"].max() <= t):
        raise BadEvent("shape", f"{folder.name}: golden lengths are not within 0 to {t}")
    if len(products) != a or len(set(products)) != a:
        raise BadEvent("shape", f"{folder.name}: products.txt names {len(set(products))} products, not {a}")
    parts = Parts(
        encoder=content.get(ENCODER, b""),
        input=tensors["input"],
        outputs={head: tensors[f"output.{head}"] for head in of_encoder if f"output.{head}" in tensors},
        biases={head: tensors[f"bias.{head}"] for head in of_encoder},
        products=products,
        neighbours={relation: _neighbours(folder.name, neighbours, relation, a) for relation in manifest.neighbours},
        mixture=tensors[MIXTURE] if manifest.experts else None,
        network=ActionNetwork(**{name: network[name] for name in ActionNetwork._fields}) if has_network else None,
    )
    candidates = GoldenCandidates(golden["candidates"], golden["outputs"]) if has_network else None
    window = Window(golden["products"], golden["features"], golden["lengths"])
    return manifest, parts, Golden(window, golden["rows"], golden["scores"]), candidates


def _neighbours(version: str, tensors: Mapping[str, NDArray[Any]], relation: str, products: int) -> Neighbours:
    names = [f"{relation}.{name}" for name in ("starts", "products", "values")]
    n = len(tensors[names[2]]) if names[2] in tensors and tensors[names[2]].ndim == 1 else 0
    _check(version, tensors, {names[0]: (products + 1,), names[1]: (n,)}, np.int32)
    _check(version, tensors, {names[2]: (n,)}, np.float32)
    starts, rows, values = (tensors[name] for name in names)
    if starts[0] != 0 or starts[-1] != n or (np.diff(starts) < 0).any():
        raise BadEvent("shape", f"{version}: {names[0]} does not lead through the {n} entries")
    if n and not (rows.min() >= 0 and rows.max() < products and values.min() >= 0.0):
        raise BadEvent("shape", f"{version}: {relation} names products beyond {products}, or shares below 0")
    return Neighbours(starts, rows, values)


def _items(parts: Parts) -> dict[str, NDArray[Any]]:
    tensors = {"input": parts.input}
    tensors |= {f"output.{head}": output for head, output in parts.outputs.items()}
    tensors |= {f"bias.{head}": bias for head, bias in parts.biases.items()}
    if parts.mixture is not None:
        tensors[MIXTURE] = parts.mixture
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _read_files(folder: Path, names: Iterable[str], stored: Mapping[str, StoredFile]) -> dict[str, bytes]:
    digests = {}
    for name in names:
        if name not in stored:
            raise BadEvent("manifest", f"the manifest says nothing of {folder / name}")
        digests[name] = Digest(stored[name].sha256, stored[name].size_bytes)
    try:
        return read_folder(folder, MANIFEST, digests)
    except OSError as error:
        raise BadEvent("missing", f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise BadEvent("hash", f"{folder.name}: {error}") from error


def _check(
    version: str, tensors: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], dtype: type[np.generic]
) -> None:
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != shape or tensor.dtype != dtype:
            actual = "missing" if tensor is None else f"{tensor.shape} {tensor.dtype}"
            raise BadEvent("shape", f"{version}: {name} is {actual}, not {shape} {np.dtype(dtype)}")
        if not np.isfinite(tensor).all():
            raise BadEvent("not_finite", f"{version}: {name} holds numbers that are not finite")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
