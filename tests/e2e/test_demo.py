"""The demo as a newcomer meets it: what it shows, that what it prints works, that nothing stays behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.sample.shop import write_sample
from tests.support.inference import eventually
from tests.support.processes import ROOT

EVENTS = 900
PATIENCE_SECONDS = 110.0
ENVIRONMENT = {
    "FRESHET_TRAINER_HIDDEN": "128",
    "FRESHET_TRAINER_BATCH": "16",
    "FRESHET_TRAINER_CHECKPOINT_EVENTS": "300",
    "FRESHET_TRAINER_PUBLISH_EVENTS": "300",
    "FRESHET_FEATURES_SESSION_SECONDS": "3",
}


@pytest.fixture
def reviews(tmp_path: Path) -> tuple[Path, Path]:
    data, metadata = tmp_path / "reviews.json.gz", tmp_path / "products.json.gz"
    write_sample(data, metadata, users=80, products=60, events=EVENTS, seed=3)
    return data, metadata


class Demo:
    """`freshet demo` on a small file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder, self.state_dir = folder, folder / ".freshet" / "demo"
        self._output = folder / "output"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FRESHET_")}
        with self._output.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.console", "demo", "--state-dir", str(self.state_dir), *arguments],
                env=inherited | ENVIRONMENT,
                cwd=ROOT,
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def beside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`python -m …` in another terminal of the same folder, without a variable."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("FRESHET_")}
        return subprocess.run(
            [sys.executable, "-m", *words], env=inherited, cwd=self.folder, capture_output=True, text=True, timeout=60
        )

    def left_running(self) -> list[str]:
        """Command lines of processes that work in the demo's folder."""
        figure = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (
                    str(self.state_dir).encode() in (folder / "environ").read_bytes()
                    and int(folder.name) != os.getpid()
                ):
                    figure.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it has ended, or is somebody else's
                continue
        return figure


@pytest.fixture
def kept(tmp_path: Path, reviews: tuple[Path, Path]) -> Iterator[Demo]:
    data, metadata = reviews
    demo = Demo(tmp_path, "--data", str(data), "--metadata", str(metadata), "--within", "6s", "--keep")
    yield demo
    if demo.process.poll() is None:
        demo.process.send_signal(signal.SIGINT)
        demo.process.wait(40)


@pytest.mark.slow
def test_it_shows_what_a_newcomer_wants_to_see_and_what_it_prints_works(kept: Demo, tmp_path: Path) -> None:
    kept.wait_for("Staying up; Ctrl-C ends it.")
    output = kept.output
    headings = re.findall(r"^([1-5])\. ", output, flags=re.MULTILINE)
    assert headings == ["1", "2", "3", "4", "5"]
    places = (str(tmp_path), sys.executable)  # as long as they are
    assert [line for line in output.splitlines() if len(line) > 80 and not any(place in line for place in places)] == []
    assert re.match(r"  This takes about 2 minutes, of which the replay takes 6 s;", output)
    assert f"All {EVENTS} events were sent and acknowledged; {EVENTS} learned,\n" in output
    assert re.search(rf"^  0+{EVENTS}-[0-9a-f]{{8}} +{EVENTS} events ", output, re.MULTILINE), (
        "the last version is waited for, too"
    )
    assert len(re.findall(r"ms after RecordEvents was called", output)) == 3
    assert len(re.findall(r"^ +10  .*", output, flags=re.MULTILINE)) == 3, "three tables of ten places"
    assert re.search(r"\d+ were of a product not known before: a miss for each", output)
    assert re.search(r"of them \(\d+%\) by a learned version", output)
    assert re.search(
        r"NDCG@10 is\n  [0-9.]+ times that of trending and\n  [0-9.]+ times that of markov\.$", output, re.MULTILINE
    )

    snippet = re.search(r"^\S+ - <<'EOF'$.*?^EOF$", output, flags=re.MULTILINE | re.DOTALL)
    assert snippet is not None
    printed = subprocess.run(
        ["bash", "-c", snippet.group()], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert re.match(r"1 B?\S+ -?[0-9.]+\n2 ", printed.stdout)
    assert "answered by 0" in printed.stdout
    assert re.search(
        r"grpcurl -plaintext -d '\{\"user_id\": .*\}' \\\n  127\.0\.0\.1:\d+ freshet\.v1\.\S+/Recommend", output
    )
    assert re.search(r"^  Kafka:    127\.0\.0\.1:\d+$", output, re.MULTILINE)
    page = re.search(r"The page: (http://127\.0\.0\.1:\d+/)$", output, flags=re.MULTILINE)
    curl = re.search(r"^curl '?(http\S+?count=5)'?$", output, flags=re.MULTILINE)
    assert page is not None
    assert curl is not None
    with urllib.request.urlopen(page.group(1), timeout=10) as shown:  # noqa: S310
        assert shown.headers.get_content_type() == "text/html"
    with urllib.request.urlopen(curl.group(1), timeout=10) as answer:  # noqa: S310
        assert len(json.load(answer)["products"]) == 5
    with urllib.request.urlopen(f"{page.group(1)}v1/live", timeout=10) as answer:  # noqa: S310
        assert json.load(answer)["judged_events"] > 0

    listed = kept.beside("services.console", "models", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert re.search(rf"^0+{EVENTS}-[0-9a-f]{{8}} ", listed.stdout, re.MULTILINE), "it finds the system by itself"
    products = kept.beside("replay", "--products", str(tmp_path / "products.json.gz"))
    assert products.returncode == 0, products.stderr

    kept.process.send_signal(signal.SIGINT)
    assert kept.process.wait(60) == 0
    assert not list(kept.state_dir.glob("running.json*"))
    assert "Nothing is left running." in kept.output
    assert kept.left_running() == []


@pytest.mark.slow
def test_killed_with_minus_9_it_leaves_nothing_running(tmp_path: Path, reviews: tuple[Path, Path]) -> None:
    demo = Demo(tmp_path, "--data", str(reviews[0]), "--within", "60s")
    demo.wait_for("2. Events flow")
    eventually(lambda: len(demo.left_running()) >= 6)  # one that has just been started may not show its environment yet
    demo.process.kill()
    demo.process.wait(10)
    eventually(lambda: not demo.left_running())
    ignored = demo.beside("services.console", "topics", "--wait", "0.1")
    assert ignored.stderr.startswith(
        "freshet: .freshet/demo/running.json is ignored: the system that wrote it has ended"
    )


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("--data", "no-such-file.json"), "no such file: no-such-file.json"),
        (("--data", "."), "is not a file"),
        (("--metadata", "README.md"), "name that with --data"),
        (("--state-dir", "services"), "holds files that Freshet did not write"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], printed: str
) -> None:
    demo = Demo(tmp_path, *arguments)
    assert demo.process.wait(60) == 2
    assert printed in demo.output
    assert "Traceback" not in demo.output
    assert demo.left_running() == []


def test_files_that_cannot_be_read_are_said_before_anything_starts(tmp_path: Path, reviews: tuple[Path, Path]) -> None:
    empty, other = tmp_path / "empty.json", tmp_path / "other.json"
    empty.touch()
    other.write_text("dear diary\n" * 20)
    data = str(reviews[0])
    for arguments, printed in (
        (("--data", str(empty)), ("is empty",)),
        (("--data", str(other)), ("other.json", "dear diary", "--mapping")),  # what was seen instead
        (("--data", data, "--metadata", data), ("holds reviews", "name the file of metadata")),
        (("--data", data, "--mapping", str(other)), ("other.json",)),
    ):
        demo = Demo(tmp_path, *arguments)
        assert demo.process.wait(60) == 2, demo.output
        for part in printed:
            assert part in demo.output
        assert "What is started" not in demo.output
        assert "Traceback" not in demo.output
        assert demo.left_running() == []
