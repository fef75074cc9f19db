"""CSV records: over several lines, with stray quotes, too long, damaged; nothing else is lost with a bad one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.reading.lines import MOST_RECORD_LINES, Dialect, rows
from shared.process.errors import BadEvent

Given = Iterable[bytes | None]


def read(lines: Given, dialect: Dialect | None = None, most_bytes: int = 10_000) -> list[tuple[int, list[str] | str]]:
    """Each record's line, with its fields or the reason it has none."""
    numbered = list(enumerate(lines, start=1))
    parsed = rows(numbered, dialect or Dialect(), most_bytes)
    return [(n, fields.reason if isinstance(fields, BadEvent) else fields) for n, _, fields in parsed]


def test_fields_are_quoted_where_they_must() -> None:
    lines = [b'a,"b,c","say ""hi""",', b"", b"  ", b'5" pipe,x', b"e"]
    assert read(lines) == [(1, ["a", "b,c", 'say "hi"', ""]), (4, ['5" pipe', "x"]), (5, ["e"])]


def test_a_record_over_several_lines_is_numbered_by_its_first_and_holds_all_its_bytes() -> None:
    lines = [b"a,b", b'1,"two', b"", b'three, ""3"""', b"4,5"]
    parsed = list(rows(enumerate(lines, start=1), Dialect(), 1000))
    assert parsed == [
        (1, b"a,b", ["a", "b"]),
        (2, b'1,"two\n\nthree, ""3"""', ["1", 'two\n\nthree, "3"']),
        (5, b"4,5", ["4", "5"]),
    ]


def test_a_stray_quote_costs_its_own_line_alone() -> None:
    lines = [b"a,1", b'b,"2', b"c,3", b'd,"4"', b'e,"5', b'5",x', b'f,"6" inch', b"g,7"]
    assert read(lines) == [
        (1, ["a", "1"]),
        (2, "bad_csv"),
        (3, ["c", "3"]),
        (4, ["d", "4"]),
        (5, ["e", "5\n5", "x"]),
        (7, "bad_csv"),
        (8, ["g", "7"]),
    ]


def test_a_quote_never_closed_does_not_swallow_the_rest() -> None:
    rest = [f"{n},x".encode() for n in range(3 * MOST_RECORD_LINES)]
    parsed = read([b'a,"b', *rest, b'last,"quoted"', b'end,"'], most_bytes=10**6)
    assert parsed[0] == (1, "bad_csv")
    assert parsed[1:-2] == [(n + 2, [str(n), "x"]) for n in range(3 * MOST_RECORD_LINES)]
    assert parsed[-2:] == [(len(rest) + 2, ["last", "quoted"]), (len(rest) + 3, "bad_csv")]


def test_what_a_quote_never_closed_keeps_in_memory_is_bounded() -> None:
    taken = 0

    def endless() -> Iterator[tuple[int, bytes]]:
        nonlocal taken
        yield 1, b'a,"b'
        for taken in range(2, 10**9):
            yield taken, b"c,d"

    n, _, error = next(rows(endless(), Dialect(), 10**9))
    assert (n, isinstance(error, BadEvent)) == (1, True)
    assert taken == MOST_RECORD_LINES + 1


def test_a_record_has_no_more_bytes_than_allowed_over_all_its_lines() -> None:
    lines = [b'a,"' + b"x" * 50, b"y" * 50, b'z",1', b"b,2"]
    assert read(lines, most_bytes=103) == [
        (1, "bad_csv"),
        (2, ["y" * 50]),
        (3, ['z"', "1"]),
        (4, ["b", "2"]),
    ]
    assert [n for n, _ in read(lines, most_bytes=200)] == [1, 4]


def test_a_line_too_long_is_told_wherever_it_stands() -> None:
    assert read([None, b"a,1", None, None, b'b,"2', None, b'c",3', b"d,4", None]) == [
        (1, "too_long"),
        (2, ["a", "1"]),
        (3, "too_long"),
        (4, "too_long"),
        (5, "bad_csv"),
        (6, "too_long"),
        (7, ['c"', "3"]),
        (8, ["d", "4"]),
        (9, "too_long"),
    ]


def test_bytes_that_are_no_text_cost_their_own_record_alone() -> None:
    lines = [b"caf\xe9,1", b'"a\xff', b'b",2', b"c\x00,3", "é,4".encode()]
    assert read(lines) == [(1, "not_utf8"), (2, "not_utf8"), (4, "nul_bytes"), (5, ["é", "4"])]
    assert read(lines[:1], Dialect(encoding="latin-1")) == [(1, ["café", "1"])]
    (_, _, error) = next(rows(enumerate(lines), Dialect(), 100))
    assert 'encoding = "cp1252"' in str(error)


def test_a_carriage_return_inside_a_line_is_no_row() -> None:
    assert read([b"a\rb,1", b"c,2"]) == [(1, "bad_csv"), (2, ["c", "2"])]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters(delimiter: str) -> None:
    line = delimiter.join(["a", '"b"', "c,d"]).encode()
    assert read([line], Dialect(delimiter)) == [(1, ["a", "b", "c,d"])]


def test_a_field_longer_than_the_csv_module_takes_by_itself() -> None:
    assert read([b"x" * 500_000 + b",1"], most_bytes=10**6) == [(1, ["x" * 500_000, "1"])]


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8) | st.sampled_from(
    ['"', '""', ",", "\n", "", 'a"b', "a\nb"]
)


@given(st.lists(st.lists(FIELD, min_size=2, max_size=4), max_size=8))
def test_what_the_csv_module_writes_is_read_as_it_was(table: list[list[str]]) -> None:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(table)
    lines = sink.getvalue().encode().split(b"\n")
    assert [fields for _, fields in read(lines)] == table


PIECES = [b"a", b"b,c", b'"', b'"d', b'e"', b'"f"', b'g,""', b"\xff", b"\x00", b""]


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_every_line_is_in_one_record(lines: list[bytes]) -> None:
    parsed = list(rows(enumerate(lines, start=1), Dialect(), 1000))
    numbers = [n for n, _, _ in parsed]
    assert numbers == sorted(set(numbers))
    covered = {n + k for n, content, _ in parsed for k in range(content.count(b"\n") + 1)}
    assert covered >= {n for n, line in enumerate(lines, start=1) if line.strip()}
