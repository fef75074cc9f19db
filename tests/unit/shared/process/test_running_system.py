"""Commands find the system that runs in their folder, and leave alone one that has ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.process.running_system import FILE, environment_here, is_found_here, running_here, shown


@pytest.fixture
def server() -> Iterator[str]:
    """The address of something that answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    state = Path(".freshet") / "up"
    state.mkdir(parents=True)
    return state


def variables(server: str, **others: str) -> dict[str, str]:
    return {"FRESHET_KAFKA_BOOTSTRAP_SERVERS": server, "FRESHET_TRAINER_BATCH": "16", **others}


def test_its_kafka_counts_where_the_environment_names_none(here: Path, server: str) -> None:
    lines: list[str] = []
    of_system = variables(server, FRESHET_KAFKA_TOPIC_PREFIX="shop", FRESHET_KAFKA_PARTITIONS="3")
    with shown(here, of_system, "127.0.0.1:50051", "http://127.0.0.1:8080/"):
        system = running_here(lines.append)
        assert system is not None
        assert (system.grpc_address, system.page_url, system.pid) == (
            "127.0.0.1:50051",
            "http://127.0.0.1:8080/",
            os.getpid(),
        )
        environ = {"FRESHET_KAFKA_PARTITIONS": "6", "HOME": "/root"}
        assert environment_here(environ, lines.append) == environ | {
            "FRESHET_KAFKA_BOOTSTRAP_SERVERS": server,
            "FRESHET_KAFKA_TOPIC_PREFIX": "shop",
        }
        for name in ("FRESHET_KAFKA_BOOTSTRAP_SERVERS", "freshet_kafka_bootstrap_servers"):
            assert environment_here({name: "kafka:9092"}, lines.append) == {name: "kafka:9092"}
    assert environment_here({}, lines.append) == {}
    assert list(here.iterdir()) == [], "nothing is left of it"
    assert lines == []


def test_one_that_has_ended_is_ignored_and_said(here: Path, server: str) -> None:
    with shown(here, variables(server), "127.0.0.1:50051", "http://127.0.0.1:8080/"):
        written = json.loads((here / FILE).read_text())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    (here / FILE).write_text(json.dumps(written | {"pid": ended.pid}))
    lines: list[str] = []
    assert environment_here({}, lines.append) == {}
    assert lines == [f".freshet/up/{FILE} is ignored: the system that wrote it has ended (process {ended.pid})"]


def test_one_that_does_not_answer_is_ignored_and_said(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    lines: list[str] = []
    with shown(here, variables(address), "127.0.0.1:50051", "http://127.0.0.1:8080/"):
        assert running_here(lines.append) is None
    assert lines == [f".freshet/up/{FILE} is ignored: no broker answers at {address}"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"pid": 1}', '{"pid": 1, "kafka": {}, "grpc_address": "", "page_url": ""}']
)
def test_a_file_that_is_none_is_ignored_and_said(here: Path, content: str) -> None:
    (here / FILE).write_text(content)
    lines: list[str] = []
    assert running_here(lines.append) is None
    assert lines == [f".freshet/up/{FILE} is ignored: it can't be read"]


def test_of_two_the_newest_counts_and_that_is_said(here: Path, server: str) -> None:
    other = here.with_name("demo")
    other.mkdir()
    lines: list[str] = []
    with shown(here, variables(server), "a:1", "http://a/"), shown(other, variables(server), "b:1", "http://b/"):
        os.utime(here / FILE, (1e9, 1e9))
        system = running_here(lines.append)
    assert system is not None
    assert system.grpc_address == "b:1"
    assert lines == ["several systems run here; this is the newest, of .freshet/demo"]


def test_only_state_folders_below_freshet_are_looked_into(here: Path, tmp_path: Path) -> None:
    assert is_found_here(here)
    assert is_found_here(here.resolve())
    assert not is_found_here(tmp_path)
    assert not is_found_here(here / "deeper")
