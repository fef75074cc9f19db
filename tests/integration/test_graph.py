"""`freshet graph` on small files: what it says, draws and writes, and what it refuses."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import networkx as nx
import pytest
from matplotlib.image import imread

from services.console.__main__ import parse
from shared.process.errors import Unusable
from shared.process.terminal import Terminal

TITLES = {"A1": "Amp <&> cable", "A2": "Amp", "A3": "Amp case", "B1": "Bow", "B2": "Bow rosin"}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four users who review amplifiers, three who review bows, and a product by itself; with metadata."""
    lines = [
        {"reviewerID": user, "asin": asin, "overall": 5, "unixReviewTime": 1_000_000_000 + 86_400 * n, "reviewText": ""}
        for user, products in (
            ("u1", "A1 A2 A3"), ("u2", "A1 A2 A3"), ("u3", "A1 A2"), ("u4", "A1 A3"),
            ("v1", "B1 B2"), ("v2", "B1 B2"), ("v3", "B1 B2"), ("w", "C1"),
        )
        for n, asin in enumerate(products.split())
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.json").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    metadata = [
        {"asin": asin, "title": title, "also_buy": ["A2"] if asin == "B1" else []} for asin, title in TITLES.items()
    ]
    (tmp_path / "meta.json").write_text("\n".join(map(json.dumps, metadata)), encoding="utf-8")
    return tmp_path


def test_communities_are_told_drawn_and_written(shop: Path) -> None:
    lines = graph("--metadata", "meta.json", "--picture", "shop.png", "--out", "shop.graphml")
    assert lines[0] == "reviews.json: 6 products, 5 edges, 1 products without a neighbour"
    assert lines[1].split() == ["co_review", "4", "edges"]
    assert lines[2].split() == ["listed_bought", "1", "edges"]
    assert lines[4] == "2 communities, the largest first, each with its best connected products:"
    assert lines[5].split(maxsplit=3)[3] == "A1 Amp <&> cable; A2 Amp; A3 Amp case"
    assert lines[6].split(maxsplit=3)[3] == "B1 Bow; B2 Bow rosin"
    picture = imread(shop / "shop.png")
    assert picture.shape[0] >= 1000
    assert picture.std() > 0.01  # something is drawn
    written = nx.read_graphml(shop / "shop.graphml")
    assert written.edges["A1", "A2"]["co_review"] == 3
    assert written.nodes["A1"]["community"] == 1
    assert "community" not in written.nodes["C1"]


def test_neighbours_of_a_product_are_told(shop: Path) -> None:
    lines = graph("--metadata", "meta.json", "--product", "A2", "--out", "shop.json")
    assert lines[0] == "A2 Amp: 3 events, 3 neighbours"
    assert lines[1] == "It is in community 1, with 2 others."
    rows = [line.split() for line in lines[4:7]]
    assert [row[3] for row in rows] == ["A1", "A3", "B1"]
    assert rows[0][:3] == [f"{3 / (12**0.5 + 3):.3f}", "3", "-"]
    assert rows[2][:3] == ["0.100", "0", "bought"]
    assert nx.node_link_graph(json.loads((shop / "shop.json").read_text()), edges="edges").number_of_edges() == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--product", "A22"], "reviews.json holds no product 'A22'; did you mean A2"),
        (["--picture", "nowhere/shop.png"], "no such folder: nowhere; make it"),
        (["--metadata", "nowhere.json"], "nowhere.json"),
        (["--least-users", "9", "--picture", "shop.png"], "nothing to draw: --least-users 1 joins more"),
    ],
)
def test_what_cannot_be_done_is_refused(shop: Path, given: list[str], message: str) -> None:
    with pytest.raises(Unusable, match=re.escape(message)):
        graph(*given)


def test_an_export_in_no_known_format_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(["graph", "reviews.json", "--out", "shop.txt"])
    assert "argument --out: 'shop.txt' must end with .graphml or .json" in capsys.readouterr().err


def graph(*given: str) -> list[str]:
    """What the command says, run in the folder of the files."""
    arguments, stream = parse(["graph", "reviews.json", *given]), io.StringIO()
    assert arguments.run(arguments, Terminal(stream), {"FRESHET_REPLAY_STATE_DIR": "state"}) == 0
    return stream.getvalue().splitlines()
