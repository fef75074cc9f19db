"""`freshet report` on a small file: each figure a picture, the page with all of them, and what it refuses."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from services.console.__main__ import parse
from services.demo.demo import report_command
from shared.process.errors import Unusable
from shared.process.terminal import Terminal

FIGURES = ("training", "sentiment", "convergence", "success", "accuracy", "classes", "activity", "coverage")
OF_SIMULATION = ("discount", "visits")
NAME = "reviews <&>.json"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some 400 reviews, whose users come back, and what a simulation wrote."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    lines = [
        {
            "reviewerID": f"u{user}",
            "asin": f"p{(user % 4) * 10 + int(rng.integers(10))}",
            "overall": int(rng.integers(1, 6)),
            "reviewText": ("I love it", "It is a cable", "Terrible, I hate it")[int(rng.integers(3))],
            "unixReviewTime": 1_000_000_000 + 86_400 * n,
        }
        for n in range(10)
        for user in range(40)
    ]
    (tmp_path / NAME).write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    figure = {"mean": 0.5, "low": 0.4, "high": 0.6}
    curve = [{"step": step, "reward_per_slate": step / 1000} for step in (100, 200)]
    simulation = {
        "command": "freshet simulate compare shop",
        "seed": 7,
        "policies": {name: {"reward": figure, "success": figure} for name in ("trending", "dqn 0", "dqn 0.9")},
        "curves": {"dqn 0": curve, "dqn 0.9": curve},
    }
    (tmp_path / "simulation.json").write_text(json.dumps(simulation), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_a_report_holds_every_figure(folder: Path) -> None:
    lines = report("--out", "out/report", "--policies", "trending,markov", "--simulation", "simulation.json")
    assert lines[-1] == "The report is out/report/index.html."
    text = (folder / "out/report/index.html").read_text(encoding="utf-8")
    assert NAME not in text
    assert "reviews &lt;&amp;&gt;.json" in text
    for name in (*FIGURES, *OF_SIMULATION):
        path = folder / "out/report" / f"{name}.png"
        picture = imread(path)
        assert picture.shape[1] >= 1000, name
        assert picture.std() > 0.01, name  # something is drawn
        section = text[text.index(f'<section id="{name}">') :].partition("</section>")[0]
        embedded = re.search(r'src="data:image/png;base64,([^"]+)"', section)
        assert embedded is not None
        assert b64decode(embedded[1]) == path.read_bytes()
        assert "seed" in section or "at random" in section
        assert "<code>" in section
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []  # nothing is loaded
    # The evaluation it made may be given to the next report, without the events and the simulation.
    (folder / "out/report/evaluation.parquet").unlink()
    again = report("--out", "again", "--evaluation", "out/report/evaluation.json")
    missing = [line.split("  ")[1] for line in again if line.endswith("input missing")]
    assert len(missing) == 3
    text = (folder / "again/index.html").read_text(encoding="utf-8")
    assert text.count('class="missing"') == 3
    assert "Missing: the judged events" in text
    assert "Missing: a simulation" in text
    assert not (folder / "again/accuracy.png").exists()
    assert (folder / "again/success.png").read_bytes() == (folder / "out/report/success.png").read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--out", "out", "--evaluation", "nowhere.json"], "no such file: nowhere.json"),
        (["--out", "out", "--simulation", "nowhere.json"], "no such file: nowhere.json"),
        (["--out", "simulation.json"], "simulation.json is a file; name a folder with --out"),
        (["--out", "out", "--evaluation", NAME], "can't be read as JSON"),
        (
            ["--out", "out", "--evaluation", "simulation.json"],
            "simulation.json is not what `freshet evaluate --json` writes",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(folder: Path, given: list[str], message: str) -> None:
    with pytest.raises(Unusable, match=re.escape(message)):
        report(*given)


def test_an_evaluation_of_other_data_is_refused(folder: Path) -> None:
    other = {"command": "", "seeds": [7], "policies": {}, "slices": {}, "catalogue": {}, "data": {"fingerprint": "x"}}
    (folder / "other.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(Unusable, match=r"other\.json was made from other data than"):
        report("--out", "out", "--evaluation", "other.json")


def test_the_demo_says_how_to_have_a_report_on_its_data() -> None:
    about = {"--metadata": Path("state/my products.json.gz"), "--mapping": None}
    command = " ".join(report_command(Path("state/sample.json.gz"), about, Path("state/report")))
    words = "report state/sample.json.gz --metadata 'state/my products.json.gz' --out state/report"
    assert command.endswith(f"freshet {words}")


def report(*given: str) -> list[str]:
    """What the command says, run in the folder of the files."""
    arguments, stream = parse(["report", NAME, *given]), io.StringIO()
    assert arguments.run(arguments, Terminal(stream), {"FRESHET_REPLAY_STATE_DIR": "state"}) == 0
    return stream.getvalue().splitlines()
