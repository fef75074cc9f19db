"""Fetching from a server that cuts, refuses, changes files, ignores ranges and answers nonsense, as the web does."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from replay.fetching.fetch import Fetched, Patience, fetch, leaves_tls, recorded_sha256
from services.embedded.broker import free_port
from shared.process.errors import Unavailable, Unusable
from tests.support.processes import ROOT
from tests.support.publisher import Publisher, publishing

NAME = "reviews_Toys_5.json.gz"
CONTENT = random.Random(1).randbytes(700_000)
OTHER = random.Random(2).randbytes(700_000)
HURRIED = Patience(attempts=4, backoff_seconds=0.0, connect_seconds=5.0, read_seconds=5.0)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing(Publisher(CONTENT)) as served:
        yield served


def fetched(publisher: Publisher, folder: Path, **options: object) -> Fetched:
    return fetch(publisher.address(NAME), folder, patience=HURRIED, **options)  # type: ignore[arg-type]


def part(folder: Path) -> Path:
    return folder / f"{NAME}.part"


def interrupted(publisher: Publisher, folder: Path, *, after: int) -> None:
    """Leave behind what a fetch leaves that was cut and gave up."""
    publisher.cuts = [after]
    publisher.after_answer = lambda: publisher.answers.append((404, {}, b""))
    with pytest.raises(Unusable):
        fetched(publisher, folder)
    publisher.after_answer = lambda: None
    publisher.answers.clear()
    publisher.requests.clear()
    assert part(folder).read_bytes() == publisher.content[:after]


def test_a_file_comes_whole_with_its_hash_as_sha256sum_reads_it(publisher: Publisher, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    result = fetched(publisher, tmp_path / "new" / "folder", look=lambda here, size: seen.append((here, size)))
    folder = result.file.parent
    assert result.file.read_bytes() == CONTENT
    assert (result.was_here, result.was_known, result.size) == (False, False, len(CONTENT))
    assert sorted(file.name for file in folder.iterdir()) == [NAME, f"{NAME}.sha256"]
    assert (seen[0], seen[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))
    command = ["sha256sum", "-c", f"{NAME}.sha256"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{NAME}: OK\n")


def test_what_is_there_is_checked_and_not_fetched_again(publisher: Publisher, tmp_path: Path) -> None:
    fetched(publisher, tmp_path)
    again = fetched(publisher, tmp_path)
    assert (again.was_here, again.was_known) == (True, True)
    assert len(publisher.requests) == 1


def test_what_was_damaged_here_is_refused_with_both_hashes(publisher: Publisher, tmp_path: Path) -> None:
    result = fetched(publisher, tmp_path)
    result.file.write_bytes(CONTENT[:-1] + b"?")
    now = hashlib.sha256(result.file.read_bytes()).hexdigest()
    with pytest.raises(Unusable) as refusal:
        fetched(publisher, tmp_path)
    assert result.sha256 in str(refusal.value)
    assert now in str(refusal.value)
    assert fetched(publisher, tmp_path, accept_change=True).sha256 == now
    assert recorded_sha256(result.file) == now


def test_cut_connections_go_on_where_they_were(publisher: Publisher, tmp_path: Path) -> None:
    publisher.cuts = [200_000, 100_000, 0, 250_000]
    messages: list[str] = []
    assert fetched(publisher, tmp_path, say=messages.append).file.read_bytes() == CONTENT
    assert publisher.ranges_asked == ["", "bytes=200000-", "bytes=300000-", "bytes=300000-", "bytes=550000-"]
    assert "cut after 200,000 bytes" in messages[0]


def test_cuts_without_end_are_given_up_and_what_came_is_kept(publisher: Publisher, tmp_path: Path) -> None:
    publisher.cuts = [300_000] + [0] * 20
    with pytest.raises(Unavailable, match="300,000 bytes are kept"):
        fetched(publisher, tmp_path)
    assert part(tmp_path).read_bytes() == CONTENT[:300_000]
    publisher.cuts.clear()
    publisher.requests.clear()
    assert fetched(publisher, tmp_path).file.read_bytes() == CONTENT
    assert publisher.ranges_asked == ["bytes=300000-"]


def test_a_cut_without_a_length_said_is_noticed_where_the_server_ends_a_chunk_short(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.answers = [(200, {"Transfer-Encoding": "chunked"}, b"10\r\nonly so much")]
    assert fetched(publisher, tmp_path).file.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_anew(publisher: Publisher, tmp_path: Path) -> None:
    interrupted(publisher, tmp_path, after=200_000)
    publisher.grants_ranges = False
    assert fetched(publisher, tmp_path).file.read_bytes() == CONTENT
    assert publisher.ranges_asked == ["bytes=200000-"]


def test_a_file_changed_between_two_attempts_starts_anew(publisher: Publisher, tmp_path: Path) -> None:
    interrupted(publisher, tmp_path, after=200_000)
    publisher.content = OTHER
    assert fetched(publisher, tmp_path).file.read_bytes() == OTHER
    assert publisher.requests[0]["If-Range"] == publisher.tag(CONTENT)  # type: ignore[misc]


@pytest.mark.parametrize("tag", [None, lambda _: 'W/"weak"'])
def test_without_anything_to_know_the_file_by_nothing_is_resumed(
    publisher: Publisher, tmp_path: Path, tag: object
) -> None:
    publisher.tag = tag  # type: ignore[assignment]
    interrupted(publisher, tmp_path, after=200_000)
    publisher.content = OTHER
    assert fetched(publisher, tmp_path).file.read_bytes() == OTHER
    assert publisher.ranges_asked == [""]


def test_a_date_is_enough_to_resume_by(publisher: Publisher, tmp_path: Path) -> None:
    publisher.tag, publisher.last_modified = None, "Thu, 18 Feb 2016 07:00:00 GMT"
    interrupted(publisher, tmp_path, after=200_000)
    assert fetched(publisher, tmp_path).file.read_bytes() == CONTENT
    assert publisher.requests[0]["If-Range"] == publisher.last_modified


def test_another_address_does_not_go_on_with_the_part_of_the_first(publisher: Publisher, tmp_path: Path) -> None:
    interrupted(publisher, tmp_path, after=200_000)
    fetch(publisher.address(f"mirror/{NAME}"), tmp_path, patience=HURRIED)
    assert publisher.ranges_asked == [""]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda start, size: f"bytes {start - 1000}-{size - 1}/{size}",
        lambda start, size: f"bytes {start}-{size - 1}/{size + 1000}",
        lambda *_: "",
    ],
)
def test_a_wrong_content_range_is_refused(publisher: Publisher, tmp_path: Path, wrong: object) -> None:
    interrupted(publisher, tmp_path, after=200_000)
    publisher.content_range = wrong  # type: ignore[assignment]
    messages: list[str] = []
    assert fetched(publisher, tmp_path, say=messages.append).file.read_bytes() == CONTENT
    assert publisher.ranges_asked == ["bytes=200000-", ""]
    assert "beginning anew" in messages[0]


def test_a_server_that_grants_less_than_was_asked_for_is_asked_for_the_rest(
    publisher: Publisher, tmp_path: Path
) -> None:
    interrupted(publisher, tmp_path, after=200_000)
    headers = {"Content-Range": f"bytes 200000-200009/{len(CONTENT)}"}
    publisher.answers = [(206, headers, CONTENT[200_000:200_010])]
    assert fetched(publisher, tmp_path).file.read_bytes() == CONTENT
    assert publisher.ranges_asked == ["bytes=200000-", "bytes=200010-"]


def test_all_of_it_was_there_already(publisher: Publisher, tmp_path: Path) -> None:
    interrupted(publisher, tmp_path, after=len(CONTENT) - 1)
    with part(tmp_path).open("ab") as sink:
        sink.write(CONTENT[-1:])
    assert fetched(publisher, tmp_path).file.read_bytes() == CONTENT
    assert publisher.ranges_asked == [f"bytes={len(CONTENT)}-"]  # answered with 416


def test_a_part_longer_than_the_file_starts_anew(publisher: Publisher, tmp_path: Path) -> None:
    interrupted(publisher, tmp_path, after=200_000)
    part(tmp_path).write_bytes(CONTENT + b"more")
    assert fetched(publisher, tmp_path).file.read_bytes() == CONTENT
    assert publisher.ranges_asked == [f"bytes={len(CONTENT) + 4}-", ""]


@pytest.mark.parametrize("status", [404, 403, 410])
def test_what_is_not_there_is_told_at_once(publisher: Publisher, tmp_path: Path, status: int) -> None:
    publisher.answers = [(status, {}, b"")] * 9
    with pytest.raises(Unusable, match=rf"answers {status} .*--url"):
        fetched(publisher, tmp_path)
    assert len(publisher.requests) == 1
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(publisher: Publisher, tmp_path: Path, status: int) -> None:
    publisher.answers = [(status, {"Retry-After": "0"}, b"")] * 2
    messages: list[str] = []
    assert fetched(publisher, tmp_path, say=messages.append).file.read_bytes() == CONTENT
    assert f"answers {status}" in messages[1]


def test_a_server_in_trouble_for_long_is_given_up(publisher: Publisher, tmp_path: Path) -> None:
    publisher.answers = [(503, {}, b"")] * 99
    with pytest.raises(Unavailable, match="503"):
        fetched(publisher, tmp_path)
    assert len(publisher.requests) == HURRIED.attempts


def test_the_wait_grows_and_heeds_what_the_server_asks_for(publisher: Publisher, tmp_path: Path) -> None:
    from replay.fetching.fetch import download

    publisher.answers = [(503, {"Retry-After": seconds} if seconds else {}, b"") for seconds in ("", "", "7", "99")]
    waits: list[float] = []
    download(
        publisher.address(NAME), tmp_path / "part", sleep=waits.append,
        patience=Patience(backoff_seconds=0.5, most_seconds=20.0),
    )  # fmt: skip
    assert waits == [0.5, 1.0, 7.0, 20.0]


def test_a_redirect_is_followed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.answers = [(302, {"Location": "/elsewhere/else.bin"}, b"")]
    assert fetched(publisher, tmp_path).file.name == NAME
    assert [request["path"] for request in publisher.requests] == [f"/{NAME}", "/elsewhere/else.bin"]


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://example.org/x"])
def test_a_redirect_away_from_the_web_is_not(publisher: Publisher, tmp_path: Path, where: str) -> None:
    publisher.answers = [(302, {"Location": where}, b"")]
    with pytest.raises(Unusable, match="away from the web"):
        fetched(publisher, tmp_path)


def test_a_redirect_in_a_circle_ends(publisher: Publisher, tmp_path: Path) -> None:
    publisher.answers = [(302, {"Location": f"/{NAME}"}, b"")] * 99
    with pytest.raises(Unusable, match="in a circle"):
        fetched(publisher, tmp_path)


def test_a_way_that_leaves_tls() -> None:
    assert leaves_tls(["https://a/x", "http://b/x"])
    assert not leaves_tls(["http://a/x", "https://b/x"])
    assert not leaves_tls(["https://a/x", "https://b/x"])


@pytest.mark.parametrize("address", ["file:///etc/passwd", "/etc/passwd", "https://", "data:,x"])
def test_an_address_that_is_none_of_the_web(address: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"no address of the web|names no file"):
        fetch(address, tmp_path, saved="x")
    assert list(tmp_path.glob("x")) == []


def test_an_address_without_a_name(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="names no file"):
        fetch(f"{publisher.url}/folder/", tmp_path)


def test_a_name_in_an_address_stays_in_its_folder(publisher: Publisher, tmp_path: Path) -> None:
    result = fetch(publisher.address("..%2F..%2Fescaped.csv"), tmp_path / "in", patience=HURRIED)
    assert result.file == tmp_path / "in" / "escaped.csv"


def test_a_web_page_is_no_file(publisher: Publisher, tmp_path: Path) -> None:
    publisher.content_type = "text/html; charset=utf-8"
    with pytest.raises(Unusable, match="web page"):
        fetched(publisher, tmp_path)


def test_an_empty_file_is_none(publisher: Publisher, tmp_path: Path) -> None:
    publisher.content = b""
    with pytest.raises(Unusable, match="empty"):
        fetched(publisher, tmp_path)


def test_bytes_stay_as_they_come_where_the_server_calls_them_encoded(publisher: Publisher, tmp_path: Path) -> None:
    packed = gzip.compress(b"a line\n" * 1000)
    publisher.answers = [(200, {"Content-Encoding": "gzip"}, packed)]
    assert fetched(publisher, tmp_path).file.read_bytes() == packed


def test_a_file_changed_at_the_publisher_is_refused_until_it_is_accepted(publisher: Publisher, tmp_path: Path) -> None:
    first = fetched(publisher, tmp_path)
    publisher.content = OTHER
    now = hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(Unusable) as refusal:
        fetched(publisher, tmp_path, again=True)
    assert all(part in str(refusal.value) for part in (first.sha256, now, "--accept-change"))
    assert first.file.read_bytes() == CONTENT
    assert recorded_sha256(first.file) == first.sha256
    publisher.requests.clear()
    accepted = fetched(publisher, tmp_path, again=True, accept_change=True)
    assert (accepted.file.read_bytes(), accepted.sha256, recorded_sha256(accepted.file)) == (OTHER, now, now)
    assert publisher.ranges_asked == [f"bytes={len(OTHER)}-"]  # what was refused had been kept


def test_what_comes_again_and_is_the_same_is_known(publisher: Publisher, tmp_path: Path) -> None:
    fetched(publisher, tmp_path).file.unlink()
    again = fetched(publisher, tmp_path)
    assert (again.was_here, again.was_known) == (False, True)


def test_a_record_that_nobody_can_read_is_told(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.sha256").write_text("no hash\n")
    with pytest.raises(Unusable, match="holds no hash"):
        fetched(publisher, tmp_path)


def test_two_at_a_time_do_not_write_into_one_file(publisher: Publisher, tmp_path: Path) -> None:
    with part(tmp_path).open("ab") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unusable, match="another process"):
            fetched(publisher, tmp_path)


def freshet(*arguments: str, cwd: Path, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    """The command as people run it."""

    def limited() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    return subprocess.run(
        [sys.executable, "-m", "services.console", *arguments],
        cwd=cwd, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=limited,
    )  # fmt: skip


def test_a_full_disk_keeps_what_has_come(publisher: Publisher, tmp_path: Path) -> None:
    done = freshet(
        "data", "fetch", "--url", publisher.address(NAME), "--to", "here", cwd=tmp_path, largest_file=300_000
    )
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    kept = part(tmp_path / "here").stat().st_size
    assert 0 < kept <= 300_000
    publisher.requests.clear()
    assert freshet("data", "fetch", "--url", publisher.address(NAME), "--to", "here", cwd=tmp_path).returncode == 0
    assert (tmp_path / "here" / NAME).read_bytes() == CONTENT
    assert publisher.ranges_asked == [f"bytes={kept}-"]


def test_by_name_from_a_mirror_it_says_what_comes_next(publisher: Publisher, tmp_path: Path) -> None:
    done = freshet("data", "fetch", "gift cards", "--mirror", f"{publisher.url}/m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert publisher.requests[0]["path"] == "/m/categoryFilesSmall/Gift_Cards_5.json.gz"
    assert (tmp_path / "data" / "Gift_Cards_5.json.gz").read_bytes() == CONTENT
    assert hashlib.sha256(CONTENT).hexdigest() in done.stdout
    assert "freshet data inspect data/Gift_Cards_5.json.gz" in done.stdout


def test_offline_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    port = free_port()
    done = freshet("data", "fetch", "gift cards", "--mirror", f"http://127.0.0.1:{port}", cwd=tmp_path)
    assert done.returncode == 2
    assert "Connection refused" in done.stderr
    assert "Is this machine online?" in done.stderr
    assert "--mirror https://datarepo.eng.ucsd.edu" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_host_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"can't be reached.*Is this machine online"):
        fetch("http://nobody.invalid/x.csv", tmp_path, patience=HURRIED)


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        patience = Patience(attempts=2, backoff_seconds=0.0, connect_seconds=2.0, read_seconds=0.2)
        with pytest.raises(Unavailable, match=r"timed out"):
            fetch(f"http://127.0.0.1:{port}/x.csv", tmp_path, patience=patience)
