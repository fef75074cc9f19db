"""What a version has learned of each product, as directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared.model.files import read_version
from shared.model.scoring import load_scorer
from tests.support.versions import tiny_version


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
