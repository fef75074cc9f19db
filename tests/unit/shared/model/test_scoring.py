"""A version ready to score: what it has learned of each product, and the network that puts candidates in order."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.model.candidates import FEATURES, HEADS, ActionNetwork, outputs, rerank
from shared.model.files import read_manifest, read_version, write_version
from shared.model.format import FILES, MANIFEST, NETWORK
from shared.model.mixture import DEFAULT
from shared.model.scoring import load_scorer
from shared.model.served import served
from shared.process.errors import BadEvent
from tests.support.versions import action_network, network_version, tiny_version
from tests.unit.shared.model.test_files import NEWER, change_manifest, replace, retouch, scorer_of, tensor_of, with_nan
from tests.unit.shared.model.test_mixture import TINY, known_of, looked_at


def test_directions_are_what_was_learned_and_unknown_products_have_none(tmp_path: Path) -> None:
    announced = tiny_version(tmp_path, "v1", {"p0": 0.0, "p1": 0.0})
    rows = {"other": 0, "p1": 1, "p0": 2}
    scorer = load_scorer(tmp_path / "v1", announced.manifest_sha256, rows.__getitem__, lambda: len(rows))
    learned = read_version(tmp_path / "v1", announced.manifest_sha256)[1].input  # (2, D), of p0 and p1
    vectors, per_length = scorer.directions()
    assert np.allclose(vectors[[2, 1]], learned)
    assert np.allclose(per_length[[2, 1]], 1.0 / np.linalg.norm(learned, axis=1), atol=1e-6)
    assert not vectors[[0, 3]].any(), "the product that the version does not know, and all beyond"
    assert not per_length[[0, 3]].any()


PRODUCTS = ("p0", "p1", "p2")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with an action network, not to be touched."""
    root = tmp_path_factory.mktemp("models")
    network_version(root, "v1", PRODUCTS, hidden=5)
    return root / "v1"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(original, tmp_path / "models" / "v1"))


def test_a_network_is_read_bit_for_bit_and_says_what_it_reads(original: Path, tmp_path: Path) -> None:
    manifest, parts, golden, candidates = read_version(original)
    assert sorted(path.name for path in original.iterdir()) == sorted([*FILES, NETWORK, MANIFEST])
    assert (manifest.network_features, manifest.hidden, manifest.heads) == (list(FEATURES), 5, {"ce": 1.0, "q": 0.5})
    assert (parts.encoder, parts.outputs, parts.biases) == (b"", {}, {})
    expected = action_network(5).compiled()
    assert parts.network is not None
    assert all(one.tobytes() == other.tobytes() for one, other in zip(parts.network, expected, strict=True))
    unsigned = manifest.model_copy(update={"files": {}})
    again, _ = write_version(tmp_path, unsigned, parts, golden, candidates)
    for name in (*FILES, NETWORK, MANIFEST):
        assert (again / name).read_bytes() == (original / name).read_bytes()


def test_a_version_with_an_encoder_has_no_network(tmp_path: Path) -> None:
    tiny_version(tmp_path, "v1", {"p0": 0.0})
    manifest, parts, _, candidates = read_version(tmp_path / "v1")
    assert (manifest.network_features, manifest.hidden, parts.network, candidates) == ([], 0, None, None)
    assert not (tmp_path / "v1" / NETWORK).exists()
    assert scorer_of(tmp_path / "v1").ranker is None


def test_what_is_read_puts_the_candidates_in_order(original: Path) -> None:
    known = known_of(*TINY)
    scorer = scorer_of(original, PRODUCTS)
    assert scorer.ranker is not None
    assert scorer.ranker.weights.tolist() == [1.0, 0.5]
    assert np.array_equal(scorer.mixture, DEFAULT)
    window = looked_at(known, "p0")
    scored = served(scorer, window, known)
    assert scored.learned is None, "it says nothing of all products"
    before = scored.values.copy()
    reranked = rerank(scorer.ranker, known, window, scorer.mixture, scored.values)
    assert sorted(reranked.rows.tolist()) == [0, 1, 2]
    assert scored.values - before == pytest.approx(reranked.adds.sum(axis=0)[reranked.rows.argsort()], abs=1e-6)
    scorer.explains(window)  # there is no encoder whose runs that would save


def of_network(name: str) -> Callable[[Path], None]:
    """A spoiler of one of its arrays: a number is lost."""
    return lambda folder: retouch(folder, NETWORK, tensor_of(name, with_nan))


SPOILERS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "no network": ("missing", NETWORK, lambda f: (f / NETWORK).unlink()),
    "a damaged network": ("hash", "v1: ", lambda f: (f / NETWORK).write_bytes(b"?" + (f / NETWORK).read_bytes()[1:])),
    "a network that is no tensors": ("format", "v1: ", lambda f: replace(f, NETWORK, b"pickle")),
    "a network without hash": (
        "manifest",
        NETWORK,
        lambda f: change_manifest(f, files={k: v for k, v in files_of(f).items() if k != NETWORK}),
    ),
    "an array missing": ("shape", "b_second is missing", lambda f: retouch(f, NETWORK, lambda t: t.pop("b_second"))),
    "another width": ("shape", "w_first is (2, 5, ", lambda f: change_manifest(f, hidden=6)),
    "a head too many": (
        "shape",
        "w_last is (3, 5) float32",
        lambda f: retouch(f, NETWORK, tensor_of("w_last", lambda a: np.concatenate([a, a[:1]]))),
    ),
    "double precision": (
        "shape",
        "b_first is (2, 5) float64",
        lambda f: retouch(f, NETWORK, tensor_of("b_first", lambda a: a.astype(np.float64))),
    ),
    **{f"no number in {name}": ("not_finite", name, of_network(name)) for name in ActionNetwork._fields},
    "other features": ("schema", NEWER, lambda f: change_manifest(f, network_features=[*FEATURES[:-1], "colour"])),
    "features in another order": ("schema", NEWER, lambda f: change_manifest(f, network_features=FEATURES[::-1])),
    "no mixture that would choose candidates": ("schema", "of none", lambda f: change_manifest(f, experts="")),
    "heads in another order": (
        "manifest",
        "are not those of an action network, ce, q",
        lambda f: change_manifest(f, heads=dict.fromkeys(HEADS[::-1], 0.5)),
    ),
    "no golden candidates": (
        "shape", "candidates is missing", lambda f: retouch(f, "golden.safetensors", lambda t: t.pop("candidates"))
    ),
    "golden candidates of fewer features": (
        "shape",
        "candidates is (",
        lambda f: retouch(f, "golden.safetensors", tensor_of("candidates", lambda a: a[1:])),
    ),
    "golden candidates of which nothing is told": (
        "shape", "outputs is (2, 3)",
        lambda f: retouch(f, "golden.safetensors", tensor_of("outputs", lambda a: a[:, :3])),
    ),
    "golden numbers that are none": (
        "not_finite", "outputs", lambda f: retouch(f, "golden.safetensors", tensor_of("outputs", with_nan))
    ),
}  # fmt: skip


def files_of(folder: Path) -> dict[str, object]:
    """What the manifest says of each file."""
    return {name: file.model_dump() for name, file in read_manifest(folder).files.items()}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_whatever_is_wrong_with_a_network_is_refused_with_its_reason(spoiler: str, folder: Path) -> None:
    reason, message, spoil = SPOILERS[spoiler]
    spoil(folder)
    for read in (read_version, scorer_of):
        with pytest.raises(BadEvent, match=re.escape(message)) as refused:
            read(folder)
        assert refused.value.reason == reason


def test_a_network_that_is_not_the_learners_never_serves(folder: Path) -> None:
    other = action_network(5, seed=2).compiled()._asdict()
    retouch(folder, NETWORK, lambda tensors: tensors.update(other))
    read_version(folder)
    with pytest.raises(BadEvent, match="v1: the action network is off by") as refused:
        scorer_of(folder)
    assert refused.value.reason == "golden"


def test_golden_candidates_that_are_off_are_told_by_how_much(folder: Path) -> None:
    retouch(folder, "golden.safetensors", tensor_of("outputs", lambda a: a + np.float32(0.5)))
    with pytest.raises(BadEvent, match=r"v1: the action network is off by 0\.5") as refused:
        scorer_of(folder)
    assert refused.value.reason == "golden"


def test_nothing_needs_to_be_golden_before_anything_was_learned(folder: Path) -> None:
    def emptied(tensors: dict[str, np.ndarray]) -> None:
        for name in ("candidates", "outputs"):
            tensors[name] = np.ascontiguousarray(tensors[name][:, :0])

    retouch(folder, "golden.safetensors", emptied)
    assert scorer_of(folder).ranker is not None


def test_golden_outputs_are_reproduced(original: Path) -> None:
    _, parts, _, candidates = read_version(original)
    assert parts.network is not None
    assert candidates is not None
    assert np.ptp(candidates.outputs, axis=1).min() > 0.1
    assert outputs(parts.network, candidates.features) == pytest.approx(candidates.outputs, abs=1e-5)
