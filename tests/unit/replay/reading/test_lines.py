"""Lines of plain and gzip files, as far as the file can be read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from replay.reading.lines import Lines, require_readable
from shared.process.errors import Unusable


def lines_of(path: Path, content: bytes, most_bytes: int = 1000) -> tuple[list[tuple[int, bytes | None]], str]:
    path.write_bytes(content)
    lines = Lines(path, most_bytes)
    return list(lines), lines.broken


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "misnamed.gz"


WANTED = [(1, b"one"), (2, b""), (3, b"three")]


@pytest.mark.parametrize(
    "content", [b"one\n\nthree", b"one\n\nthree\n", b"one\r\n\r\nthree\r\n", b"\xef\xbb\xbfone\n\nthree"]
)
def test_plain_and_gzip_are_told_by_their_content(path: Path, content: bytes) -> None:
    assert lines_of(path, content) == (WANTED, "")
    assert lines_of(path, gzip.compress(content)) == (WANTED, "")


def test_several_gzip_members_are_one_file(path: Path) -> None:
    assert lines_of(path, gzip.compress(b"one\n\nth") + gzip.compress(b"ree\n")) == (WANTED, "")


def test_a_line_too_long_is_skipped_and_the_count_goes_on(path: Path) -> None:
    content = b"a\n" + b"x" * 5_000_000 + b"\n" + b"y" * 20 + b"\nb\n" + b"z" * 21 + b"\n" + b"w" * 22
    result, broken = lines_of(path, content, most_bytes=21)
    assert result == [(1, b"a"), (2, None), (3, b"y" * 20), (4, b"b"), (5, None), (6, None)]
    assert not broken


@pytest.mark.parametrize("cut", [1, 8, 9, 500, 3000])
def test_a_truncated_gzip_gives_what_can_be_read_and_says_where_it_breaks(path: Path, cut: int) -> None:
    whole = [f"{n} {os.urandom(20).hex()}".encode() for n in range(2000)]
    result, broken = lines_of(path, gzip.compress(b"\n".join(whole) + b"\n")[:-cut])
    assert result == list(enumerate(whole, start=1))[: len(result)]
    assert len(result) > 1700
    assert f"after line {len(result):,} " in broken


def test_it_is_looked_at_every_so_many_lines_blank_or_not(path: Path) -> None:
    path.write_bytes(b"\n" * 1200)
    looks: list[float] = []
    lines = Lines(path, 1000, lambda: looks.append(lines.done_ratio))
    assert len(list(lines)) == 1200
    assert len(looks) == 2


def test_garbage_in_a_gzip_breaks_it(path: Path) -> None:
    content = bytearray(gzip.compress(b"".join(f"{n} {os.urandom(20).hex()}\n".encode() for n in range(20_000))))
    content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
    result, broken = lines_of(path, bytes(content))
    assert 5_000 < len(result) < 15_000
    assert "breaks off after line" in broken


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0)
    for name, message in (("absent", "no such file"), (".", "not a file"), ("empty", "is empty")):
        with pytest.raises(Unusable, match=message):
            require_readable(tmp_path / name)
    if os.geteuid():  # root may read anything
        with pytest.raises(Unusable, match="permissions"):
            require_readable(tmp_path / "secret")
