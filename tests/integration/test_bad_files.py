"""Files with everything wrong that files have: the good records go through, each bad one is named."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.sending.progress import ReplayPosition
from shared.log.clients import LogReader
from shared.log.ordered import OrderedReader
from shared.log.records import DAY_MS, check_event
from shared.log.topics import Topics
from shared.pb.freshet.v1 import events_pb2 as pb
from shared.pb.freshet.v1.recommender_pb2 import RecordEventsRequest
from shared.process.settings import KafkaSettings
from tests.support import inference
from tests.support.broken_files import FORMATS, FileFormat, good
from tests.support.processes import ROOT, kafka_environment, running

NOBODY = 65_534


def replay(kafka: KafkaSettings, folder: Path, *arguments: str | Path, **variables: str) -> tuple[int, str]:
    """`python -m replay run …` to its end: exit status, and what it wrote."""
    environment = kafka_environment(kafka) | {"FRESHET_REPLAY_STATE_DIR": str(folder / "state")} | variables
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


IN_2099 = 4_084_000_000
GOOD_SECONDS = [1_700_000_000 + 60 * n for n in range(12)]
BY_NAME = '[columns]\nuser = "user"\nproduct = "item"\ntime = "at"\n[kind]\ndefault = "view"\n'


def views(folder: Path, seconds: list[int]) -> list[Path | str]:
    """A file of views, and the arguments that read it: lamps before 2099, then what has no clock."""
    items = [f"lamp{n % 3}" if at < IN_2099 else "clockless" for n, at in enumerate(seconds)]
    lines = [f"ann{n % 4},{item},{at}" for n, (item, at) in enumerate(zip(items, seconds, strict=True))]
    (folder / "views.csv").write_text("\n".join(["user,item,at", *lines]))
    (folder / "shop.toml").write_text(BY_NAME)
    return [folder / "views.csv", "--mapping", folder / "shop.toml"]


def dead_letters(kafka: KafkaSettings) -> list[tuple[pb.Event, str]]:
    """Each letter's event, and why it is one."""
    reader = LogReader(kafka, {(Topics.of(kafka).dead_letters, 0): -1})
    letters = []
    while not reader.caught_up:
        for message in reader.poll(0.5):
            headers = dict(message.headers() or [])
            letters.append((pb.Event.FromString(message.value() or b""), (headers["reason"] or b"").decode()))
    reader.close()
    return letters


@pytest.mark.parametrize("tick_events", [200, 1])
def test_a_line_of_2099_goes_to_the_dead_letters_and_nothing_else_is_lost(
    kafka: KafkaSettings, tmp_path: Path, tick_events: int
) -> None:
    file = views(tmp_path, [*GOOD_SECONDS, IN_2099, IN_2099 + 60])
    environment = {"FRESHET_REPLAY_TICK_EVENTS": str(tick_events)}
    status, output = replay(kafka, tmp_path, *file, **environment)
    assert status == 0, output
    assert "2 of 14 events lie more than a day ahead of the clock, from 2099-06-01T12:26:40 on" in output
    assert "go to the dead letters (future_time). --until 2099-06-01T12:26:40 leaves them out" in output
    assert "2 of them lay more than a day ahead of the clock" in output

    with running("services.features", kafka_environment(kafka), tmp_path / "features.log") as worker:
        worker.wait_for(
            lambda: worker.metrics().get('freshet_features_dead_letters_total{reason="future_time"}') == 2, "letters"
        )
        # As the trainer reads: were a tick missing, or of 2099, the last events would wait for the next.
        source = OrderedReader(kafka, Topics.of(kafka).states, silence_seconds=1e9)
        states: list[pb.StateVector] = []
        while sum(state.kind != pb.EVENT_KIND_TICK for state in states) < len(GOOD_SECONDS):
            states += [item.state for item in source.poll(0.1)]
        assert source.ordered
        source.close()
        assert sorted(s.event_time_ms for s in states if s.kind != pb.EVENT_KIND_TICK) == [
            at * 1000 for at in GOOD_SECONDS
        ]
        assert max(s.event_time_ms for s in states) <= GOOD_SECONDS[-1] * 1000 + 1
        letters = dead_letters(kafka)
        assert [(event.product_id, reason) for event, reason in letters] == [("clockless", "future_time")] * 2

        with inference.running(kafka, tmp_path) as service:
            shown = [product.product_id for product in service.recommend("stranger").products]
            assert sorted(shown) == ["lamp0", "lamp1", "lamp2"]
            view = pb.Event(kind=pb.EVENT_KIND_VIEW, user_id="eve", product_id="lamp2")
            service.stub.RecordEvents(RecordEventsRequest(events=[view]), timeout=20)
            inference.eventually(lambda: service.recommend("stranger").products[0].product_id == "lamp2")


def test_resumed_before_a_line_of_2099_the_last_tick_still_passes_the_good_events(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    file = views(tmp_path, [*GOOD_SECONDS, IN_2099])
    assert replay(kafka, tmp_path, *file)[0] == 0
    (position,) = (tmp_path / "state").glob("*/position.json")
    kept = ReplayPosition.load(position.parent)
    assert kept is not None
    kept.model_copy(update={"sequence": len(GOOD_SECONDS)}).save(position.parent)  # killed after the good events
    assert replay(kafka, tmp_path, *file, "--resume")[0] == 0
    reader = LogReader(kafka, {(Topics.of(kafka).events, p): -1 for p in range(kafka.partitions)})
    ticks = []
    while not reader.caught_up:
        sent = [pb.Event.FromString(message.value() or b"") for message in reader.poll(0.5)]
        ticks += [event.event_time_ms for event in sent if event.kind == pb.EVENT_KIND_TICK]
    reader.close()
    assert ticks == [GOOD_SECONDS[-1] * 1000 + 1] * 2 * kafka.partitions


def test_left_out_with_until_or_resumed_nothing_more_of_2099_is_sent(kafka: KafkaSettings, tmp_path: Path) -> None:
    file = views(tmp_path, [*GOOD_SECONDS, IN_2099])
    status, output = replay(kafka, tmp_path, *file, "--until", "2099-06-01T12:26:40", "--ending", "now")
    assert (status, "ahead of the clock" in output) == (0, False), output
    sent = events(kafka)
    assert [event.product_id for event in sent] == [f"lamp{n % 3}" for n in range(12)]
    now_ms = time.time_ns() // 1_000_000
    assert now_ms - 2 * DAY_MS < sent[-1].event_time_ms <= now_ms
    status, output = replay(kafka, tmp_path, *file, "--until", "2099-06-01T12:26:40", "--resume")
    assert (status, "ahead of the clock" in output) == (0, False), output


def test_a_second_loop_that_would_pass_the_clock_is_refused(kafka: KafkaSettings, tmp_path: Path) -> None:
    file = views(tmp_path, [*GOOD_SECONDS, IN_2099])
    status, output = replay(kafka, tmp_path, *file, "--loop", "2")
    assert status == 2
    assert "after loop 1 of this dataset they would lie more than a day ahead of the clock" in output
    status, output = replay(kafka, tmp_path, *file, "--ending", "now")
    assert (status, "leave out with --until what lies ahead of the clock" in output) == (2, True)
    assert events(kafka) == []


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
