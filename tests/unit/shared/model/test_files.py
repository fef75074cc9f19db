"""A version is written whole, read whole, and anything wrong with it is found before it serves."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from shared.model.explained import OF_SEQUENCE, OF_VALUES
from shared.model.files import read_manifest, read_version, write_version
from shared.model.format import ENCODER, FILES, MANIFEST, NEIGHBOURS, SCHEMA_VERSION, Manifest
from shared.model.mixture import CONTEXTS, DEFAULT, EXPERT_NAMES
from shared.model.scoring import Scorer, load_scorer
from shared.process.errors import BadEvent
from shared.state.histories import EVENT_FEATURES, Window
from tests.support.encoders import Encoder, to_onnx
from tests.support.versions import DIMENSION, LENGTH, tiny_version

Tensors = dict[str, NDArray[Any]]
BIAS = {"kettle": 0.5, "teapot": 2.0, "cup": -1.0}
FOLLOWS = {"kettle": {"cup": 0.25, "teapot": 0.5}, "cup": {"kettle": 1.0}}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole version's folder, not to be touched, and its manifest's SHA-256."""
    root = tmp_path_factory.mktemp("models")
    announced = tiny_version(root, "v1", BIAS, vectors=1.0, follows=FOLLOWS, epsilon=0.25, positions={0: 7, 2: 3})
    return root / "v1", announced.manifest_sha256


@pytest.fixture
def folder(original: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(original[0], tmp_path / "models" / "v1"))


def change_manifest(folder: Path, **fields: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def replace(folder: Path, name: str, content: bytes) -> None:
    """Give the version another file, and the manifest its hash."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / MANIFEST).read_text())["files"]
    files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    change_manifest(folder, files=files)


def retouch(folder: Path, name: str, change: Callable[[Tensors], object]) -> None:
    """Change some tensors of a file."""
    tensors = {key: tensor.copy() for key, tensor in load_tensors((folder / name).read_bytes()).items()}
    change(tensors)
    replace(folder, name, save_tensors(tensors))


def scorer_of(folder: Path, first: tuple[str, ...] = ()) -> Scorer:
    """A scorer for a caller who knows the products `first` already."""
    rows = {product: row for row, product in enumerate(first)}
    return load_scorer(folder, None, lambda product: rows.setdefault(product, len(rows)), lambda: len(rows))


def test_what_is_written_is_read(original: tuple[Path, str]) -> None:
    folder, sha256 = original
    manifest, parts, golden, _ = read_version(folder, sha256)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, ENCODER, NEIGHBOURS, MANIFEST])
    assert (manifest.version_id, manifest.epsilon, manifest.positions) == ("v1", 0.25, {"0": 7, "2": 3})
    assert set(manifest.files) == {*FILES, ENCODER, NEIGHBOURS}
    assert parts.products == list(BIAS)
    assert parts.biases["ce"].tolist() == list(BIAS.values())
    assert {head: output.shape for head, output in parts.outputs.items()} == dict.fromkeys(("ce", "q"), (3, DIMENSION))
    assert golden.window.products.shape == (1, LENGTH)


def test_the_same_content_is_the_same_version_byte_for_byte(original: tuple[Path, str], tmp_path: Path) -> None:
    folder, sha256 = original
    manifest, parts, golden, _ = read_version(folder)
    unsigned = manifest.model_copy(update={"files": {}})
    again, again_sha256 = write_version(tmp_path, unsigned, parts, golden)
    assert again_sha256 == sha256
    for name in (*FILES, ENCODER, MANIFEST):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_writing_what_is_there_changes_nothing(folder: Path) -> None:
    manifest, parts, golden, _ = read_version(folder)
    before = (folder / MANIFEST).read_bytes()
    other = manifest.model_copy(update={"epsilon": 0.9, "files": {}})
    written, sha256 = write_version(folder.parent, other, parts, golden)
    assert written == folder
    assert (folder / MANIFEST).read_bytes() == before
    assert sha256 == hashlib.sha256(before).hexdigest()


def test_a_full_disk_leaves_nothing_half_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, parts, golden, _ = read_version(folder)
    synced = []

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    root = tmp_path / "other"
    with pytest.raises(OSError, match="No space left"):
        write_version(root, manifest, parts, golden)
    assert list(root.iterdir()) == []


def test_what_a_killed_writer_left_is_written_over(folder: Path, tmp_path: Path) -> None:
    manifest, parts, golden, _ = read_version(folder)
    root = tmp_path / "other"
    (root / ".v1.tmp").mkdir(parents=True)
    (root / ".v1.tmp" / "junk").write_bytes(b"half")
    written, _ = write_version(root, manifest.model_copy(update={"files": {}}), parts, golden)
    assert list(root.iterdir()) == [written]
    assert not (written / "junk").exists()


def tensor_of(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Tensors], None]:
    """A change of one tensor."""

    def apply(tensors: Tensors) -> None:
        tensors[name] = np.array(change(tensors[name]), order="C")

    return apply


def with_nan(tensor: NDArray[Any]) -> NDArray[Any]:
    tensor.reshape(-1)[0] = np.nan
    return tensor


SPOILERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no manifest": ("missing", lambda f: (f / MANIFEST).unlink()),
    "no folder": ("missing", lambda f: shutil.rmtree(f)),
    "a manifest that is no JSON": ("manifest", lambda f: (f / MANIFEST).write_bytes(b"\xff{")),
    "an unknown field": ("manifest", lambda f: change_manifest(f, colour="blue")),
    "a folder renamed": ("manifest", lambda f: change_manifest(f, version_id="v2")),
    "no heads": ("manifest", lambda f: change_manifest(f, heads={})),
    "a file it says nothing of": ("manifest", lambda f: change_manifest(f, files={})),
    "a later schema": ("schema", lambda f: change_manifest(f, schema_version=SCHEMA_VERSION + 1)),
    "other event features": ("schema", lambda f: change_manifest(f, event_features=[*EVENT_FEATURES, "mood"])),
    "no items": ("missing", lambda f: (f / "items.safetensors").unlink()),
    "a truncated file": ("hash", lambda f: os.truncate(f / "items.safetensors", 100)),
    "a flipped bit": (
        "hash",
        lambda f: (f / "products.txt").write_bytes((f / "products.txt").read_bytes().replace(b"cup", b"cap")),
    ),
    "no tensors": ("format", lambda f: replace(f, "items.safetensors", b"pickle")),
    "ids that are no text": ("format", lambda f: replace(f, "products.txt", b"\xff\n\xfe\n\xfd\n")),
    "too few products": ("shape", lambda f: replace(f, "products.txt", b"kettle\ncup\n")),
    "a product twice": ("shape", lambda f: replace(f, "products.txt", b"kettle\ncup\ncup\n")),
    "no bias": ("shape", lambda f: retouch(f, "items.safetensors", lambda t: t.pop("bias.ce"))),
    "a row too many": (
        "shape",
        lambda f: retouch(f, "items.safetensors", tensor_of("input", lambda a: np.concatenate([a, a[:1]]))),
    ),
    "double precision": (
        "shape",
        lambda f: retouch(f, "items.safetensors", tensor_of("output.q", lambda a: a.astype(np.float64))),
    ),
    "no number": ("not_finite", lambda f: retouch(f, "items.safetensors", tensor_of("output.q", with_nan))),
    "no golden rows": ("shape", lambda f: retouch(f, "golden.safetensors", lambda t: t.pop("rows"))),
    "golden lengths that are no list": (
        "shape",
        lambda f: retouch(f, "golden.safetensors", tensor_of("lengths", lambda a: a.reshape(()))),
    ),
    "a golden window longer than T": (
        "shape",
        lambda f: retouch(f, "golden.safetensors", tensor_of("lengths", lambda a: a + LENGTH)),
    ),
    "golden products that are none": (
        "shape",
        lambda f: retouch(f, "golden.safetensors", tensor_of("rows", lambda a: a + 1)),
    ),
    "no popularity in the mixture": ("manifest", lambda f: change_manifest(f, popularity_weight=0.0)),
    "a relation without its file": (
        "shape",
        lambda f: change_manifest(f, neighbours={"before": {"weight": 0.5, "decay": 0.5}}),
    ),
    "no neighbours": ("missing", lambda f: (f / NEIGHBOURS).unlink()),
    "a start beyond the entries": (
        "shape",
        lambda f: retouch(f, NEIGHBOURS, tensor_of("next.starts", lambda a: a + np.int32(1))),
    ),
    "starts that go back": (
        "shape",
        lambda f: retouch(f, NEIGHBOURS, tensor_of("next.starts", lambda a: a[[0, 2, 1, 3]] * np.int32([1, 2, 0, 1]))),
    ),
    "neighbours that are none": (
        "shape",
        lambda f: retouch(f, NEIGHBOURS, tensor_of("next.products", lambda a: a + np.int32(1))),
    ),
    "a share below nothing": (
        "shape",
        lambda f: retouch(f, NEIGHBOURS, tensor_of("next.values", np.negative)),
    ),
    "a share that is no number": ("not_finite", lambda f: retouch(f, NEIGHBOURS, tensor_of("next.values", with_nan))),
    "golden scores that are no numbers": (
        "not_finite",
        lambda f: retouch(f, "golden.safetensors", tensor_of("scores", with_nan)),
    ),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_whatever_is_wrong_is_refused_with_its_reason(spoiler: str, folder: Path) -> None:
    reason, spoil = SPOILERS[spoiler]
    spoil(folder)
    with pytest.raises(BadEvent) as refused:
        read_version(folder)
    assert refused.value.reason == reason


@pytest.fixture
def weighed(folder: Path, tmp_path: Path) -> Path:
    """A version that weighs the tally's experts, to spoil."""
    manifest, parts, golden, _ = read_version(folder)
    plain = manifest.model_copy(update={"files": {}, "neighbours": {}, "popularity_weight": 1.0})
    mixture = np.random.default_rng(2).random(DEFAULT.shape, np.float32)
    return write_version(
        tmp_path / "weighed", plain, dataclasses.replace(parts, neighbours={}, mixture=mixture), golden
    )[0]


def test_what_the_experts_weigh_is_read_bit_for_bit_and_a_version_without_any_says_so(
    folder: Path, weighed: Path
) -> None:
    manifest, parts, _, _ = read_version(weighed)
    assert manifest.experts == EXPERT_NAMES
    assert f"{CONTEXTS} contexts" in manifest.experts
    expected = np.random.default_rng(2).random(DEFAULT.shape, np.float32)
    for mixture in (parts.mixture, scorer_of(weighed).mixture):
        assert mixture is not None
        assert mixture.tobytes() == expected.tobytes()
    assert (read_manifest(folder).experts, read_version(folder)[1].mixture) == ("", None)
    assert scorer_of(folder).mixture is None


def negative(tensor: NDArray[Any]) -> NDArray[Any]:
    tensor[3, 4] = -1e-6
    return tensor


NEWER = "run the same version of Freshet everywhere; the next version that the trainer publishes takes its place"
WEIGHED_SPOILERS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "experts of another layout": (
        "schema",
        f"weighs the experts a clock, this has {EXPERT_NAMES}: {NEWER}",
        lambda f: change_manifest(f, experts="a clock"),
    ),
    "an earlier schema": (
        "schema",
        f"v1 has schema 1, this reads {SCHEMA_VERSION}: {NEWER}",
        lambda f: change_manifest(f, schema_version=1),
    ),
    "a weight below 0": (
        "shape",
        "mixture holds weights below 0",
        lambda f: retouch(f, "items.safetensors", tensor_of("mixture", negative)),
    ),
    "a weight that is no number": (
        "not_finite", "mixture", lambda f: retouch(f, "items.safetensors", tensor_of("mixture", with_nan))
    ),
    "a weight without end": (
        "not_finite", "mixture", lambda f: retouch(f, "items.safetensors", tensor_of("mixture", lambda a: a / 0.0))
    ),
    "an expert too few": (
        "shape", "mixture", lambda f: retouch(f, "items.safetensors", tensor_of("mixture", lambda a: a[:, 1:]))
    ),
    "no weights": ("shape", "mixture", lambda f: retouch(f, "items.safetensors", lambda t: t.pop("mixture"))),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("spoiler", WEIGHED_SPOILERS)
def test_what_would_weigh_the_experts_wrongly_is_refused_with_its_reason(spoiler: str, weighed: Path) -> None:
    reason, message, spoil = WEIGHED_SPOILERS[spoiler]
    spoil(weighed)
    with pytest.raises(BadEvent, match=re.escape(message)) as refused:
        read_version(weighed)
    assert refused.value.reason == reason


def test_another_manifest_than_the_announced_one_is_refused(folder: Path, original: tuple[Path, str]) -> None:
    assert read_manifest(folder, original[1]).epsilon == 0.25
    change_manifest(folder, epsilon=0.0)
    assert read_manifest(folder).epsilon == 0.0
    for read in (read_manifest, read_version):
        with pytest.raises(BadEvent, match="announced") as refused:
            read(folder, original[1])
        assert refused.value.reason == "hash"


def other_inputs() -> bytes:
    """A whole ONNX model that wants something else."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def fewer_features() -> bytes:
    """The encoder, but for one event feature less."""
    model = onnx.load_from_string(to_onnx(Encoder(DIMENSION)))
    model.graph.input[1].type.tensor_type.shape.dim[2].dim_value = len(EVENT_FEATURES) - 1
    content: bytes = model.SerializeToString()
    return content


def averaging(queries: int) -> bytes:
    """An encoder whose query n is n + 1 times the sum of the history's product vectors."""
    inputs = [
        helper.make_tensor_value_info("products", TensorProto.FLOAT, ["B", "T", DIMENSION]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", len(EVENT_FEATURES)]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
    ]
    times = np.arange(1, queries + 1, dtype=np.float32).reshape(1, queries, 1)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["products", "axis"], ["sum"], keepdims=1),
            helper.make_node("Mul", ["sum", "times"], ["queries"]),
        ],
        "averaging",
        inputs,
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["B", queries, DIMENSION])],
        [numpy_helper.from_array(times, "times"), numpy_helper.from_array(np.array([1], np.int64), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("queries", [1, 2])
def test_heads_score_by_a_query_each_or_by_one_for_all(queries: int, folder: Path) -> None:
    replace(folder, "encoder.onnx", averaging(queries))
    manifest, parts, _, _ = read_version(folder)
    history = parts.input[[0, 1]].sum(axis=0)
    wanted = sum(
        weight * (parts.outputs[head] @ (history * (h + 1 if queries > 1 else 1)) + parts.biases[head])
        for h, (head, weight) in enumerate(manifest.heads.items())
    )
    rows = np.arange(len(BIAS), dtype=np.int32)
    two_events = window(0, 1)
    golden = {"products": two_events.products, "features": two_events.features, "lengths": two_events.lengths}
    replace(
        folder,
        "golden.safetensors",
        save_tensors(golden | {"rows": rows[None], "scores": np.asarray(wanted, np.float32)[None]}),
    )
    scorer = scorer_of(folder, tuple(BIAS))
    assert np.allclose(scorer.scores(two_events), wanted, atol=1e-4)
    after = history_by_history(parts.input[[0, 1]])
    values = manifest.heads["q"] * (
        after @ parts.outputs["q"].T * (2 if queries > 1 else 1) + parts.biases["q"]
    )  # (3, A)
    groups = scorer.by_head(two_events, rows.astype(np.int64))
    assert np.allclose(groups[OF_VALUES, :, 0].T, values, atol=1e-2), "kept at half precision"
    assert np.allclose(groups[:, :, 0, -1].sum(axis=0), wanted, atol=1e-4)


def history_by_history(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of no vector, of the first, and so on, (n + 1, D)."""
    return np.concatenate([np.zeros_like(vectors[:1]), vectors.cumsum(axis=0)])


ENCODERS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "no ONNX": ("encoder", lambda: b"import os"),
    "empty": ("encoder", lambda: b""),
    "other inputs": ("encoder", other_inputs),
    "fewer features": ("encoder", fewer_features),
    "other dimension": ("encoder", lambda: to_onnx(Encoder(2 * DIMENSION))),
    "more queries than heads": ("encoder", lambda: averaging(3)),
    "other weights": ("golden", lambda: to_onnx(Encoder(DIMENSION))),
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_an_encoder_that_is_not_the_learners_never_serves(encoder: str, folder: Path) -> None:
    reason, make = ENCODERS[encoder]
    replace(folder, "encoder.onnx", make())
    read_version(folder)
    with pytest.raises(BadEvent) as refused:
        scorer_of(folder)
    assert refused.value.reason == reason


def test_golden_scores_that_are_off_are_told_by_how_much(folder: Path) -> None:
    retouch(folder, "golden.safetensors", tensor_of("scores", lambda a: a + np.float32(0.5)))
    with pytest.raises(BadEvent, match=r"v1: golden query 0 is off by 0\.5") as refused:
        scorer_of(folder)
    assert refused.value.reason == "golden"


def window(*products: int, length: int = LENGTH) -> Window:
    rows = np.full((1, length), -1, np.int32)
    rows[0, : len(products)] = products
    features = np.zeros((1, length, len(EVENT_FEATURES)), np.float32)
    features[0, : len(products)] = 0.5
    return Window(rows, features, np.array([len(products)], np.int32))


def test_the_callers_rows_are_kept(folder: Path) -> None:
    """The caller knew another product and a teapot before; the version's rows are other ones."""
    plain, shifted = scorer_of(folder), scorer_of(folder, ("spoon", "teapot"))
    assert (plain.products, shifted.products) == (3, 4)
    plain_scores = plain.scores(window(0, 1))  # kettle, teapot
    shifted_scores = shifted.scores(window(2, 1))
    assert shifted_scores[0] == -np.inf, "the version does not know the spoon"
    assert shifted_scores[[2, 1, 3]].tolist() == pytest.approx(plain_scores.tolist(), abs=1e-6)
    assert plain_scores.tolist() != pytest.approx(plain.scores(window(1, 0)).tolist(), abs=1e-3), "the history counts"


def test_what_follows_is_said_in_the_callers_rows(folder: Path) -> None:
    """Half of each share, since the mixture gives the relation a half; the newer event counts twice the older one."""
    shifted = scorer_of(folder, ("spoon", "teapot"))  # then the kettle and the cup
    assert shifted.popularity_weight == 0.5
    assert shifted.related(window(2)).tolist() == pytest.approx([0.0, 0.25, 0.0, 0.125])
    assert shifted.related(window(3, 2)).tolist() == pytest.approx([0.0, 0.5 / 3, 0.5 / 3, 0.25 / 3])
    for nothing in (window(), window(-1), window(0), window(99), window(1)):
        assert shifted.related(nothing).tolist() == [0.0] * 4
    longer = window(2, *[1] * LENGTH, length=LENGTH + 1)
    assert shifted.related(longer).tolist() == [0.0] * 4, "it looks no further back than it was trained to"


def test_golden_scores_are_reproduced(original: tuple[Path, str]) -> None:
    manifest, _, golden, _ = read_version(original[0])
    assert manifest.heads == {"ce": 1.0, "q": 0.5}
    scores_ = scorer_of(original[0]).scores(golden.window)
    assert scores_[golden.rows[0]].tolist() == pytest.approx(golden.scores[0].tolist(), abs=1e-4)


def test_a_head_may_be_its_bias_alone(folder: Path) -> None:
    before = scorer_of(folder).scores(window(0, 1))
    bias = np.array([1.0, -2.0, 0.5], np.float32)
    retouch(folder, "items.safetensors", lambda tensors: tensors.update({"bias.trend": bias}))
    retouch(folder, "golden.safetensors", lambda tensors: tensors["scores"].__iadd__(2.0 * bias[tensors["rows"]]))
    change_manifest(folder, heads={"ce": 1.0, "q": 0.5, "trend": 2.0})
    assert scorer_of(folder).scores(window(0, 1)).tolist() == pytest.approx((before + 2.0 * bias).tolist(), abs=1e-6)


def test_a_history_of_unknown_products_counts_as_unknown(folder: Path) -> None:
    scorer = scorer_of(folder, ("spoon",))
    unknown = scorer.scores(window(-1, 2))
    for row in (0, 4, 99):  # known to the caller alone
        assert scorer.scores(window(row, 2)).tolist() == unknown.tolist()


def test_what_lies_further_back_than_the_version_learned_to_look_counts_nothing(folder: Path) -> None:
    scorer = scorer_of(folder)
    longer = window(0, 1, 2, 2, 0, 1, 2, length=LENGTH + 3)
    assert scorer.scores(longer).tolist() == scorer.scores(window(2, 2, 0, 1, 2)).tolist()
    assert scorer.scores(longer).tolist() != scorer.scores(window(0, 1, 2, 2, 0)).tolist()


def test_a_user_without_history_is_scored_too(folder: Path) -> None:
    assert np.isfinite(scorer_of(folder).scores(window())).all()


def test_each_event_is_told_by_what_the_heads_say_after_it(folder: Path) -> None:
    """By the states that the encoder tells, and without them by an encoding of each beginning of the history."""
    four_events, rows = window(0, 1, 2, -1), np.array([2, 0])
    four_events.features[0, :4, 2] = (0.1, -0.4, 0.9, 0.2)
    scorer = scorer_of(folder)
    groups = scorer.by_head(four_events, rows)
    for n in range(1, 5):
        part = Window(four_events.products, four_events.features, np.array([n], np.int32))
        assert np.allclose(groups[:, :, 0, n].sum(axis=0), scorer.scores(part)[rows], atol=1e-5)
    assert np.ptp(groups[OF_SEQUENCE, :, 0], axis=1).min() > 1e-3, "the history counts"
    model = onnx.load_from_string((folder / "encoder.onnx").read_bytes())
    del model.graph.output[1]
    replace(folder, "encoder.onnx", model.SerializeToString())
    older = scorer_of(folder).by_head(four_events, rows)
    assert np.allclose(older, groups, atol=1e-5)


def test_what_each_event_shares_in_what_follows(folder: Path) -> None:
    shifted = scorer_of(folder, ("spoon", "teapot"))
    shifted_rows = np.array([3, 1, 0])
    shared = shifted.related_by_event(window(3, 2), shifted_rows)
    assert np.allclose(shared, [[0.0, 0.0, 0.0], [0.25 / 3, 0.5 / 3, 0.0]])
    for history in (window(3, 2), window(99, 2, -1), window()):
        by_event = shifted.related_by_event(history, shifted_rows)
        assert len(by_event) == history.lengths[0]
        assert np.allclose(by_event.sum(axis=0), shifted.related(history)[shifted_rows])
    assert shifted.related_by_event(window(2), np.array([99])).tolist() == [[0.0]], "a product that came later"


def test_the_manifest_says_how_it_is_read() -> None:
    assert Manifest.model_config["extra"] == "forbid"
    assert Manifest.model_config["frozen"]
