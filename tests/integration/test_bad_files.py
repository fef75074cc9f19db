"""Files with everything wrong that files have: the good records go through, each bad one is named."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.log.clients import LogReader
from shared.log.records import check_event
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.process.settings import KafkaSettings
from tests.support.broken_files import FORMATS, FileFormat, good
from tests.support.processes import ROOT, kafka_environment, running

NOBODY = 65_534


def replay(kafka: KafkaSettings, folder: Path, *arguments: str | Path) -> tuple[int, str]:
    """`python -m replay run …` to its end: exit status, and what it wrote."""
    environment = kafka_environment(kafka) | {"FRESHET_REPLAY_STATE_DIR": str(folder / "state")}
    with running("replay", environment, folder / "replay.log", "run", *map(str, arguments)) as service:
        status = service.process.wait(60)
        assert "Traceback" not in service.log
        return status, service.log


def events(kafka: KafkaSettings) -> list[pb.Event]:
    """What arrived, without ticks; all of it valid."""
    reader = LogReader(kafka, {(Topics.of(kafka).events, p): -1 for p in range(kafka.partitions)})
    result = []
    while not reader.caught_up:
        for message in reader.poll(0.5):
            event = pb.Event.FromString(message.value() or b"")
            check_event(event)
            if event.kind != pb.EVENT_KIND_TICK:
                result.append(event)
    reader.close()
    return sorted(result, key=lambda event: event.sequence)


def rejected(folder: Path) -> list[tuple[int, str]]:
    """Line and reason of all that were left out."""
    lines = next((folder / "state").glob("*/rejected.tsv")).read_text(encoding="utf-8").splitlines()[1:]
    return [(int(line.split("\t")[1]), line.split("\t")[2]) for line in lines]


def numbered(parts: list[bytes], first: int) -> Iterator[int]:
    """The line each part begins at."""
    for part in parts:
        yield first
        first += part.count(b"\n")


@pytest.mark.parametrize("file_format", FORMATS, ids=lambda f: f.name)
def test_each_bad_record_is_left_out_with_its_line_and_reason_and_the_rest_goes_on(
    kafka: KafkaSettings, tmp_path: Path, file_format: FileFormat
) -> None:
    wrong = file_format.bad()
    whole, n = [file_format.written(good(0))], 1
    expected: list[tuple[int, str]] = []
    for _, reason, content in wrong:  # after every bad one a good one
        whole += [content, file_format.written(good(n))]
        expected.append((len(whole) - 2, reason))
        n += 1
    whole.append(file_format.written(good(n))[: file_format.cut_after])  # the last one, as a copy that broke off
    expected.append((len(whole) - 1, file_format.cut_reason))
    path = tmp_path / "reviews"
    path.write_bytes(file_format.beginning + b"".join(whole))
    at = list(numbered(whole, 1 + file_format.beginning.count(b"\n")))
    arguments: list[str | Path] = [path]
    if file_format.mapping:
        (tmp_path / "mapping.toml").write_text(file_format.mapping, encoding="utf-8")
        arguments += ["--mapping", tmp_path / "mapping.toml"]

    status, output = replay(kafka, tmp_path, *arguments)

    assert status == 0, output
    assert f"{n} usable, {len(expected)} left out" in output
    named = rejected(tmp_path)
    shown = {line: what for (what, _, _), line in zip(wrong, (at[place] for place, _ in expected), strict=False)}
    assert named == [(at[place], reason) for place, reason in expected], shown
    assert [event.event_time_ms for event in events(kafka)] == [good(k)["time"] * 1000 for k in range(n)]


def test_a_gzip_that_breaks_off_is_used_as_far_as_it_goes(kafka: KafkaSettings, tmp_path: Path) -> None:
    content = gzip.compress(b"".join(FORMATS[0].written(good(n)) for n in range(2000)))
    (tmp_path / "cut.json.gz").write_bytes(content[: len(content) // 2])
    status, output = replay(kafka, tmp_path, tmp_path / "cut.json.gz")
    assert status == 0
    assert "breaks off after line" in output
    arrived = events(kafka)
    assert 100 < len(arrived) < 2000
    assert [event.event_time_ms for event in arrived] == [good(n)["time"] * 1000 for n in range(len(arrived))]


def test_a_folder_is_refused(kafka: KafkaSettings, tmp_path: Path) -> None:
    status, output = replay(kafka, tmp_path, tmp_path)
    assert status == 2
    assert "is not a file; name the file itself" in output


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reviews.json"
    path.write_bytes(FORMATS[0].written(good(0)))
    path.chmod(0)
    as_root = os.geteuid() == 0  # who may read everything
    program = (
        "import os, sys; from pathlib import Path; from replay.reading.lines import require_readable\n"
        "if len(sys.argv) > 2: os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))\n"
        "require_readable(Path(sys.argv[1]))"
    )
    folder = tmp_path
    while (
        as_root
        and folder != folder.parent
        and folder.owner() == "root"
        and folder.name.startswith(("pytest", "popen", "test"))
    ):
        folder.chmod(0o755)  # the folders of pytest and its workers are closed to others
        folder = folder.parent
    arguments = [sys.executable, "-c", program, str(path), *([str(NOBODY)] if as_root else [])]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert done.stderr.strip().endswith(f"Unusable: {path} may not be read; check its permissions")
