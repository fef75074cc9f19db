"""docs/shop-in-an-hour.md, run as it is printed.

What is printed runs, block by block. Only this differs from the page: `sales.csv` is the beginning of the real file,
the learner is small, and ports are free ones, by the options and variables that the page names for it.
"""

from __future__ import annotations

import gzip
import html
import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from urllib.error import URLError

import pytest

import freshet
from services.embedded.broker import free_port
from shared.log.clients import LogReader
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import KafkaSettings
from tests.support.inference import eventually
from tests.support.loop import SMALL
from tests.support.pages import page as docs_page

LINES = 20_000
CUSTOMER = "12748"
SETTINGS = SMALL | {
    "FRESHET_TRAINER_CHECKPOINT_EVENTS": "1000",
    "FRESHET_TRAINER_PUBLISH_EVENTS": "2000",
    "FRESHET_FEATURES_SESSION_SECONDS": "3",
}


def chapter() -> list[tuple[str, str]]:
    """The page's blocks, in order: language and text."""
    return [(language, block) for language, block in docs_page("docs/shop-in-an-hour.md").steps() if language != "sql"]


class Terminal:
    """Runs what a reader would type or save, in a folder of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.ports = {port: free_port() for port in (50051, 8000, 8080, 9092, 9401, 9402)}
        self._stack = stack
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("FRESHET_")} | SETTINGS
        self._environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=f"127.0.0.1:{self.ports[9092]}")

    def _here(self, text: str) -> str:
        """The text with this test's ports."""
        return re.sub("|".join(map(str, self.ports)), lambda result: str(self.ports[int(result[0])]), text)

    def save(self, program: str) -> None:
        """Save a program as its first line says."""
        name = re.match(r"# (\w+\.py)\n", program)
        assert name is not None, program
        (self.folder / name[1]).write_text(self._here(program))

    def type(self, commands: str) -> str:
        """Run commands to their end; what they say."""
        ended = subprocess.run(
            ["bash", "-euc", self._here(commands)],
            cwd=self.folder,
            env=self._environment | {"FRESHET_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert ended.returncode == 0, f"{commands}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def leave_running(self, commands: str, name: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start commands that go on, as in a terminal of their own; the process and what it says."""
        environment = dict(self._environment)
        commands = self._here(commands)
        if name == "up":
            commands = commands.replace("freshet up", f"freshet up --kafka-port {self.ports[9092]}")
            environment["FRESHET_INFERENCE_GRPC_PORT"] = str(self.ports[50051])
            environment["FRESHET_GATEWAY_PORT"] = str(self.ports[8080])
        else:
            environment["FRESHET_KAFKA_BOOTSTRAP_SERVERS"] = self.kafka.bootstrap_servers
        output = self.folder / f"{name}.out"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-euc", commands],
                cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                start_new_session=True,
            )  # fmt: skip
        self._stack.callback(end, process)
        return process, output


def end(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C, as a terminal sends it: to all that run in it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait(10)


@contextmanager
def terminal(folder: Path) -> Iterator[Terminal]:
    with ExitStack() as stack:
        yield Terminal(folder, stack)


@pytest.fixture
def sales(data: Path, tmp_path: Path) -> Path:
    source = data / "online-retail" / "online_retail_541909.csv.gz"
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        (tmp_path / "sales.csv").write_text("".join(islice(lines, LINES + 1)), encoding="utf-8")
    return tmp_path


def page(port: int, query: str, form: bytes | None = None) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{query}", data=form, timeout=20) as answer:
        return str(answer.read().decode())


def links(shown: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'<a href="/\?([^"]*)"', shown)]


def is_up(port: int) -> bool:
    try:
        return "<h1>" in page(port, "")
    except URLError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_step_does_what_the_chapter_says(sales: Path) -> None:
    blocks = iter(chapter())

    def step(language: str, beginning: str) -> str:
        result, block = next(blocks)
        assert (result, block[: len(beginning)]) == (language, beginning), block
        return block

    with terminal(sales) as shell:
        printed = shell.type(step("sh", "freshet data inspect sales.csv --write-mapping shop.toml"))
        assert f"{LINES:,}" in printed
        assert "FRESHET_FEATURES_PRICE_MAXIMUM=" in printed
        assert tomllib.loads(step("toml", "")) == tomllib.loads((sales / "shop.toml").read_text())

        up, output = shell.leave_running(step("sh", "export"), "up")

        def ready() -> bool:
            assert up.poll() is None, output.read_text()
            return "Running; Ctrl-C ends it." in output.read_text()

        eventually(ready)
        addresses = f"Kafka 127.0.0.1:{shell.ports[9092]}, gRPC 127.0.0.1:{shell.ports[50051]}"
        assert addresses in output.read_text()
        assert f"http://127.0.0.1:{shell.ports[9401]}/metrics" in output.read_text()

        shell.type(step("sh", "python -m replay --products sales.csv"))
        shell.save(step("python", "# products.py"))
        assert shell.type(step("sh", "python products.py")) == "1 product stored\n"

        backfill, reported = shell.leave_running(step("sh", "python -m replay run sales.csv"), "backfill")
        shop = freshet.Client(f"127.0.0.1:{shell.ports[50051]}", timeout=20.0)
        with shop:
            eventually(lambda: is_known(shop))
            assert shop.recommend(None).fallback is not freshet.Fallback.EMPTY_CATALOGUE
            shell.save(step("python", "# live.py"))
            os.killpg(backfill.pid, signal.SIGSTOP)  # so that it can't end first, however slow the machine
            printed = shell.type(step("sh", "python live.py"))
            os.killpg(backfill.pid, signal.SIGCONT)
            assert re.findall(r"^(\d) \S+ -?[0-9.]+$", printed, flags=re.MULTILINE) == list("12345")
            assert re.search(r"^answered by \S+, request [0-9a-f]{32}$", printed, flags=re.MULTILINE)
            assert backfill.poll() is None, f"it is over already: {reported.read_text()}"

            counter = step("sh", "curl -s http://127.0.0.1:9401/metrics")
            eventually(lambda: float(shell.type(counter).split()[-1]) > 0)

            shell.save(step("python", "# page.py"))
            shell.leave_running(step("sh", "python page.py"), "page")
            port = shell.ports[8000]
            eventually(lambda: is_up(port))
            assert len(links(page(port, ""))) == 4, "a guest sees what is trending"
            shown = links(page(port, f"user={CUSTOMER}&product=22423"))
            assert len(shown) == 4
            page(port, shown[0])
            page(port, shown[0], form=b"")
            eventually(lambda: answers_of(shell.kafka, shown[0]) == {pb.EVENT_KIND_VIEW, pb.EVENT_KIND_PURCHASE})

            assert backfill.wait(100) == 0, reported.read_text()
            judged = step("sh", "curl -s http://127.0.0.1:9402/metrics")
            figures, listing = judged.strip().splitlines()
            eventually(lambda: "NaN" not in shell.type(figures))
            for policy in ("learned", "trending"):
                assert f'policy="{policy}"' in shell.type(figures)
            eventually(lambda: shop.models().serving)
            assert shop.models().serving in shell.type(listing)

        assert end(up) == 0, output.read_text()
        gone = page(port, f"user={CUSTOMER}&product=22423")
        assert "<h1>22423</h1>" in gone
        assert links(gone) == [], "without recommendations the page is as good as before"
        assert next(blocks, None) is None


def is_known(shop: freshet.Client) -> bool:
    """Whether the backfill has brought the customer."""
    try:
        return shop.user(CUSTOMER).events > 0
    except freshet.NotFound:
        return False


def answers_of(kafka: KafkaSettings, link: str) -> set[int]:
    """The kinds of the recorded events that answer the recommendation that a link came from."""
    request_id = link.rpartition("answers=")[2]
    reader = LogReader(kafka, {(Topics.of(kafka).events, partition): -1 for partition in range(kafka.partitions)})
    kinds = set()
    while not reader.caught_up:
        events = [pb.Event.FromString(message.value() or b"") for message in reader.poll(1.0)]
        kinds |= {int(event.kind) for event in events if event.request_id == request_id}
    reader.close()
    return kinds
